"""What a search gives back: a text, how sure the language model is of it, and its tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.recognition.guards import without_runaway
from nim4asr.recognition.result import Token

# A token that is less likely than this says no more against a text.
_LEAST = -30.0


@dataclass(frozen=True)
class Hypothesis:
    """A transcript; ``confidence`` is the geometric mean of its tokens' probabilities, 1 if it has none."""

    text: str
    confidence: float
    tokens: tuple[Token, ...] = ()


NOTHING = Hypothesis("", 1.0)


def to_hypothesis(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    log_probs: Sequence[float],
    config: DecodingConfig,
    least: int = 0,
) -> Hypothesis:
    """The transcript of ``tokens`` (N,), the end of the turn among them if it was written, and their log
    probabilities.

    The end counts in the confidence if the language model wrote it, not if a guard did. The first ``least``
    tokens stay, even in a loop.
    """
    ended = bool(tokens) and tokens[-1] == tokenizer.end
    written = list(tokens[:-1] if ended else tokens)
    kept = without_runaway(tokenizer, written, config, least)
    counted = log_probs[: len(tokens) if len(kept) == len(written) else len(kept)]
    mean = sum(max(probability, _LEAST) for probability in counted) / len(counted) if counted else 0.0
    return Hypothesis(tokenizer.decode(kept).strip(), math.exp(mean), _tokens(tokenizer, kept, log_probs))


def _tokens(tokenizer: Tokenizer, tokens: Sequence[int], log_probs: Sequence[float]) -> tuple[Token, ...]:
    """Each token with what it adds to the text. Only the last few are decoded at a time: what a token adds
    depends on those that its character began with, and on whether there is text before.
    """
    found: list[Token] = []
    # Decoded are the tokens from ``context`` on, of which those before ``start`` are whole characters.
    context = start = 0
    before = ""
    for place, log_prob in enumerate(log_probs[: len(tokens)]):
        text = tokenizer.decode(tokens[context : place + 1])
        # Of a character in several tokens, the last one has it.
        whole = text.rstrip("\ufffd")
        found.append(Token(whole[len(before) :], log_prob))
        if whole == text and len(whole) > len(before):
            context, start = start, place + 1
            before = tokenizer.decode(tokens[context:start])
        else:
            before = whole
    return tuple(found)
