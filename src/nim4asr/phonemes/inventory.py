"""The phoneme table: what the CTC head predicts and hotwords are found by.

One table for both languages. Mandarin: 21 initials and 39 finals in five tones (5 is the neutral
tone). English: the 39 ARPAbet phonemes without stress. Index 0 is the CTC blank. Mandarin symbols
are lower case and English ones upper case, so a symbol names its language.

The finals are those of strict Hanyu Pinyin (``iou``, ``uei``, ``uen``, ``v`` for ü), with the two
apical vowels written out as ``ix`` (zi, ci, si) and ``iy`` (zhi, chi, shi, ri): they sound like
neither each other nor the vowel of ``yi``.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

BLANK = 0
TONES = 5

INITIALS = tuple("b p m f d t n l g k h j q x zh ch sh r z c s".split())
FINALS = tuple(
    "a o e ai ei ao ou an en ang eng er ix iy"
    " i ia ie iao iou ian in iang ing iong io"
    " u ua uo uai uei uan uen uang ueng ong v ve van vn".split()
)
ARPABET = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH"
    " UH UW V W Y Z ZH".split()
)


class PhonemeTable:
    """Symbols and their indices.

    ``symbols[i]`` is the symbol of index ``i``; ``symbols[0]`` is the blank, printed as ``<blank>``.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        self._index = {symbol: index for index, symbol in enumerate(self.symbols)}
        if len(self._index) != len(self.symbols):
            raise ValueError("a phoneme table must not hold a symbol twice")

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> list[int]:
        """Indices of ``symbols``; raises ``KeyError`` for a symbol that is not in the table."""
        index = self._index
        return [index[symbol] for symbol in symbols]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Symbols of ``indices``."""
        return [self.symbols[index] for index in indices]

    @cached_property
    def toneless(self) -> tuple[int, ...]:
        """The sound of each index without its tone, numbered from 0, the blank, in the table's order."""
        bases = [symbol.rstrip("12345") if symbol.islower() else symbol for symbol in self.symbols]
        number = {base: i for i, base in enumerate(dict.fromkeys(bases))}
        return tuple(number[base] for base in bases)


TABLE = PhonemeTable(
    (
        "<blank>",
        *INITIALS,
        *(f"{final}{tone}" for final in FINALS for tone in range(1, TONES + 1)),
        *ARPABET,
    )
)
