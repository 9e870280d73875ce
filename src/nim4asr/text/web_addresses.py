"""Addresses of the web and of mail: where one stands in a text, and how it is said, sign by sign."""

import re
from collections.abc import Callable, Mapping

# What the last part of a host's or a file's name may be, behind a dot that is said.
ENDINGS = "com|cn|net|NET|org|io|ai|edu|gov|js|app|dev|txt|pdf|mp3|mp4|wav|csv|json|py|exe|zip"
_COUNTRIES = r"co\.uk|ac\.uk|org\.uk|gov\.uk|com|cn|net|org|io|ai|edu|gov|uk|de|fr|eu|jp|tv|info"
# With a slash at its end it is the same address.
_PATH = r"[A-Za-z0-9._~:/?#@&=%+-]*[A-Za-z0-9]/?"
# Each begins where no longer one could: looking for them takes time in proportion to the text's length.
ADDRESS = (
    rf"(?<![A-Za-z./@])(?:(?:https?|ftp)://|www\.){_PATH}"
    r"|(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
    rf"|(?<![A-Za-z0-9._%+@-])[A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*\.(?:{_COUNTRIES})"
    rf"(?:[:/]{_PATH}|/)?(?![A-Za-z0-9@]|\.[A-Za-z0-9])"
)
_PART = re.compile(r"[A-Za-z]+|[0-9]+|.")


def say_address(address: str, signs: Mapping[str, str], digits: Callable[[str], str], between: str) -> str:
    """``address`` in words, with ``between`` between them: its letters as they stand, its digits by
    ``digits``, its other characters by ``signs``, or left out.
    """
    parts = _PART.findall(address.removesuffix("/"))
    said = (part if part.isalpha() else digits(part) if part.isdigit() else signs.get(part) for part in parts)
    return between.join(part for part in said if part)
