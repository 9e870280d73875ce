"""Files and folders that are whole or not there at all.

Everything is written under another name beside its place, flushed to the disk, and renamed when whole, so
that neither a reader nor a crash meets half of it, and what was there before stays until then. The other name
is unique: writers of one file do not spoil each other's. ``locked`` is for those who read, change and write
back.
"""

import codecs
import json
import os
import re
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, Literal

from nim4asr.errors import InputError

# What is written under until it is whole; who is killed leaves it behind.
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{12}\.new")
# So long a lock is waited for by those who do not wait for ever.
_PATIENCE_S = 5.0


@contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """A file to write, which becomes ``path`` when the block ends, and leaves nothing if it fails.

    Raises ``InputError`` if it cannot be written: no room, no right, no such place.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(path)
        try:
            with new.open(mode, encoding="utf-8" if mode == "w" else None) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            _sync(path.parent)
        finally:
            with suppress(OSError):
                new.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` when the block ends, in the place of what was there.

    Raises ``InputError`` if it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(path)
        new.mkdir()
        try:
            yield new
            publish_folder(new, path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def publish_folder(new: Path, path: Path) -> None:
    """Give the folder ``new`` the name ``path``, once all that is in it is on the disk; what was there
    goes.
    """
    for inner in new.rglob("*"):
        if inner.is_file():
            _sync(inner)
    _sync(new)
    old = _beside(path)
    if path.exists():
        path.rename(old)
    new.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def publish_file(new: Path, path: Path) -> None:
    """Give the file ``new`` the name ``path``, once it is on the disk; what was there goes."""
    _sync(new)
    new.replace(path)
    _sync(path.parent)


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` as the file ``path``. Raises ``InputError`` as ``atomic_file`` does."""
    with atomic_file(path, "w") as file:
        file.write(text)


def remove_half_written(folder: Path, age_s: float = 0.0) -> None:
    """Take away what writers that were killed have left in ``folder`` and below, if it is ``age_s`` seconds
    old: 0 where nobody else writes.
    """
    now = time.time()
    for path in folder.rglob(".*.new") if folder.is_dir() else ():
        with suppress(OSError):
            if _HALF_WRITTEN.fullmatch(path.name) and now - path.stat().st_mtime >= age_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def append_line(path: Path, line: str) -> None:
    """Add a line to a log. A crash may leave it torn; who reads logs passes over such. Raises ``InputError``
    as ``atomic_file`` does.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def mended_log(path: Path, what: str = "log") -> str:
    """The whole lines of a log that ``append_line`` writes, after one that a crash tore is taken away from
    its end; nothing if there is none yet. ``what`` it is, for messages. Raises ``InputError`` as
    ``read_text`` and ``write_atomic`` do.
    """
    if not path.exists():
        return ""
    text = read_text(path, what)
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomic(path, whole)
    return whole


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSON, one a line, as ``write_atomic`` does."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_text(path: Path, what: str = "file") -> str:
    """The text of ``path``, in any encoding of ``encoding_of``; ``what`` it is, for the message of the
    ``InputError`` raised if it cannot be read.
    """
    try:
        return decoded(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such {what}") from None
    except (OSError, ValueError) as error:
        # ``ValueError``: no UTF-8, or a path with a NUL in it.
        raise InputError(f"{path}: the {what} cannot be read ({reason(error)})") from None


def decoded(data: bytes) -> str:
    """The text that ``data`` is, its lines ended as in Unix. Raises ``ValueError`` as ``encoding_of``
    does.
    """
    return data.decode(encoding_of(data)).replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins with ``start``, as Python names it: UTF-8, with or without a mark at
    its beginning, UTF-16 or UTF-32, or GB18030, of which GBK and GB2312 are parts.

    Raises ``ValueError`` for a text in none of them, with what it looks like.
    """
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    # The last character of a beginning may be cut.
    if _decodes(start, "utf-8"):
        zeros = start[:4096]
        if b"\0" not in zeros:
            return "utf-8"
    for encoding, high in (("utf-16-le", 1), ("utf-16-be", 0)):
        # Latin letters and the ends of lines have a zero in the one half, nothing has one in the other.
        if len(start) % 2 == 0 and start[high::2].count(0) and not start[1 - high :: 2].count(0):
            return encoding
    if _decodes(start, "utf-8"):
        return "utf-8"
    common, others = _gb_pairs(start)
    if common and common >= 2 * others and _decodes(start, "gb18030"):
        return "gb18030"
    seems = next((name for name, codec in _SEEMS.items() if _decodes(start, codec)), "no text")
    raise ValueError(f"it is neither UTF-8 nor UTF-16 nor GB18030, but seems to be {seems}; save it as UTF-8")


