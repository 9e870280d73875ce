"""Lhotse's cuts and shar, in and out.

Lhotse (https://github.com/lhotse-speech/lhotse) has recipes for the public corpora: ``lhotse prepare aishell ...``
or ``lhotse prepare librispeech ...``, then cuts. ``convert`` makes a manifest of them, or them of a manifest. A cut
that is a whole file keeps its file; one that is a part of a recording, or lies in shar, is written as FLAC into an
archive beside the manifest.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.audio.reading import from_array, read_audio
from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.errors import InputError

Kind = Literal["manifest", "cuts", "shar"]
Progress = Callable[[Iterable[Any]], Iterator[Any]]
_LANGUAGES = {"chinese": "zh", "mandarin": "zh", "cmn": "zh", "english": "en"}
# Two of a cut's edges are the same if they are no further apart, in seconds.
_SAME = 0.01


@dataclass(frozen=True)
class Converted:
    """How many utterances were written, and what was left out: id and reason."""

    written: int
    left_out: dict[str, str]


def convert(source: Path, target: Path, progress: Progress = iter) -> Converted:
    """Write the corpus ``source`` as ``target``, each a manifest (``.jsonl``), cuts (``.jsonl.gz``) or shar (a folder).

    Raises ``InputError`` if ``source`` cannot be read, ``target`` exists, or Lhotse is not installed.
    """
    kind = _kind_of_target(target)
    if target.exists():
        raise InputError(f"{target}: exists already; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    items = _read(source)
    if kind == "manifest":
        return _write_manifest(progress(items), target)
    left_out: dict[str, str] = {}
    cuts = _cuts(progress(items), left_out, None if kind == "shar" else target)
    if kind == "shar":
        target.mkdir()
        _lhotse().CutSet(cuts).to_shar(target, {"recording": "flac"}, shard_size=1000)
        written = sum(1 for _ in _lhotse().CutSet.from_shar(in_dir=target))
    else:
        written = 0
        with _lhotse().CutSet.open_writer(target) as writer:
            for cut in cuts:
                writer.write(cut)
                written += 1
    return Converted(written, left_out)


def _kind_of_target(path: Path) -> Kind:
    if path.name.endswith(".jsonl"):
        return "manifest"
    return "cuts" if path.name.endswith(".jsonl.gz") else "shar"


def _lhotse() -> Any:
    try:
        import lhotse
    except ImportError as error:
        raise InputError(f"cuts and shar need Lhotse: pip install 'nim4asr[lhotse]' ({error})") from None
    return lhotse


def _read(source: Path) -> Iterable[Any]:
    """Utterances of a manifest, or cuts."""
    if source.is_dir():
        if not any(source.glob("cuts.*.jsonl*")):
            raise InputError(f"{source}: this is no shar folder; it holds no cuts.*.jsonl.gz")
        return _lhotse().CutSet.from_shar(in_dir=source)  # type: ignore[no-any-return]
    if source.name.endswith(".jsonl.gz"):
        if not source.exists():
            raise InputError(f"{source}: there is no such file")
        try:
            return _lhotse().CutSet.from_file(source)  # type: ignore[no-any-return]
        except Exception as error:  # Lhotse raises whatever its parser does.
            raise InputError(f"{source}: these are no cuts of Lhotse ({error})") from None
    return read_manifest(source)


def _write_manifest(items: Iterable[Any], target: Path) -> Converted:
    left_out: dict[str, str] = {}
    archive = target.with_suffix(".tar")
    written, packed = 0, 0
    new, new_archive = target.with_name(target.name + ".new"), archive.with_name(archive.name + ".new")
    with new.open("w", encoding="utf-8") as file, tarfile.open(new_archive, "w") as tar:
        for item in items:
            try:
                row = _row_of_utterance(item) if isinstance(item, Utterance) else _row_of_cut(item)
                if row["audio"] is None:
                    member = f"{row['id']}.flac"
                    _pack(tar, member, from_array(item.load_audio().T, item.sampling_rate))
                    row |= {"audio": member, "tar": archive.name}
                    packed += 1
            except (InputError, ValueError, OSError) as error:
                left_out[str(item.id)] = str(error)
                continue
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    if packed:
        new_archive.replace(archive)
    else:
        new_archive.unlink()
    new.replace(target)
    return Converted(written, left_out)


def _row_of_utterance(one: Utterance) -> dict[str, Any]:
    tar = {} if one.tar is None else {"tar": str(Path(one.tar).absolute())}
    audio = one.audio if one.tar else str(Path(one.audio).absolute())
    optional = {"speaker": one.speaker, "duration": one.duration, "split": one.split}
    row = {"id": one.id, "audio": audio, **tar, "text": one.text, "language": one.language}
    return {**row, **{key: value for key, value in optional.items() if value}}


def _row_of_cut(cut: Any) -> dict[str, Any]:
    """A line of a manifest; ``audio`` is None where the cut's samples must be written out."""
    texts = [one for one in cut.supervisions if one.text is not None]
    if not texts:
        raise InputError("the cut has no text")
    first = texts[0]
    language = (first.language or "zh").lower()
    row = {
        "id": str(cut.id),
        "audio": _file_of(cut),
        "text": " ".join(one.text for one in texts),
        "language": _LANGUAGES.get(language, language[:2]),
        "duration": round(float(cut.duration), 3),
        "speaker": first.speaker or "",
        "split": (cut.custom or {}).get("split", ""),
    }
    return {key: value for key, value in row.items() if value != ""} | {"text": row["text"]}


