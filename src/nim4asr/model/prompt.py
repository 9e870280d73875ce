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

from nim4asr.model.tokenizer import TURN_END, TURN_START, Tokenizer

# So many hints go into a prompt at the most, as in the paper.
MOST_HINTS = 20


@dataclass(frozen=True)
class PromptConfig:
    """The wording. ``hints`` stands before the hint list and is left out when there is none."""

    system: str = "You are a speech recogniser."
    task: str = "Transcribe the speech.\n"
    hints: str = "\nIt may contain: "
    separator: str = ", "


def tokens_before(tokenizer: Tokenizer, config: PromptConfig) -> list[int]:
    """Token ids of everything in front of the speech."""
    return tokenizer.encode_special(
        f"{TURN_START}system\n{config.system}{TURN_END}\n{TURN_START}user\n{config.task}"
    )


def tokens_after(tokenizer: Tokenizer, config: PromptConfig, hints: Sequence[str] = ()) -> list[int]:
    """Token ids between the speech and the transcript: the hints and the assistant header.

    Raises ``ValueError`` for more than 20 hints: choosing them is the caller's task.
    """
    if len(hints) > MOST_HINTS:
        raise ValueError(f"at most {MOST_HINTS} hints go into a prompt, not {len(hints)}")
    line = config.hints + config.separator.join(hints) if hints else ""
    return [*tokenizer.encode(line), *tokenizer.encode_special(f"{TURN_END}\n{TURN_START}assistant\n")]


def tokens_of_transcript(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a transcript and the end of its turn: what the language model learns to write."""
    return [*tokenizer.encode(text), tokenizer.end]
