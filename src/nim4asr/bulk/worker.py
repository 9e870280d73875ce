"""What a worker does: it loads the model once, and hears shard after shard."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import nim4asr
from nim4asr.audio.level import Gain
from nim4asr.audio.samples import Channels
from nim4asr.bulk.plan import Report, Task
from nim4asr.bulk.shards import OutputFolder, Row, UnderWay
from nim4asr.bulk.sources import BulkAudio
from nim4asr.errors import InputError
from nim4asr.files import reason

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.recognition.offline import Recognizer

# An audio at which a worker has ended so often is given up: it takes more memory than there is, or breaks a
# decoder.
MOST_ATTEMPTS = 3
_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Listening:
    """How the audios are heard.

    ``load`` gives a worker its recognizer, by default of the bundled model; it is sent to the workers, so its
    paths must be absolute and there on each of their machines. ``hotwords``, ``hints``, ``gain`` and
    ``channels`` are as in ``Recognizer.transcribe``, ``hotwords`` by the path of its list or database;
    ``digits`` writes numbers in digits.
    """

    load: "Callable[[], Recognizer]" = nim4asr.load
    hotwords: Path | None = None
    hints: tuple[str, ...] = ()
    gain: Gain = 0.0
    channels: Channels = "mixed"
    digits: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What a job's texts depend on, as JSON: a job that goes on must have the same."""
        return {
            "load": _described(self.load),
            "hotwords": None if self.hotwords is None else str(Path(self.hotwords).absolute()),
            "hints": list(self.hints),
            "gain": self.gain,
            "channels": self.channels,
            "digits": self.digits,
        }


class CannotBeginError(InputError):
    """A worker has no model, or cannot write: no audio would fare better."""


@dataclass
class Listener:
    """Hears audios, by a model that is loaded when the first one comes."""

    listening: Listening
    _loaded: "tuple[Recognizer, HotwordIndex | None] | None" = field(default=None, init=False)

    def __call__(self, audio: BulkAudio) -> Row:
        """The row of an audio. Raises ``CannotBeginError`` if there is no model."""
        head = {"key": audio.key, "audio": audio.name}
        if self._loaded is None:
            self._loaded = _begun(self._load)
        try:
            try:
                return {**head, "status": "done", **self._heard(audio)}
            except InputError:
                raise
            except Exception:
                # The model may be what is broken, such as a GPU's memory: once more by a fresh one.
                self._loaded = None
                self._loaded = _begun(self._load)
                return {**head, "status": "done", **self._heard(audio)}
        except CannotBeginError:
            raise
        except InputError as error:
            return {**head, "status": "failed", "error": str(error)}
        except Exception as error:
            told = f"{audio.name}: {type(error).__name__}: {reason(error)}"
            return {**head, "status": "failed", "error": told}

    def _load(self) -> "tuple[Recognizer, HotwordIndex | None]":
        from nim4asr.hotwords.index import HotwordIndex

        path = self.listening.hotwords
        return self.listening.load(), None if path is None else HotwordIndex.load(Path(path).absolute())

    def _heard(self, audio: BulkAudio) -> Row:
        from nim4asr.recognition.writers import to_json

        assert self._loaded is not None
        recognizer, hotwords = self._loaded
        transcript = recognizer.transcribe(
            audio.source(),
            name=audio.name,
            hotwords=hotwords,
            hints=self.listening.hints,
            gain=self.listening.gain,
            channels=self.listening.channels,
        )
        row: Row = json.loads(to_json(transcript.with_digits() if self.listening.digits else transcript))
        return row


@dataclass
class Worker:
    """Hears the audios of tasks, and writes their shards. ``run`` is the name of this run of the job."""

    hear: Callable[[BulkAudio], Row]
    output: OutputFolder
    run: str

    def __call__(self, task: Task) -> Report:
        """Do what is left of a shard. Raises ``InputError`` if it cannot be written, or without a model."""
        under_way = UnderWay(self.output, task.shard, self.run)
        for audio in task.audios:
            if audio.key in under_way.rows:
                continue
            if under_way.begun[audio.key] >= MOST_ATTEMPTS:
                told = f"{audio.name}: given up; {MOST_ATTEMPTS} times the worker that heard it was killed"
                row: Row = {"key": audio.key, "audio": audio.name, "status": "failed", "error": told}
            else:
                under_way.begin(audio.key)
                row = self.hear(audio)
            under_way.add(row)
        under_way.close()
        return Report.of(task.shard, under_way.rows.values())


def _begun(load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except InputError as error:
        raise CannotBeginError(str(error)) from None
    except Exception as error:
        raise CannotBeginError(f"a worker cannot begin ({type(error).__name__}: {reason(error)})") from error


def _described(load: Any) -> str:
    if isinstance(load, partial):
        given = [*map(repr, load.args), *(f"{name}={value!r}" for name, value in load.keywords.items())]
        return f"{_described(load.func)}({', '.join(given)})"
    if hasattr(load, "__qualname__"):
        return f"{load.__module__}.{load.__qualname__}"
    return repr(load)
