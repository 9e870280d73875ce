"""How texts that were said one after another are written one after another."""

import unicodedata
from collections.abc import Iterable

from nim4asr.text.characters import is_han

# Marks that texts in Chinese and in Latin letters share: what stands beside them decides.
_SHARED = frozenset("“”‘’…—–·")


def addition(before: str, text: str) -> str:
    """What ``text`` adds when it is written behind ``before``: itself, behind a space unless one of the two
    sides is Chinese or Japanese.

    A side is by its letter or mark that stands there; a quotation mark or an ellipsis is of the letter beside
    it: ``("café", "it was")`` -> ``" it was"``, ``("他说“好”", "OK")`` -> ``"OK"``.
    """
    if not before or not text or before[-1].isspace() or text[0].isspace():
        return text
    return text if _is_cjk(_first(reversed(before))) or _is_cjk(_first(text)) else f" {text}"


def joined(texts: Iterable[str]) -> str:
    """The texts one after another, as ``addition`` says."""
    whole: list[str] = []
    last = ""
    for text in texts:
        if text:
            whole.append(addition(last, text))
            last = text
    return "".join(whole)


def _first(characters: Iterable[str]) -> str:
    """The first character that is no shared mark; if all are, a mark."""
    character = ""
    for character in characters:
        if character not in _SHARED:
            break
    return character


def _is_cjk(character: str) -> bool:
    """Whether no space stands beside ``character``: Chinese characters, kana, bopomofo, and their marks."""
    if character.isascii():
        return False
    if is_han(character) or "\u2e80" <= character <= "\u33ff" or "\uf900" <= character <= "\ufaff":
        return True
    # Letters and digits of full width are as those of half width; marks of full width are Chinese.
    wide = unicodedata.east_asian_width(character) == "F" and not character.isalnum()
    return wide or "\uff61" <= character <= "\uff9f" or "\ufe30" <= character <= "\ufe4f"
