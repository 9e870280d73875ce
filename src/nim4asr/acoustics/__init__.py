"""What an encoder hears by: features of sound, their normalization, and the clock of its frames."""
