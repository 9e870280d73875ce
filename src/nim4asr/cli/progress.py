"""Progress on stderr: bars, after two seconds, for a person watching; lines for a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """``items``, counted on a bar named ``what`` if stderr is a terminal."""
    from tqdm import tqdm

    yield from tqdm(
        items,
        desc=what,
        total=total,
        initial=done,
        delay=2.0,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    )


def progress_in_lines(
    items: Iterable[Item], what: str, total: int | None = None, done: int = 0, seconds: float = 60.0
) -> Iterator[Item]:
    """``items``, counted on stderr in a line every so many ``seconds``, as a log wants it."""
    from tqdm import tqdm

    began = told = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - told >= seconds or done + count == total:
            told = now
            of = ""
            if total is not None:
                left = tqdm.format_interval((total - done - count) * (now - began) / count)
                of = f" of {total}, {left} left"
            clock = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{clock} {what}: {done + count}{of}", file=sys.stderr, flush=True)


class JobProgress:
    """A bar over all files of a job, of ``sizes`` in bytes, with the time left; for a person alone.

    Files take time by their size. Within one, how far it is read is known if its header tells its duration,
    or if files of its kind were done before.
    """

    def __init__(self, sizes: Sequence[int], what: str = "transcribing") -> None:
        from tqdm import tqdm

        self._left = len(sizes)
        self._bar = tqdm(
            desc=what,
            total=sum(sizes),
            unit="B",
            unit_scale=True,
            delay=2.0,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        self._begun = 0  # where the file under way begins
        self._seconds = 0.0  # what was read of it
        self._per_byte: dict[str, float] = {}
        self._within = 0.0  # so many bytes of it
        self._suffix = ""

    def __enter__(self) -> "JobProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def done_bytes(self) -> int:
        """Where the bar stands."""
        return int(self._begun + self._within)

    def within(self, audio: str, size: int) -> Callable[[float], None]:
        """A file begins; the function is told how many seconds of it are read."""
        self._suffix, self._seconds, self._within = Path(audio).suffix.lower(), 0.0, 0.0
        duration = _duration(audio) or self._per_byte.get(self._suffix, 0.0) * size

        def told(seconds: float) -> None:
            self._seconds = seconds
            if duration:
                self._within = size * min(1.0, seconds / duration)
                self._show()

        return told

    def done(self, size: int) -> None:
        """The file has ended, or failed."""
        if size and self._seconds:
            self._per_byte[self._suffix] = self._seconds / size
        self._begun, self._within, self._seconds = self._begun + size, 0.0, 0.0
        self._left -= 1
        self._show()

    def skip(self, size: int) -> None:
        """A file needs no work: it does not count in the time left."""
        self._bar.total = max(0, (self._bar.total or 0) - size)
        self._left -= 1
        self._show()

    def say(self, line: str) -> None:
        """A line on stderr, above the bar."""
        self._bar.write(line, file=sys.stderr)

    def _show(self) -> None:
        self._bar.set_postfix_str(f"{self._left} files left", refresh=False)
        self._bar.update(self.done_bytes - self._bar.n)


def _duration(audio: str) -> float | None:
    """Seconds of an audio by its header, if libsndfile reads it."""
    import soundfile

    try:
        return float(soundfile.info(audio).duration) if Path(audio).is_file() else None
    except (soundfile.SoundFileError, OSError, ValueError):
        return None
