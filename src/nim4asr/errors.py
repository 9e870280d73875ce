"""The errors that are the user's to mend."""


class InputError(ValueError):
    """Something given by the user cannot be used; the message says what and what to do about it.

    Commands print the message alone and exit with status 1.
    """


class OverloadedError(InputError):
    """No more work is admitted for now; it may be later."""
