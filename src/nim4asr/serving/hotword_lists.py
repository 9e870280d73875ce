"""Hotword lists that the server keeps, by name: in memory, and in a folder if it has one.

Several servers may share the folder: each looks there whenever a list is asked for, so that what one was
given the others have. A file becomes another one in one move, and sessions go on with the list that they
began with.

``GET /v1/hotwords`` lists them, ``PUT /v1/hotwords/NAME`` uploads or replaces one, ``DELETE`` removes it. A
request or a session names one and may lay names of its own on top.
"""

import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import locked
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.storage import MAGIC
from nim4asr.model.prompt import MOST_HINTS
from nim4asr.serving.errors import ApiError, shown
from nim4asr.serving.logs import SERVER

# No dots and no slashes: a list's name becomes that of a file.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Longer lists would keep the processor from live sessions for many seconds.
_MOST_NAMES = 20_000
# Names that a request may bring along, each of so many characters: they are pronounced before it is served.
_MOST_OWN, _LONGEST_NAME = 1000, 200
# Kinds of lists by their content type; a database is known by its first bytes.
_SUFFIXES = {"text/csv": ".csv", "application/jsonl": ".jsonl", "application/x-ndjson": ".jsonl"}


@dataclass(frozen=True)
class HotwordList:
    """A list of names under a name of its own."""

    name: str
    index: HotwordIndex
    created: int


class HotwordLists:
    """The lists, usable from any thread; asking for one may read it from the folder."""

    def __init__(self, folder: Path | None = None, lists: Mapping[str, Path] | None = None) -> None:
        self._folder = folder
        # Held while a list changes in memory or in the folder: they say the same.
        self._lock = threading.RLock()
        self._lists: dict[str, HotwordList] = {}
        # Of each list that is from the folder, what its file was when it was read.
        self._stamps: dict[str, tuple[int, ...]] = {}
        # Files that could not be read, which is said once.
        self._unreadable: dict[str, tuple[int, ...]] = {}
        for name, path in (lists or {}).items():
            self._lists[_checked(name)] = HotwordList(name, HotwordIndex.load(path), int(time.time()))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.db")):
                if _NAME.fullmatch(path.stem):
                    self._read(path.stem)

    def all(self) -> list[HotwordList]:
        """All lists, by their names."""
        with self._lock:
            there = [] if self._folder is None else [path.stem for path in self._folder.glob("*.db")]
            for name in {*there, *self._stamps}:
                self._refresh(name)
            return [self._lists[name] for name in sorted(self._lists)]

    def get(self, name: str) -> HotwordList:
        """The list of that name. Raises ``ApiError`` 404 if there is none."""
        with self._lock:
            self._refresh(name)
            found = self._lists.get(name)
        if found is None:
            raise ApiError(
                404, f"there is no hotword list {shown(name)} on this server", "not_found", "hotwords"
            )
        return found

    def put(self, name: str, data: bytes, content_type: str = "text/plain") -> HotwordList:
        """Keep a list (text, CSV or JSON lines) or a database as ``name``, in the place of what was there;
        takes as long as pronouncing does. Raises ``InputError`` for one that cannot be read.
        """
        name = _checked(name)
        kind = content_type.partition(";")[0].strip().lower()
        suffix = ".db" if data.startswith(MAGIC) else _SUFFIXES.get(kind, ".txt")
        if suffix != ".db" and data.count(b"\n") > _MOST_NAMES:
            raise ApiError(
                400,
                f"a list of over {_MOST_NAMES:,} names takes long to pronounce; make it a database first: "
                "nim4 hotwords build",
                param="name",
            )
        # In a folder of its own while it is read: a path of the client's never reaches the file system.
        with tempfile.TemporaryDirectory(prefix="nim4asr-") as scratch:
            path = Path(scratch) / f"list{suffix}"
            path.write_bytes(data)
            try:
                index = HotwordIndex.load(path)
                index.verify()
            except InputError as error:
                raise InputError(str(error).replace(str(path), name)) from None
        with self._lock:
            if self._folder is None:
                self._lists[name] = HotwordList(name, index, int(time.time()))
            else:
                self._save(name, index)
            return self._lists[name]

    def delete(self, name: str) -> None:
        """Remove a list. Raises ``ApiError`` 404 if there is none, 507 if it cannot be removed."""
        with self._lock:
            self.get(name)
            if self._folder is not None:
                with self._writing(name):
                    self._path(name).unlink(missing_ok=True)
            self._lists.pop(name, None)
            self._stamps.pop(name, None)

    def chosen(self, name: str | None, names: Sequence[str]) -> tuple[tuple[str, ...], HotwordIndex | None]:
        """Hints and an index for a request: ``names`` outright while they fit into a prompt, listened for
        beyond that; over the list ``name``, if one is named.
        """
        unique = tuple(dict.fromkeys(name for name in map(str.strip, names) if name))
        if len(unique) > _MOST_OWN or any(len(name) > _LONGEST_NAME for name in unique):
            raise InputError(
                f"a request may give {_MOST_OWN} names of at most {_LONGEST_NAME} characters; upload a list "
                "for more: PUT /v1/hotwords/NAME"
            )
        if name is None and len(unique) <= MOST_HINTS:
            return unique, None
        index = HotwordIndex() if name is None else self.get(name).index.over()
        index.add(Name(name) for name in unique)
        return (), index

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.db"

    def _save(self, name: str, index: HotwordIndex) -> None:
        """Put ``index`` into the folder, and have it as it is there. Raises ``ApiError`` 507 if it cannot be
        written.
        """
        with self._writing(name):
            index.save(self._path(name))
            # While nobody else can have removed it again.
            self._read(name)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Change the file of a list; other servers wait. Raises ``ApiError`` 507 if that goes wrong."""
        try:
            with locked(self._path(name)):
                yield
        except (InputError, OSError) as error:
            # Neither the list nor the client is at fault, and where the folder is, is nothing to tell.
            SERVER.error("a list cannot be kept", exc_info=error)
            raise ApiError(
                507, "the server cannot keep a list now: no room on its disk, or no right", "server_error"
            ) from None

    def _read(self, name: str) -> None:
        path = self._path(name)
        stamp = _stamp(path)
        index = HotwordIndex.load(path)
        self._lists[name] = HotwordList(name, index, int(path.stat().st_mtime))
        self._stamps[name] = stamp

    def _refresh(self, name: str) -> None:
        """Have the list as the folder has it now, in which another server may have changed it. A file that
        cannot be read, for it is being copied, changes nothing.
        """
        if self._folder is None or not _NAME.fullmatch(name):
            return
        try:
            stamp = _stamp(self._path(name))
        except OSError:
            if self._stamps.pop(name, None) is not None:
                del self._lists[name]
            return
        if stamp in (self._stamps.get(name), self._unreadable.get(name)):
            return
        try:
            self._read(name)
        except (InputError, OSError) as error:
            self._unreadable[name] = stamp
            SERVER.warning("the list %s in the folder cannot be read (%s)", name, error)


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ApiError(400, "the name of a list is made of 1 to 64 letters, digits, _ and -", param="name")
    return name
