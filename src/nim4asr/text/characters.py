"""Chinese characters."""

# A Chinese character, as a regular expression.
HAN = r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]"


def is_han(character: str) -> bool:
    """Whether ``character`` is a Chinese character (CJK ideographs, extensions and 〇)."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or "\U00020000" <= character <= "\U000323af"
        or character == "〇"
    )
