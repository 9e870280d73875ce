"""Manifests: JSON lines, one utterance each.

Keys: ``audio`` (a path, absolute or relative to the manifest), ``text``, ``language`` (``zh`` or
``en``; ``lang`` is read too). Optional: ``tar`` (an archive, found like ``audio``, of which ``audio``
is then a member), ``id``, ``speaker``, ``duration`` in seconds, ``split``. Other keys are ignored.
"""

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json, read_text, reason

LONGEST_TEXT = 10_000


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
    # Not splitlines: a text may hold U+2028, which JSON allows.
    lines = read_text(path, "manifest").split("\n")
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
        utterances = [utterance for utterance in utterances if utterance.split == split]
        if not utterances:
            raise InputError(f"{path}: no utterance is of the split {split!r}")
    return utterances if limit is None else utterances[: max(1, limit)]


def _utterance(line: str, path: Path, number: int) -> Utterance:
    def wrong(what: str) -> InputError:
        return InputError(f"{path}, line {number}: {what}")

    try:
        row = parse_json(line)
        audio, text = row["audio"], row["text"]
        language = row.get("language") or row.get("lang") or "zh"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong("expected a JSON object with 'audio', 'text' and 'language'") from None
    if not isinstance(audio, str) or not isinstance(text, str):
        raise wrong("'audio' and 'text' must be strings")
    if len(text) > LONGEST_TEXT:
        raise wrong(f"a text of {len(text)} characters is no utterance; at most {LONGEST_TEXT}")
    tar, duration = row.get("tar"), row.get("duration")
    if tar is not None and not isinstance(tar, str):
        raise wrong("'tar' must be the path of an archive")
    if duration is not None and not _is_seconds(duration):
        raise wrong("'duration' must be a number of seconds")
    names = {key: row.get(key) or "" for key in ("id", "speaker", "split")}
    for key, value in names.items():
        if not isinstance(value, str | int):
            raise wrong(f"{key!r} must be a string")
    if not all(is_unicode(str(value)) for value in (audio, text, tar, language, *names.values())):
        raise wrong("it holds code points that are no characters")
    return Utterance(
        id=str(names["id"] or audio),
        audio=audio if tar else str(path.parent / audio),
        text=text,
        language=str(language)[:2].lower(),
        tar=str(path.parent / tar) if tar else None,
        speaker=str(names["speaker"]),
        duration=None if duration is None else float(duration),
        split=str(names["split"]),
    )


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


@lru_cache(maxsize=16)
def _members(tar: str) -> dict[str, tuple[int, int]]:
    """Where each member of the archive lies: offset and size."""
    try:
        with tarfile.open(tar, "r:") as archive:
            return {member.name: (member.offset_data, member.size) for member in archive if member.isfile()}
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise InputError(f"{tar}: the archive cannot be read ({reason(error)})") from None


def read_member(tar: str, name: str) -> bytes:
    """The bytes of the member ``name`` of the uncompressed archive ``tar``."""
    found = _members(tar).get(name)
    if found is None:
        raise InputError(f"{tar}: the archive has no member {name!r}")
    offset, size = found
    try:
        with open(tar, "rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise InputError(f"{tar}: the archive cannot be read ({reason(error)})") from None
    if len(data) < size:
        raise InputError(
            f"{tar}: the archive is cut short; its member {name!r} lacks {size - len(data)} bytes"
        )
    return data


def member_names(tar: str) -> list[str]:
    """The names of the members of an uncompressed archive."""
    return list(_members(tar))