def _file_of(cut: Any) -> str | None:
    """The file that the cut is the whole of."""
    recording = getattr(cut, "recording", None)
    if recording is None or len(recording.sources) != 1 or recording.sources[0].type != "file":
        return None
    whole = abs(cut.start) < _SAME and abs(cut.duration - recording.duration) < _SAME
    return str(Path(recording.sources[0].source).absolute()) if whole and not recording.transforms else None


def _pack(tar: tarfile.TarFile, name: str, samples: Floats) -> None:
    data = _flac(samples)
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _flac(samples: Floats) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), SAMPLE_RATE, format="FLAC")
    return buffer.getvalue()


def _cuts(items: Iterable[Any], left_out: dict[str, str], beside: Path | None) -> Iterator[Any]:
    """Cuts of ``items``. What lies in an archive goes into memory, or with ``beside`` into files next to it."""
    lhotse = _lhotse()
    for item in items:
        if not isinstance(item, Utterance):
            yield item
            continue
        try:
            recording = _recording(lhotse, item, beside)
        except (InputError, OSError, lhotse.audio.utils.AudioLoadingError) as error:
            left_out[item.id] = str(error)
            continue
        cut = recording.to_cut()
        cut.id = item.id
        cut.supervisions = [
            lhotse.SupervisionSegment(
                id=item.id,
                recording_id=recording.id,
                start=0.0,
                duration=recording.duration,
                text=item.text,
                language=item.language,
                speaker=item.speaker or None,
            )
        ]
        if item.split:
            cut.custom = {"split": item.split}
        yield cut


def _recording(lhotse: Any, one: Utterance, beside: Path | None) -> Any:
    if one.tar is None:
        return lhotse.Recording.from_file(Path(one.audio).absolute(), recording_id=one.id)
    flac = _flac(read_audio(one.source()))
    if beside is None:
        return lhotse.Recording.from_bytes(flac, recording_id=one.id)
    folder = beside.absolute().with_name(beside.name.removesuffix(".jsonl.gz") + "-audio")
    folder.mkdir(exist_ok=True)
    path = folder / f"{one.id.replace('/', '_')}.flac"
    path.write_bytes(flac)
    return lhotse.Recording.from_file(path, recording_id=one.id)
