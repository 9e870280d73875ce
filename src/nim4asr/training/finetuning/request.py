"""What a tuning begins with, read and checked before torch is loaded or anything is heard."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason
from nim4asr.model.folder import ModelFolder, check_sum
from nim4asr.phonemes import TABLE
from nim4asr.runtime.network import check_complete
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.recordings import (
    LEAST_HELD_OUT,
    LEAST_TRAINED,
    Division,
    apart_from,
    divide,
    read_recordings,
)

# The corpora of a tuning.
OWN, REPLAY = "own", "replay"
# In the work folder, what was asked for.
ASKED = "asked.json"


@dataclass(frozen=True, eq=False)
class Request:
    """A model and recordings that can be had; how many others are ``without_text``, and which are
    ``missing``, a sentence each; and a fingerprint of all that decides what the new weights will be,
    ``command``.
    """

    options: FinetuneOptions
    folder: ModelFolder
    divisions: Mapping[str, Division]
    without_text: int
    missing: tuple[str, ...]
    command: str

    @classmethod
    def read(cls, options: FinetuneOptions) -> "Request":
        """What ``options`` ask for. Raises ``InputError`` if the model or the recordings cannot be had, are
        too few, or do not fit.
        """
        folder = _trainable(options)
        recordings = read_recordings(options.manifests)
        divisions = {OWN: divide(recordings.manifests)}
        if options.replay:
            other = divide(read_recordings(options.replay).manifests)
            divisions[REPLAY] = apart_from(divisions[OWN], other)
        missing = [why for division in divisions.values() for why in _missing(division)]
        command = _fingerprint(options, folder, divisions)
        return cls(options, folder, divisions, recordings.without_text, tuple(missing), command)

    def check_begun(self) -> None:
        """Raises ``InputError`` if the work folder holds what something else has begun."""
        work = self.options.work
        if not work.exists() or not any(path.name != ASKED for path in work.iterdir()):
            return
        try:
            same = parse_json(read_text(work / ASKED))["command"] == self.command
        except (InputError, ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise InputError(
                f"{work}: a tuning with another model, other recordings or other settings was begun "
                "here; remove this folder, or choose another name for the tuned model"
            )


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """What the block cannot make of a file in the work folder is told as damage: an ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this is damaged ({reason(error)}); remove it to make it anew") from None


def _trainable(options: FinetuneOptions) -> ModelFolder:
    """The model, once it is known that it can be trained."""
    if Path(options.model).is_file():
        raise InputError(
            f"{options.model}: this is a file, and the model is named first, then the recordings: "
            f"nim4 finetune nano {options.model} -o {options.output}"
        )
    folder = ModelFolder.open(options.model)
    check_complete(folder.config)
    if folder.config.phonemes != TABLE.symbols:
        raise InputError(f"{folder.path}: the model's phonemes are not those of this program")
    return folder


def _missing(division: Division) -> list[str]:
    """Which recordings are not where the manifests say, a sentence each. Raises ``InputError`` if the others
    are too few.
    """
    found: list[str] = []
    for part, least, purpose in (
        (division.trained, LEAST_TRAINED, "to train on"),
        (division.held_out, LEAST_HELD_OUT, "to judge by"),
    ):
        gone = [why for utterance in part if (why := utterance.missing()) is not None]
        if len(part) - len(gone) < least:
            raise InputError(
                f"of {len(part)} recordings {purpose} {len(gone)} are not where the manifest says, and it "
                f"takes {least} ({gone[0]}); paths are relative to the manifest's folder"
            )
        found += gone
    return found


def _fingerprint(options: FinetuneOptions, folder: ModelFolder, divisions: Mapping[str, Division]) -> str:
    row = {
        "model": folder.config.to_json(),
        "weights": [check_sum(path) for path in folder.weight_files],
        "recordings": {
            name: [list(map(asdict, part)) for part in (division.trained, division.held_out)]
            for name, division in divisions.items()
        },
        "settings": [options.minutes, options.steps, options.learning_rate, options.text_form],
    }
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()
