"""The prompt: static text, then speech, then hints, then the assistant's turn.

    <|im_start|>system
    {system}<|im_end|>
    <|im_start|>user
    {task}[speech][hints]<|im_end|>
    <|im_start|>assistant
    {transcript}<|im_end|>

What never changes stands first, so its keys and values are computed once; speech is appended chunk by
chunk; the hints, which change to the last moment, come after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_HINTS = 20
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"


@dataclass(frozen=True)
class PromptConfig:
    """The wording. ``hints`` stands before the hint list and is left out when there is none."""

    system: str = "You are a speech recogniser."
    task: str = "Transcribe the speech.\n"
    hints: str = "\nIt may contain: "
    separator: str = ", "


def tokens_before(tokenizer: "PreTrainedTokenizerBase", config: PromptConfig) -> list[int]:
    """Token ids of everything in front of the speech."""
    text = f"{TURN_START}system\n{config.system}{TURN_END}\n{TURN_START}user\n{config.task}"
    return _encode(tokenizer, text)


def tokens_after(
    tokenizer: "PreTrainedTokenizerBase", config: PromptConfig, hints: Sequence[str] = ()
) -> list[int]:
    """Token ids between the speech and the transcript: the hints and the turn's change.

    Raises ``ValueError`` for more than 20 hints: choosing them is the caller's task.
    """
    if len(hints) > MOST_HINTS:
        raise ValueError(f"at most {MOST_HINTS} hints go into a prompt, not {len(hints)}")
    line = config.hints + config.separator.join(hints) if hints else ""
    return [*encode_text(tokenizer, line), *_encode(tokenizer, f"{TURN_END}\n{TURN_START}assistant\n")]


def tokens_of_transcript(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a transcript and the end of its turn: what the language model learns to write."""
    return [*encode_text(tokenizer, text), end_token(tokenizer)]


def end_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id that ends a transcript."""
    (token,) = _encode(tokenizer, TURN_END)
    return token


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text that comes from outside: what looks like a special token in it is only text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)
    return ids
