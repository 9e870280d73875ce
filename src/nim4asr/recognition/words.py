"""What the language model wrote and what the phoneme head heard, put together: a segment with its words'
times.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes import TABLE, Token, tokenize
from nim4asr.phonemes.ctc import force_align, greedy_path
from nim4asr.recognition.hypothesis import Hypothesis
from nim4asr.recognition.result import Segment, Word
from nim4asr.text.spoken import spoken_form


def to_segment(
    start: float,
    end: float,
    hypothesis: Hypothesis,
    log_probs: NDArray[np.float32],
    frame_s: float,
) -> Segment:
    """The segment from ``start`` to ``end`` seconds, of which the phoneme head gave ``log_probs`` (T,
    phonemes), one every ``frame_s`` seconds.

    No voiced phoneme, no text: the language model does not write over silence.
    """
    heard = greedy_path(log_probs.argmax(axis=-1).tolist()) if len(log_probs) else []
    text = hypothesis.text if heard else ""
    words = time_words(text, log_probs, start, end, frame_s)
    tokens = hypothesis.tokens if heard else ()
    phonemes = tuple(TABLE.decode(heard))
    return Segment(start, end, text, hypothesis.confidence, words, phonemes, tokens=tokens)


def time_words(
    text: str, log_probs: NDArray[np.float32], start: float, end: float, frame_s: float
) -> tuple[Word, ...]:
    """When each word of ``text`` was said, by aligning its phonemes with CTC posteriors (T, phonemes), one
    every ``frame_s`` seconds.

    A text that does not fit, or has no sounds, has its words spread evenly over ``start`` to ``end``
    seconds, with confidence 0. A word that cannot be sounded takes no time, at the end of the one before it.
    """
    tokens = tokenize(spoken_form(text))
    labels = TABLE.encode(phoneme for token in tokens for phoneme in token.phonemes)
    spans = force_align(log_probs, labels)
    if spans is None:
        step = (end - start) / max(1, len(tokens))
        return tuple(
            Word(token.text, start + i * step, start + (i + 1) * step, 0.0) for i, token in enumerate(tokens)
        )
    words: list[Word] = []
    remaining = iter(spans)
    for token in tokens:
        own = list(islice(remaining, len(token.phonemes)))
        words.append(_word(token, own, words[-1].end if words else start, start, frame_s))
    return tuple(words)


def _word(
    token: Token, spans: Sequence[tuple[int, int, float]], before: float, start: float, frame_s: float
) -> Word:
    if not spans:
        return Word(token.text, before, before, 0.0)
    confidence = float(np.exp(np.mean([log_probability for *_, log_probability in spans])))
    first, last = spans[0][0], spans[-1][1]
    return Word(token.text, start + first * frame_s, start + last * frame_s, confidence)
