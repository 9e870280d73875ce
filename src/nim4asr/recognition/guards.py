"""Guards of the text that a language model writes: loops and impossible words are cut.

A third one, the budget of tokens, is ``DecodingConfig.max_new_tokens``.
"""

from collections.abc import Sequence

from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.text.characters import in_word


def loop_length(tokens: Sequence[int], config: DecodingConfig) -> int:
    """How many tokens repeat at the end of ``tokens``, ``config.max_repeats`` times over; 0 if none do."""
    for size in range(1, config.max_loop_tokens + 1):
        # One token alone may repeat a little (ha ha ha ha): ask for twice as many copies of it.
        copies = config.max_repeats * 2 if size == 1 else config.max_repeats
        needed = size * copies
        if len(tokens) >= needed:
            tail = list(tokens[-needed:])
            if tail == tail[:size] * copies:
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
    """Whether ``text`` ends in a loop of characters, or in a word too long to be one: no listener would write
    on.
    """
    return bool(_loop_of_characters(text, config)) or _last_word(text) > config.max_word_letters


def runs_away(tokenizer: Tokenizer, tokens: Sequence[int], config: DecodingConfig) -> bool:
    """Whether ``tokens`` end in a loop, of tokens or of the characters of their text, or in a word that is
    none.
    """
    if loop_length(tokens, config):
        return True
    # What is at the end of the text is in its last tokens, for each has one character at least, but for
    # halves of some.
    tail = max(config.min_loop_characters * config.max_repeats, config.max_word_letters) + 8
    return text_runs_away(tokenizer.decode(tokens[-tail:]), config)


def without_runaway(
    tokenizer: Tokenizer, tokens: Sequence[int], config: DecodingConfig, least: int = 0
) -> list[int]:
    """``tokens`` without what ``runs_away`` sees at their end.

    One copy of a loop stays, nothing of an impossible word. At least ``least`` tokens are kept.
    """
    kept = without_loop(tokens, config, least)
    text = tokenizer.decode(kept)
    room = len(text)
    if size := _loop_of_characters(text, config):
        while text[:room].endswith(text[room - 2 * size : room - size]) and room >= 2 * size:
            room -= size
    elif (word := _last_word(text)) > config.max_word_letters:
        room -= word
    while len(kept) > least and len(tokenizer.decode(kept)) > room:
        del kept[-1]
    return kept


def _loop_of_characters(text: str, config: DecodingConfig) -> int:
    """How many characters repeat at the end of ``text``, ``max_repeats`` times and as long as a loop; 0 if
    none.
    """
    for size in range(1, config.min_loop_characters + 1):
        copies = max(config.max_repeats, -(-config.min_loop_characters // size))
        if len(text) >= size * copies and text.endswith(text[-size:] * copies):
            return size
    return 0


def _last_word(text: str) -> int:
    """The length of the word that ``text`` ends in: of letters, without spaces between words."""
    start = len(text)
    while start and in_word(text[start - 1 :][:1] * 2, 1):
        start -= 1
    return len(text) - start
