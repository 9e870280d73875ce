"""Manifests: JSON lines, one utterance each.

Keys: ``audio`` (a path, absolute or relative to the manifest), ``text``, ``language`` (``zh`` or
``en``; ``lang`` is read too). Optional: ``tar`` (an archive, found like ``audio``, of which ``audio``
is then a member), ``id``, ``speaker``, ``duration`` in seconds, ``split``. Other keys are ignored.
"""

import json
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nim4asr.errors import InputError


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest, its paths made absolute."""

    id: str
    audio: str
    text: str
    language: str
    tar: str | None = None
    speaker: str = ""
    duration: float | None = None
    split: str = ""

    def source(self) -> Path | bytes:
        """What to read the sound from: the file's path, or its bytes out of the archive."""
        if self.tar is None:
            return Path(self.audio)
        return read_member(self.tar, self.audio)


def read_manifest(path: Path) -> list[Utterance]:
    """All utterances of the manifest ``path``.

    Raises ``InputError`` if the file is missing, empty, or has a line that is no utterance.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the manifest cannot be read ({error})") from None
    utterances = [_utterance(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not utterances:
        raise InputError(f"{path}: the manifest holds no utterance")
    return utterances


def select(path: Path, split: str | None = None, limit: int | None = None) -> list[Utterance]:
    """The utterances of the manifest ``path`` that are of ``split``, the first ``limit`` of them.

    Raises ``InputError`` as ``read_manifest`` does, and if there is none.
    """
    utterances = read_manifest(path)
    if split is not None:
        utterances = [one for one in utterances if one.split == split]
        if not utterances:
            raise InputError(f"{path}: no utterance is of the split {split!r}")
    return utterances if limit is None else utterances[: max(1, limit)]


def _utterance(line: str, path: Path, number: int) -> Utterance:
    try:
        row = json.loads(line)
        audio, text = row["audio"], row["text"]
        language = row.get("language") or row.get("lang") or "zh"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}, line {number}: expected a JSON object with 'audio', 'text' and 'language'"
        ) from None
    if not isinstance(audio, str) or not isinstance(text, str):
        raise InputError(f"{path}, line {number}: 'audio' and 'text' must be strings")
    tar = row.get("tar")
    return Utterance(
        id=str(row.get("id") or audio),
        audio=audio if tar else str(path.parent / audio),
        text=text,
        language=str(language)[:2].lower(),
        tar=str(path.parent / tar) if tar else None,
        speaker=str(row.get("speaker", "")),
        duration=row.get("duration"),
        split=str(row.get("split", "")),
    )


@lru_cache(maxsize=16)
def _members(tar: str) -> dict[str, tuple[int, int]]:
    """Where each member of the archive lies: offset and size."""
    try:
        with tarfile.open(tar, "r:") as archive:
            return {member.name: (member.offset_data, member.size) for member in archive}
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{tar}: the archive cannot be read ({error})") from None


def read_member(tar: str, name: str) -> bytes:
    """The bytes of the member ``name`` of the uncompressed archive ``tar``."""
    found = _members(tar).get(name)
    if found is None:
        raise InputError(f"{tar}: the archive has no member {name!r}")
    offset, size = found
    with open(tar, "rb") as file:
        file.seek(offset)
        return file.read(size)


def member_names(tar: str) -> list[str]:
    """The names of the members of an uncompressed archive."""
    return list(_members(tar))