# The longer mark first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
_SEEMS = {"Big5": "big5", "Shift JIS": "shift_jis", "EUC-KR": "euc_kr", "Windows-1252": "cp1252"}


def _decodes(start: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _gb_pairs(data: bytes) -> tuple[int, int]:
    """How many characters of two bytes are among those of GB2312, which nearly all Chinese texts are made of,
    and how many are others.
    """
    common = others = place = 0
    while place < len(data):
        if data[place] < 0x80:
            place += 1
            continue
        pair = data[place : place + 2]
        if len(pair) == 2:
            both = 0xA1 <= pair[0] <= 0xF7 and pair[1] >= 0xA1
            common, others = common + both, others + (not both)
        place += 2
    return common, others


def parse_json(text: str) -> Any:
    """The value of a JSON text; raises ``ValueError`` for whatever is none, nesting too deep to be followed
    too.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the nesting is too deep") from None


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: a string may hold surrogates, which are no characters."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, gone when the block ends. Raises ``InputError`` if there is no place for one."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="nim4asr-")
    except OSError as error:
        raise InputError(
            "there is no place for temporary files; set TMPDIR to a folder that can be written "
            f"({reason(error)})"
        ) from None
    with folder as name:
        yield Path(name)


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Keep other processes and threads that lock ``path`` waiting until the block ends.

    The lock is a file of its own beside it, which stays there: ``path`` itself is another file after every
    write. Raises ``InputError`` if it cannot be made, and, where a sentence says so, ``busy``, if another has
    it for more than some seconds.
    """
    from filelock import FileLock, Timeout

    with writing(path):
        place = path.absolute().resolve()
        # Short, so that it fits where the name itself just does.
        name = place.with_name(f".{zlib.crc32(os.fsencode(place.name)):08x}.lock")
        # Where no file can be made, the library would wait for ever.
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
        lock = FileLock(name)
        try:
            # What a killed process had started may hold it a moment longer.
            lock.acquire(timeout=-1 if busy is None else _PATIENCE_S)
        except Timeout:
            raise InputError(str(busy)) from None
        except NotImplementedError as error:
            raise InputError(f"{path}: cannot be locked ({reason(error)})") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what goes wrong in the block as an ``InputError``: ``path`` cannot be written, and why."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be written ({reason(error)})") from None
    except ValueError as error:
        # A path with a NUL in it.
        if "null byte" not in str(error):
            raise
        raise InputError(f"{path}: cannot be written ({error})") from None


def reason(error: BaseException) -> str:
    """Why something failed, in one line."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _beside(path: Path) -> Path:
    if not path.name:
        raise InputError(f"{str(path)!r} is not a name for a file or folder")
    # Short, so that it fits where the name itself just does.
    return path.with_name(f".{secrets.token_hex(6)}.new")


def _sync(path: Path) -> None:
    # Some file systems cannot flush a folder; nothing is lost by that but the order of things in a power cut.
    # Of a file, it may be the first to tell of a full disk.
    with suppress(OSError) if path.is_dir() else nullcontext():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
