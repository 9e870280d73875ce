"""Manifests: JSON lines, one utterance each.

Keys: ``audio`` (a path, absolute or relative to the manifest), ``text``, ``language`` (a code such as
``zh`` or ``en-US``, or the language's English name; ``lang`` is read too; without one, a text with Chinese
characters is Chinese, any other English). Optional: ``tar`` (an archive, found like ``audio``, of which
``audio`` is then a member), ``id``, ``speaker``, ``duration`` in seconds, ``split``. Other keys are ignored.

No two utterances that are read have the same ``id``: a second "a" is "a#2".
"""

import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json, read_text, reason
from nim4asr.text.characters import is_han

LONGEST_TEXT = 10_000
# A clip may be so much shorter than its manifest says, in seconds and as a share of it: formats round.
_ROUNDING_S, _ROUNDING = 0.2, 0.02
# Languages whose names are not their codes (ISO 639-1): the names, and codes of three letters or of the past.
_CODES = {
    "zh": "chinese mandarin putonghua cmn chi zho cn 中文 汉语 普通话 国语",
    "en": "english eng 英语",
    "yue": "cantonese 粤语",
    "de": "german deu ger",
    "es": "spanish spa castilian",
    "fr": "french fra fre",
    "it": "italian ita",
    "ja": "japanese jpn jp",
    "ko": "korean kor kr",
    "nl": "dutch nld dut",
    "pt": "portuguese por",
    "ru": "russian rus",
}
_CODE_OF = {name: code for code, names in _CODES.items() for name in names.split()}


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

    def samples(self) -> Floats:
        """Its sound (N,), 16 kHz, for whoever needs it whole.

        Raises ``InputError`` if it cannot be read, is damaged or cut short, or is shorter than its manifest
        says: its text would be of more than is there.
        """
        warnings: list[str] = []
        samples = read_audio(self.source(), warnings.append)
        if warnings:
            raise InputError(warnings[0])
        seconds = len(samples) / SAMPLE_RATE
        if self.duration is not None and self.duration - seconds > _ROUNDING_S + _ROUNDING * self.duration:
            raise InputError(
                f"{self.audio}: {seconds:.2f} s of sound, of which the manifest says {self.duration:.2f}"
            )
        return samples

    def missing(self) -> str | None:
        """Why there is nothing to read its sound from, in a sentence; None if there is. No sound is read."""
        if self.tar is None:
            return None if Path(self.audio).exists() else f"{self.audio}: there is no such file"
        try:
            there = self.audio in _members(self.tar)
        except InputError as error:
            return str(error)
        return None if there else f"{self.tar}: the archive has no member {self.audio!r}"

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
    ids = unique([utterance.id for utterance in utterances])
    return [
        utterance if utterance.id == id else replace(utterance, id=id)
        for utterance, id in zip(utterances, ids, strict=True)
    ]


def unique(ids: Sequence[str]) -> list[str]:
    """The same ids, those that come again with a number behind them, so that no two are alike."""
    taken, found = set(ids), set[str]()
    again: dict[str, int] = {}
    result = []
    for id in ids:
        name = id
        while name in found or (name != id and name in taken):
            again[id] = again.get(id, 1) + 1
            name = f"{id}#{again[id]}"
        found.add(name)
        result.append(name)
    return result


def language_code(name: str) -> str:
    """The code of a language that is given as a code, with or without a region, or by its name.

    What is neither stays as it is, in lower case.
    """
    name = name.strip().lower()
    first = re.split(r"[-_ (]", name, maxsplit=1)[0]
    return _CODE_OF.get(name) or _CODE_OF.get(first) or (first if 2 <= len(first) <= 3 else name)


def is_language(code: str) -> bool:
    """Whether ``language_code`` knows, or has been given, the code of a language."""
    return code in _CODES or re.fullmatch("[a-z]{2,3}", code) is not None


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
        language = row.get("language") or row.get("lang") or ("zh" if not text or _has_han(text) else "en")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong("expected a JSON object with 'audio', 'text' and 'language'") from None
    if not isinstance(audio, str) or not isinstance(text, str):
        raise wrong("'audio' and 'text' must be strings")
    if not isinstance(language, str):
        raise wrong("'language' must be a string, such as zh or en")
    if not is_language(language_code(language)):
        raise wrong(f"{language!r} is no language that is known; write its code, such as zh or en")
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
        language=language_code(language),
        tar=str(path.parent / tar) if tar else None,
        speaker=str(names["speaker"]),
        duration=None if duration is None else float(duration),
        split=str(names["split"]),
    )


def _has_han(text: object) -> bool:
    return isinstance(text, str) and any(map(is_han, text))


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
