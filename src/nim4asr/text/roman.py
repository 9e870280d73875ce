"""Roman numerals up to thirty nine: more are words or initials ("MIX", "CD") more often than numbers."""

ROMAN = r"(?=[IVX])X{0,3}(?:IX|IV|V?I{0,3})"
_VALUES = {"I": 1, "V": 5, "X": 10}


def roman_number(numeral: str) -> int:
    """``"XIV"`` -> 14."""
    values = [_VALUES[letter] for letter in numeral]
    # A smaller one before a larger one is taken from it.
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
