"""The errors that are the user's to mend."""


class InputError(ValueError):
    """Something given by the user cannot be used; the message says what and what to do about it.

    Commands print the message alone and exit with status 1.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether something failed for want of memory, by whichever library it is told."""
    text = str(error).lower()
    told = ("bad_alloc", "out of memory", "allocate memory", "failed to map segment")
    return isinstance(error, MemoryError) or any(words in text for words in told)


class OverloadedError(InputError):
    """No more work is admitted for now; it may be later."""
