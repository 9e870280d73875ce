"""The language model's side of recognition: prompts to transcripts, under guard.

The guards: a token budget in proportion to the audio, and an end to any loop. Searching is Hugging Face's
``generate``; the guards are a logits processor that leaves only the end of the turn to write. Hints, and with more
than one beam the phoneme head, have a say in every token (``nim4asr.recognition.guidance``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nim4asr.model.nim4 import Nim4, Prompt
from nim4asr.model.prompt import encode_text, end_token
from nim4asr.phonemes import in_word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nim4asr.recognition.guidance import Guidance

# The score of the end of a beam that runs away: finite, for all of them might.
_RUN_AWAY = -1e4
# More letters than any word of either language has that is likely to be said.
LONGEST_WORD = 45
# More would only fill the memory.
MOST_BEAMS = 100


@dataclass(frozen=True)
class DecodingConfig:
    """How to search and when to stop.

    ``beams`` 1 is greedy search for the highest log p(text | prompt). More beams, and texts with hints, look for the
    highest log p(text | prompt) + ``phoneme_weight`` log p(its phonemes | sound) + ``hint_weight`` (phonemes of hints
    in it), among the likeliest ``candidates`` for the next token of each. The budget is ``tokens_per_second`` of audio
    and ``spare_tokens``. Text that ends in ``repeats`` copies of the same up to ``longest_loop`` tokens is a loop, and
    so is one that ends in as many copies of some characters, if they are ``loop_characters`` together; one copy of it
    is kept. A word of more than ``longest_word`` letters is none, and goes.
    """

    beams: int = 1
    phoneme_weight: float = 0.2
    hint_weight: float = 0.5
    candidates: int = 12
    tokens_per_second: float = 12.0
    spare_tokens: int = 4
    repeats: int = 4
    longest_loop: int = 8
    loop_characters: int = 16
    longest_word: int = LONGEST_WORD

    def __post_init__(self) -> None:
        if not 1 <= self.beams <= MOST_BEAMS:
            raise ValueError(f"beams must be from 1 to {MOST_BEAMS}, not {self.beams}")
        if not (0 <= self.phoneme_weight < math.inf and 0 <= self.hint_weight < math.inf):
            raise ValueError("phoneme_weight and hint_weight must be finite and not negative")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {self.candidates}")
        if self.repeats < 2 or self.longest_loop < 1 or self.tokens_per_second <= 0:
            raise ValueError("the guards need two repeats, one token a loop and a positive budget")
        if self.loop_characters < 2 or self.longest_word < 1:
            raise ValueError("the guards need two characters a loop and one letter a word")

    def budget(self, seconds: float) -> int:
        """The most tokens to write for ``seconds`` of audio."""
        return math.ceil(self.tokens_per_second * seconds) + self.spare_tokens


@dataclass(frozen=True)
class Hypothesis:
    """A transcript; ``confidence`` is the geometric mean of its tokens' probabilities, 1 if it has none."""

    text: str
    confidence: float


NOTHING = Hypothesis("", 1.0)


