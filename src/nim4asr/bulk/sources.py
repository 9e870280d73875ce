"""What a bulk job is given: a folder, a manifest, or Parquet -> audios, each with a key that stays."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nim4asr.audio.folders import sound_files
from nim4asr.data.manifest import read_member, unique
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason

PARQUET = frozenset({".parquet"})
_ID = "id"


@dataclass(frozen=True)
class BulkAudio:
    """An audio of a job.

    ``key`` is its own among those of the job, in every run; ``name`` is what its transcript calls it.
    ``path`` is absolute: the file itself, or the archive of which it is the ``member``, or the Parquet file
    in whose ``column`` it stands in the ``row``. ``size`` is in bytes, 0 if it is not known.
    """

    key: str
    name: str
    path: str
    size: int = 0
    member: str | None = None
    row: int | None = None
    column: str = ""

    def source(self) -> str | bytes:
        """What to read it from, a path or its bytes. Raises ``InputError`` if there is no such thing."""
        if self.member is not None:
            return read_member(self.path, self.member)
        if self.row is not None:
            return _parquet_sound(self)
        return self.path


def read_audios(source: str | Path, column: str = "audio") -> list[BulkAudio]:
    """The audios of ``source``, no sound of which is read.

    A folder is taken with all folders in it: its audio files, or its Parquet files. Other files are Parquet,
    if they are named so, or manifests: JSON lines with ``audio``, a path, and perhaps ``id`` and ``tar``, as
    in ``nim4asr.data.manifest``. In Parquet, ``column`` holds paths, or the bytes of files, or structures of
    ``bytes`` and ``path`` as Hugging Face's datasets have them; ``id`` is the key where there is one. Paths
    are relative to the file in which they stand. Raises ``InputError`` for what cannot be read, and if there
    is no audio.
    """
    place = Path(source)
    if place.is_dir():
        tables, sounds = list(sound_files(place, PARQUET)), list(sound_files(place))
        if tables and sounds:
            raise InputError(f"{place}: this holds both audio and Parquet files; give a folder with one kind")
        audios = [*_of_tables(tables, place, column), *_of_folder(sounds, place)]
    elif place.suffix.lower() in PARQUET:
        audios = list(_of_tables([place], place.parent, column))
    else:
        audios = list(_of_manifest(place))
    if not audios:
        raise InputError(f"{place}: there is no audio in it")
    keys = unique([audio.key for audio in audios])
    return [
        audio if audio.key == key else BulkAudio(**{**vars(audio), "key": key})
        for audio, key in zip(audios, keys, strict=True)
    ]


def _of_folder(sounds: list[Path], folder: Path) -> Iterator[BulkAudio]:
    for path in sounds:
        yield _of_path(path.relative_to(folder).as_posix(), path)


def _of_path(key: str, path: Path) -> BulkAudio:
    return BulkAudio(key, str(path), os.path.abspath(path), _size(path))


def _of_manifest(path: Path) -> Iterator[BulkAudio]:
    for number, line in enumerate(read_text(path, "manifest").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            audio, id, tar = row["audio"], row.get(_ID) or "", row.get("tar")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}, line {number}: expected a JSON object with 'audio', a path") from None
        if not isinstance(audio, str) or not isinstance(id, str | int) or not isinstance(tar, str | None):
            raise InputError(f"{path}, line {number}: 'audio', 'id' and 'tar' must be strings")
        key = str(id or audio)
        if tar is None:
            yield _of_path(key, path.parent / audio)
        else:
            yield BulkAudio(key, audio, os.path.abspath(path.parent / tar), member=audio)


def _of_tables(tables: list[Path], folder: Path, column: str) -> Iterator[BulkAudio]:
    for table in tables:
        yield from _of_table(table, table.relative_to(folder).as_posix(), column)


def _of_table(path: Path, name: str, column: str) -> Iterator[BulkAudio]:
    """The audios of one Parquet file; of those that are bytes, no bytes are read."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        if column not in schema.names:
            raise InputError(f"{path}: there is no column {column!r}; there are {', '.join(schema.names)}")
        kind = schema.field(column).type
        as_text = arrow.types.is_string(kind) or arrow.types.is_large_string(kind)
        as_bytes = arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)
        parts = {kind.field(n).name for n in range(kind.num_fields)} if arrow.types.is_struct(kind) else set()
        if not as_text and not as_bytes and "bytes" not in parts:
            raise InputError(f"{path}: the column {column!r} holds neither paths nor bytes but {kind}")
        ids = _texts(file, _ID) if _ID in schema.names else None
        paths = None
        if as_text:
            paths = _texts(file, column)
        elif "path" in parts:
            paths = _texts(file, f"{column}.path")
        sizes = list(_mean_sizes(file))
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: the Parquet file cannot be read ({reason(error)})") from None
    absolute = os.path.abspath(path)
    for row, size in enumerate(sizes):
        told = paths[row] if paths else ""
        key = (ids[row] if ids else "") or told or f"{name}#{row}"
        if as_text:
            # A row without a path is an audio that cannot be read, not none.
            yield (
                _of_path(key, path.parent / told)
                if told
                else BulkAudio(key, key, absolute, 0, None, row, column)
            )
        else:
            yield BulkAudio(key, told or key, absolute, size, None, row, column)


def _texts(file: Any, column: str) -> list[str]:
    """A column's values as texts, "" for those that are null."""
    values = file.read(columns=[column]).column(0).to_pylist()
    if "." in column:
        values = [None if value is None else value.get("path") for value in values]
    return ["" if value is None else str(value) for value in values]


def _mean_sizes(file: Any) -> Iterator[int]:
    """For each row, the mean size of those in its group."""
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        yield from [group.total_byte_size // max(1, group.num_rows)] * group.num_rows


def _parquet_sound(audio: BulkAudio) -> str | bytes:
    assert audio.row is not None
    import pyarrow as arrow

    try:
        first, values = _group(audio.path, audio.column, audio.row)
        value = values[audio.row - first].as_py()
    except (arrow.ArrowException, OSError, IndexError) as error:
        raise InputError(f"{audio.path}: the Parquet file cannot be read ({reason(error)})") from None
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return str(Path(audio.path).parent / value)
    if not value:
        raise InputError(f"{audio.name}: the column {audio.column!r} is empty in row {audio.row}")
    return bytes(value)


@lru_cache(maxsize=4096)
def _groups(path: str, modified_ns: int) -> list[tuple[int, int, int]]:
    """The groups of a file: number, first row, and that of the next."""
    import pyarrow.parquet as parquet

    found, first = [], 0
    metadata = parquet.read_metadata(path)
    for number in range(metadata.num_row_groups):
        end = first + metadata.row_group(number).num_rows
        found.append((number, first, end))
        first = end
    return found


def _group(path: str, column: str, row: int) -> tuple[int, Any]:
    """The number of the first row, and the values, of the group in which ``row`` is."""
    for number, first, end in _groups(path, os.stat(path).st_mtime_ns):
        if first <= row < end:
            return first, _values(path, column, number, os.stat(path).st_mtime_ns)
    raise IndexError(f"there is no row {row}")


# Rows that lie together are read together.
@lru_cache(maxsize=1)
def _values(path: str, column: str, group: int, modified_ns: int) -> Any:
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(path).read_row_group(group, columns=[column]).column(0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        # Why it cannot be read is told when it is.
        return 0
