"""What can be asked of a tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.errors import InputError
from nim4asr.runtime.loading import MOST_THREADS

if TYPE_CHECKING:
    from nim4asr.training.speech import TextForm


@dataclass(frozen=True)
class FinetuneOptions:
    """What is tuned, on what, to where. Raises ``InputError`` for what cannot be."""

    model: str | Path
    """A model's folder, or the hub's ``org/name``."""
    manifests: Sequence[Path]
    """Recordings with their texts (``nim4asr.data.manifest``)."""
    output: Path
    """The folder of the new model; there must be none of this name, or an empty one."""
    replay: Sequence[Path] = ()
    """Manifests of other speech, so that what the model knows already is not forgotten."""
    minutes: float | None = None
    """Train for so long at most; reading and judging come on top."""
    steps: int | None = None
    """So many steps, in place of what the hours of speech suggest."""
    learning_rate: float | None = None
    """The peak of the learning rate, likewise."""
    text_form: "TextForm | None" = None
    """What to write; None is what the model writes already."""
    force: bool = False
    """Take the new weights even if they are no better."""
    report: Path | None = None
    """A folder for the alignments of what was set aside, before and after."""
    threads: int | None = None
    """Processor threads for training; None is all cores. They change nothing but the time it takes."""

    def __post_init__(self) -> None:
        if not self.manifests:
            raise InputError("name a manifest of recordings with their texts")
        if not self.output.name or self.output.name == "..":
            raise InputError(f"{str(self.output)!r} is not a name for a model's folder")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise InputError(f"the minutes to train must be above 0, not {self.minutes:g}")
        if self.steps is not None and not 1 <= self.steps < 1e9:
            raise InputError(f"the steps must be 1 or more, not {self.steps}")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise InputError(f"the threads must be from 1 to {MOST_THREADS}, not {self.threads}")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 0.1:
            raise InputError(f"the learning rate must be above 0 and at most 0.1, not {self.learning_rate:g}")

    @property
    def candidate(self) -> Path:
        """The folder of the new weights until it is known whether they are taken, in the work folder."""
        return self.work / "model"

    @property
    def work(self) -> Path:
        """The folder of what is under way, beside the output."""
        return self.output.with_name(f"{self.output.name}.tuning")