@torch.no_grad()
def decode(
    network: Nim4,
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Prompt,
    seconds: Sequence[float],
    config: DecodingConfig,
    posteriors: Sequence[NDArray[np.float32]] | None = None,
    hints: Sequence[Sequence[str]] | None = None,
) -> list[Hypothesis]:
    """Transcripts of a batch of prompts with ``seconds`` of audio each.

    ``posteriors`` are the phoneme head's log posteriors (T, phonemes) of each, ``hints`` those in its prompt.
    """
    end = end_token(tokenizer)
    budgets = [config.budget(one) for one in seconds]
    processors = [_guard(tokenizer, budgets, end, config)]
    guides = [
        guidance(tokenizer, config, posteriors[i] if posteriors else None, hints[i] if hints else ())
        for i in range(len(seconds))
    ]
    if any(guides):
        processors.append(_guide(guides))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    output: Any = network.llm.generate(
        inputs_embeds=prompt.embeddings,
        attention_mask=prompt.attention_mask,
        max_new_tokens=max(budgets) + 1,
        num_beams=config.beams,
        do_sample=False,
        # None: the end of the turn has its probability, too.
        **({"length_penalty": 0.0} if config.beams > 1 else {}),
        eos_token_id=end,
        pad_token_id=pad,
        logits_processor=processors,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    beams = getattr(output, "beam_indices", None)
    scores = network.llm.compute_transition_scores(
        output.sequences, output.logits, beams, normalize_logits=True
    )
    hypotheses = []
    for tokens, log_probs in zip(output.sequences.tolist(), scores.tolist(), strict=True):
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        hypotheses.append(to_hypothesis(tokenizer, tokens[:length], log_probs[:length], config))
    return hypotheses


def to_hypothesis(
    tokenizer: "PreTrainedTokenizerBase",
    tokens: Sequence[int],
    log_probs: Sequence[float],
    config: DecodingConfig,
    least: int = 0,
) -> Hypothesis:
    """The transcript of ``tokens`` (N,), the end of the turn among them if it was written, and their log probabilities.

    A transcript that ended of itself owes its end too; one cut short by a guard does not. The first ``least`` tokens
    stay, even in a loop.
    """
    ended = bool(tokens) and tokens[-1] == end_token(tokenizer)
    written = list(tokens[:-1] if ended else tokens)
    kept = without_runaway(tokenizer, written, config, least)
    counted = log_probs[: len(tokens) if len(kept) == len(written) else len(kept)]
    mean = sum(max(one, -30.0) for one in counted) / len(counted) if counted else 0.0
    return Hypothesis(text_of(tokenizer, kept).strip(), math.exp(mean))


def text_of(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[int]) -> str:
    """The text of ``tokens``, such that more tokens only add to it (but for a character they hold half of)."""
    # Not through the wrapper, which takes three times as long as what it wraps, and is asked for every candidate.
    text: str = tokenizer.backend_tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text


def loop_length(tokens: Sequence[int], config: DecodingConfig) -> int:
    """How many tokens repeat at the end of ``tokens``, ``config.repeats`` times over; 0 if none do."""
    for size in range(1, config.longest_loop + 1):
        # One token alone may repeat a little (ha ha ha ha): ask for twice as many copies of it.
        copies = config.repeats * 2 if size == 1 else config.repeats
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
    """Whether ``text`` ends in a loop of characters, or in a word too long to be one: no listener would write on."""
    return bool(_loop_of_characters(text, config)) or _last_word(text) > config.longest_word


def runs_away(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[int], config: DecodingConfig) -> bool:
    """Whether ``tokens`` end in a loop, of tokens or of the characters of their text, or in a word that is none."""
    if loop_length(tokens, config):
        return True
    # What is at the end of the text is in its last tokens, for each has one character at least, but for halves of some.
    tail = max(config.loop_characters * config.repeats, config.longest_word) + 8
    return text_runs_away(text_of(tokenizer, tokens[-tail:]), config)


def without_runaway(
    tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[int], config: DecodingConfig, least: int = 0
) -> list[int]:
    """``tokens`` without what ``runs_away`` sees at their end.

    Of a loop one copy stays, of a word that is none nothing. No fewer than ``least`` tokens stay.
    """
    kept = without_loop(tokens, config, least)
    text = text_of(tokenizer, kept)
    room = len(text)
    if size := _loop_of_characters(text, config):
        while text[:room].endswith(text[room - 2 * size : room - size]) and room >= 2 * size:
            room -= size
    elif (word := _last_word(text)) > config.longest_word:
        room -= word
    while len(kept) > least and len(text_of(tokenizer, kept)) > room:
        del kept[-1]
    return kept


def _loop_of_characters(text: str, config: DecodingConfig) -> int:
    """How many characters repeat at the end of ``text``, ``repeats`` times or more and as long as a loop; 0 if none."""
    for size in range(1, config.loop_characters + 1):
        copies = max(config.repeats, -(-config.loop_characters // size))
        if len(text) >= size * copies and text.endswith(text[-size:] * copies):
            return size
    return 0


def _last_word(text: str) -> int:
    """The length of the word that ``text`` ends in: of letters, without spaces between words."""
    start = len(text)
    while start and in_word(text[start - 1 :][:1] * 2, 1):
        start -= 1
    return len(text) - start


def _guard(
    tokenizer: "PreTrainedTokenizerBase", budgets: Sequence[int], end: int, config: DecodingConfig
) -> Any:
    """A logits processor that ends a row over its budget or that runs away.

    Of several beams one that runs away has no chance against the others: an end that costs nothing would be a prize.
    """
    from transformers import LogitsProcessor

    class Guard(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            rows_each = len(scores) // len(budgets)
            written = input_ids.shape[1]
            for row, tokens in enumerate(input_ids.tolist()):
                away = runs_away(tokenizer, tokens, config)
                if away or written >= budgets[row // rows_each]:
                    own = _RUN_AWAY if away else max(float(scores[row, end]), _RUN_AWAY)
                    scores[row] = float("-inf")
                    scores[row, end] = own if rows_each > 1 else 0.0
            return scores

    return Guard()


def guidance(
    tokenizer: "PreTrainedTokenizerBase",
    config: DecodingConfig,
    log_probs: NDArray[np.float32] | None,
    hints: Sequence[str],
) -> "Guidance | None":
    """What guides the text of one utterance: hints and, with them or with beams, ``log_probs`` (T, phonemes)."""
    hinted = config.hint_weight > 0 and len(hints) > 0
    if not hinted and config.beams == 1:
        return None
    # Its compiler takes its time to import.
    from nim4asr.recognition.guidance import Guidance, HintGuide, SoundGuide

    def text(tokens: Sequence[int]) -> str:
        return text_of(tokenizer, tokens)

    def tokens(text: str) -> Sequence[int]:
        return encode_text(tokenizer, text)

    end = end_token(tokenizer)
    sound = None
    if log_probs is not None and config.phoneme_weight > 0:
        sound = SoundGuide(log_probs, config.phoneme_weight, text, end)
    drawn = HintGuide(hints, config.hint_weight, text, tokens, end) if hinted else None
    return Guidance(sound, drawn, config.candidates, end) if sound or drawn else None


def _guide(guides: Sequence["Guidance | None"]) -> Any:
    """A logits processor that guides the texts, as many beams of each as there are."""
    from transformers import LogitsProcessor

    class Guide(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            beams = len(scores) // len(guides)
            for row, tokens in enumerate(input_ids.tolist()):
                if guide := guides[row // beams]:
                    scores[row] = guide.weighed(tokens, scores[row])
            return scores

    return Guide()
