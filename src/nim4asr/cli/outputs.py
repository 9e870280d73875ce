"""Where transcripts of files go: files of an audio's own, of which none is written over another audio's."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nim4asr.errors import InputError
from nim4asr.files import (
    append_line,
    locked,
    mended_log,
    parse_json,
    remove_half_written,
    write_atomic,
    write_json_lines,
    writing,
)

# Which audio each file in the folder is the transcript of, a line of JSON each.
LIST = ".transcripts.jsonl"
# What sound on standard input is called, on the command line and in the names of files.
STDIN = "-"
_STDIN_STEM = "stdin"
# No write takes an hour.
_ABANDONED_S = 3600.0


class OutputFolder:
    """A folder of transcripts, each under its audio's own name: ``talk.wav`` becomes ``talk.txt``.

    Where that is the transcript of another audio, or a file that is nobody's, it becomes ``talk-2.txt``, and
    stays so: which is whose is kept in ``.transcripts.jsonl``. All ``endings`` of an audio have one name. A
    transcript of the same audio is replaced.
    """

    def __init__(self, folder: Path, endings: Sequence[str]) -> None:
        self._folder, self._endings = folder, tuple(endings)
        self._list = folder / LIST
        self._owners: dict[str, str] = {}
        self._read = 0  # so many bytes of the list
        # What runs that were killed have left half-written.
        remove_half_written(folder, _ABANDONED_S)

    def write(self, audio: str, texts: Mapping[str, str], under: Path = Path()) -> list[Path]:
        """Write the transcripts of ``audio``, by their endings, in the folder ``under`` of this one; returns
        their paths. Raises ``InputError`` if they cannot be written.
        """
        source = _source(audio)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        # Whoever writes here at the same time must not take the same name.
        with locked(self._list):
            self._refresh()
            names = self._names(audio, source, under)
            for name in names:
                if self._owners.get(name) != source:
                    append_line(self._list, json.dumps({"file": name, "audio": source}) + "\n")
        paths = [self._folder / name for name in names]
        for path, ending in zip(paths, self._endings, strict=True):
            write_atomic(path, texts[ending])
        return paths

    def existing(self, audio: str, under: Path = Path()) -> list[Path] | None:
        """The transcripts of ``audio`` in all endings, if they are all there; else None."""
        with locked(self._list) if self._list.exists() else nullcontext():
            self._refresh()
        source = _source(audio)
        names = self._names(audio, source, under)
        paths = [self._folder / name for name in names]
        own = all(self._owners.get(name) == source for name in names)
        return paths if own and all(path.exists() for path in paths) else None

    def _refresh(self) -> None:
        """Read the list, if it is not as it was."""
        if not self._list.exists() or self._list.stat().st_size == self._read:
            return
        text = mended_log(self._list, "list of transcripts")
        try:
            rows = [parse_json(line) for line in text.splitlines()]
            self._owners = {str(row["file"]): str(row["audio"]) for row in rows}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._list}: this is no list of transcripts; remove it") from None
        self._read = self._list.stat().st_size

    def _names(self, audio: str, source: str, under: Path) -> list[str]:
        """The names for all endings: those of the first number that nobody else has any of."""
        stem = _STDIN_STEM if audio == STDIN else Path(audio).stem
        number = 1
        while True:
            numbered = stem if number == 1 else f"{stem}-{number}"
            names = [(under / f"{numbered}.{ending}").as_posix() for ending in self._endings]
            if all(self._is_free(name, source) for name in names):
                return names
            number += 1

    def _is_free(self, name: str, source: str) -> bool:
        owner = self._owners.get(name)
        return owner == source or (owner is None and not (self._folder / name).exists())


class Summary:
    """What became of each audio of a job, a row of JSON each, in a file that survives a kill: a job that goes
    on keeps the rows of what was done before.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._replaced = False
        if path is None:
            return
        try:
            for line in mended_log(path, "summary").splitlines():
                row = parse_json(line)
                self._rows[str(row["audio"])] = row
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: this is no summary of a job; name another file") from None
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the row of an audio. One that was skipped keeps the row of what was done."""
        # A path may hold bytes that are no text.
        row = {name: _printable(value) for name, value in row.items()}
        audio = str(row["audio"])
        before = self._rows.get(audio)
        if self._path is None or (row["status"] == "skipped" and before and before["status"] == "done"):
            return
        self._replaced |= before is not None
        self._rows[audio] = row
        append_line(self._path, json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Leave one row an audio, the last."""
        if self._path is not None and self._replaced:
            write_json_lines(self._path, self._rows.values())


def _source(audio: str) -> str:
    return STDIN if audio == STDIN else os.path.abspath(audio)


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_printable, value))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
