"""The command ``nim4``, thin over the library."""
