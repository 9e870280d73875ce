"""Guards of the text that a language model writes: loops and impossible words are cut, and a short sound that
could be anything gets none.

One measure sees loops and such words: the stretch of a period p at some place of a sequence, which is how
many items up to there are each equal to the one p before. Of tokens and of characters, a stretch of so many
periods at the end is a loop; of a word's letters, one that no real word has is a word of repeated pieces. A
further guard, the budget of tokens, is ``DecodingConfig.max_new_tokens``.

Those of the text look at its end only, and take the same time for each token of it, however long it is.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from nim4asr.audio.samples import Floats
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import BLANK
from nim4asr.text.characters import in_word

# A word's letters repeat no further than this: 3, 4, 5 and 5 are the greatest stretches of the periods 2 to 5
# in the words of the CMU dictionary (banana, Mississippi, Kamehameha, yabbadabbadoo), and of no longer piece
# is there a second one right behind the first.
_LONGEST_STRETCH = {2: 4}
_LONGEST_OF_OTHERS = 5
# But a word that is one short piece from end to end, ha ha ha, goes on until it is a loop.
_LONGEST_SYLLABLE = 3
# A digit, as it is written or said. A telephone number is no loop, whatever stands in it.
_LAST_DIGIT = re.compile(
    r"(?:[0-9零〇一二三四五六七八九幺]"
    r"|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|oh|double|triple))[ -]?$"
)
_MOST_DIGITS = 15


def stretch(sequence: Sequence[object], period: int) -> int:
    """How many items at the end of ``sequence`` are each equal to the one ``period`` before."""
    place = len(sequence)
    while place > period and sequence[place - 1] == sequence[place - 1 - period]:
        place -= 1
    return len(sequence) - max(place, period) if len(sequence) > period else 0


def loop_length(tokens: Sequence[int], config: DecodingConfig) -> int:
    """How many tokens repeat at the end of ``tokens``, ``config.max_repeats`` times over; 0 if none do."""
    # One token alone may repeat a little (ha ha ha ha): ask for twice as many copies of it.
    return _loop(tokens, config.max_loop_tokens, lambda size: config.max_repeats * (2 if size == 1 else 1))


def _loop(sequence: Sequence[object], longest: int, copies: Callable[[int], int]) -> int:
    """The least period, ``longest`` at the most, that has so many copies at the end of ``sequence``; 0 if
    none has.
    """
    for size in range(1, longest + 1):
        # Most sequences do not end as they would have to.
        if len(sequence) <= size or sequence[-1] != sequence[-1 - size]:
            continue
        needed = size * copies(size)
        if len(sequence) >= needed and stretch(sequence[-needed:], size) == needed - size:
            return size
    return 0


def without_loop(tokens: Sequence[int], config: DecodingConfig, least: int = 0) -> list[int]:
    """``tokens`` with a loop at their end cut down to one copy, but to no fewer than ``least`` tokens."""
    kept = list(tokens)
    size = loop_length(kept, config)
    while size and len(kept) >= max(2 * size, least + size) and kept[-size:] == kept[-2 * size : -size]:
        del kept[-size:]
    return kept


def text_runs_away(text: str, config: DecodingConfig) -> bool:
    """Whether ``text`` ends in a loop of characters, or in a word that is none, too long or of repeated
    pieces: no listener would write on.
    """
    return bool(_loop_of_characters(text, config)) or _impossible_word(text, config) > 0


def runs_away(tokenizer: Tokenizer, tokens: Sequence[int], text: str, config: DecodingConfig) -> bool:
    """Whether ``tokens``, whose ``text`` is given, end in a loop, of tokens or of characters, or in a word
    that is none.
    """
    return text_runs_away(text, config) or _token_loop(tokenizer, tokens, text, config) > 0


def _token_loop(tokenizer: Tokenizer, tokens: Sequence[int], text: str, config: DecodingConfig) -> int:
    """``loop_length`` of ``tokens``, which ``text`` is the end of; 0 if they are digits."""
    size = loop_length(tokens, config)
    again = len(tokenizer.decode(tokens[-size * (config.max_repeats - 1) :])) if size else 0
    return 0 if _is_number(text, again) else size


def without_runaway(
    tokenizer: Tokenizer, tokens: Sequence[int], config: DecodingConfig, least: int = 0
) -> list[int]:
    """``tokens`` without what ``runs_away`` sees at their end.

    One copy of a loop stays, nothing of an impossible word. At least ``least`` tokens are kept.
    """
    text = tokenizer.decode(tokens)
    kept = list(tokens)
    if _token_loop(tokenizer, kept, text, config):
        kept = without_loop(kept, config, least)
        text = tokenizer.decode(kept)
    room = len(text)
    if size := _loop_of_characters(text, config):
        while room >= 2 * size and text[room - size : room] == text[room - 2 * size : room - size]:
            room -= size
    else:
        room -= _impossible_word(text, config)
    if room < len(text):
        # More tokens only add to a text: those that fit are found by halves.
        fitting = bisect_right(
            range(len(kept)), room, key=lambda size: len(tokenizer.decode(kept[: size + 1]))
        )
        kept = kept[: max(fitting, min(least, len(kept)))]
    return kept


def _loop_of_characters(text: str, config: DecodingConfig) -> int:
    """How many characters repeat at the end of ``text``, ``max_repeats`` times and as long as a loop; 0 if
    none do, or if they are digits.
    """
    least = config.min_loop_characters

    def copies(size: int) -> int:
        return max(config.max_repeats, -(-least // size))

    size = _loop(text, least, copies)
    return 0 if size and _is_number(text, size * (copies(size) - 1)) else size


def _is_number(text: str, length: int) -> bool:
    """Whether the last ``length`` characters of ``text`` are digits, no more of them than are dialed."""
    digits, place = 0, len(text)
    while digits <= _MOST_DIGITS and (found := _LAST_DIGIT.search(text, max(0, place - 8), place)):
        digits, place = digits + 1, found.start()
    return digits <= _MOST_DIGITS and 0 < length <= len(text) - place


def _impossible_word(text: str, config: DecodingConfig) -> int:
    """The length of the word that ``text`` ends in, if there is no such word; 0 if there may be."""
    length = _last_word(text)
    word = text[len(text) - length :]
    return length if length > config.max_word_letters or _has_repeated_pieces(word) else 0


def _has_repeated_pieces(word: str) -> bool:
    """Whether a word's letters repeat as those of none do: "lokokokochoko", "delevilleville"."""
    if not word.isalpha():
        return False
    word = word.casefold()
    for period in range(2, len(word) // 2 + 1):
        longest = current = 0
        for place in range(period, len(word)):
            current = current + 1 if word[place] == word[place - period] else 0
            longest = max(longest, current)
        most = _LONGEST_STRETCH.get(period, max(_LONGEST_OF_OTHERS, period - 1))
        if longest > most and not (period <= _LONGEST_SYLLABLE and longest == len(word) - period):
            return True
    return False


def _last_word(text: str) -> int:
    """The length of the word that ``text`` ends in: of letters, without spaces between words."""
    start = len(text)
    while start and in_word(text[start - 1 :][:1] * 2, 1):
        start -= 1
    return len(text) - start


def sounding_entropy(log_probs: Floats) -> tuple[int, float]:
    """How many frames of log posteriors (T, phonemes) are other than blank, and the sum of the entropies of
    those, in nats: what ``DecodingConfig.max_entropy`` bounds the mean of.
    """
    sounding = log_probs[log_probs.argmax(axis=-1) != BLANK]
    # What is impossible adds nothing.
    entropy = -float((np.exp(sounding) * np.maximum(sounding, -100.0)).sum())
    return len(sounding), entropy
