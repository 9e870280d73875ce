"""A recognizer that hears the text that a file holds, and workers in this process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from nim4asr.bulk.plan import Report, Task
from nim4asr.errors import InputError
from nim4asr.recognition.result import Segment, Transcript, Word


class KilledError(BaseException):
    """Ends everything, as SIGKILL does."""


class Ear:
    """Plays the recognizer, and how it is loaded."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.loaded = 0
        # What happens when a text is heard.
        self.at: dict[str, BaseException] = {}

    def __deepcopy__(self, memo: object) -> "Ear":
        return self

    def __repr__(self) -> str:
        return "ear"

    def __call__(self) -> "Ear":
        self.loaded += 1
        return self

    def transcribe(self, source: str | bytes, *, name: str, **_: Any) -> Transcript:
        text = source.decode() if isinstance(source, bytes) else Path(source).read_text()
        self.heard.append(text)
        if text in self.at:
            raise self.at[text]
        if text == "broken":
            raise InputError(f"{name}: not audio that can be read")
        segment = Segment(0.0, 1.0, text, 0.9, (Word(text, 0.0, 1.0, 0.9),))
        return Transcript(name, 2.0, (segment,), 0.5)


class Here:
    """A cluster of ``workers`` that are this process, one task after the other."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.connections = 0

    @contextmanager
    def connected(self) -> Iterator["Here"]:
        self.connections += 1
        yield self

    def reports(self, work: Callable[[Task], Report], tasks: Sequence[Task]) -> Iterator[Report]:
        # A worker has its own ``work``, and gets tasks and gives reports as JSON.
        own = deepcopy(work)
        for task in tasks:
            yield Report.from_json(own(Task.from_json(task.to_json())).to_json())
