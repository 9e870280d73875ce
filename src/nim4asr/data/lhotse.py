"""Lhotse's cuts and shar, in and out.

Lhotse (https://github.com/lhotse-speech/lhotse) has recipes for the public corpora: ``lhotse prepare aishell
...`` or ``lhotse prepare librispeech ...``, then cuts. ``convert`` makes a manifest of them, or them of a
manifest. A cut that is a whole file keeps its file; one that is a part of a recording, or lies in shar, is
written as FLAC into an archive beside the manifest.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from nim4asr.audio.reading import from_array
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.manifest import Utterance, is_language, language_code, read_manifest
from nim4asr.errors import InputError
from nim4asr.files import (
    atomic_file,
    atomic_folder,
    is_unicode,
    publish_file,
    publish_folder,
    reason,
    writing,
)
from nim4asr.progress import ProgressReporter, no_progress

Kind = Literal["manifest", "cuts", "shar"]
# Two of a cut's edges are the same if they are no further apart, in seconds.
_SAME = 0.01


@dataclass(frozen=True)
class Converted:
    """How many utterances were written, and what was left out: id and reason."""

    written: int
    left_out: dict[str, str]


def convert(
    source: Path, target: Path, progress: ProgressReporter = no_progress, allow_commands: bool = False
) -> Converted:
    """Write the corpus ``source`` as ``target``, each a manifest (``.jsonl``), cuts (``.jsonl.gz``) or shar
    (a folder).

    Lhotse's cuts may name a shell command or an address as the source of their sound, and reading them runs
    it: only with ``allow_commands`` are such taken. Raises ``InputError`` if ``source`` cannot be read or
    holds such, if ``target`` exists, or if Lhotse is not installed; then nothing is left of ``target``.
    """
    kind = _kind_of_target(target)
    if target.exists():
        raise InputError(f"{target}: exists already; choose another name")
    items = _read(source, allow_commands)
    if kind == "manifest":
        return _write_manifest(progress(items, "converting"), target)
    left_out: dict[str, str] = {}
    if kind == "shar":
        with atomic_folder(target) as new:
            cuts = _cuts(progress(items, "converting"), left_out, None)
            _lhotse().CutSet(cuts).to_shar(new, {"recording": "flac"}, shard_size=1000)
            written = sum(1 for _ in _lhotse().CutSet.from_shar(in_dir=new))
        return Converted(written, left_out)
    return Converted(_write_cuts(progress(items, "converting"), left_out, target), left_out)


def _write_cuts(items: Iterable[Any], left_out: dict[str, str], target: Path) -> int:
    """Cuts in one file, and beside it a folder of what lay in archives, if anything did; how many were
    written.
    """
    audio = target.absolute().with_name(target.name.removesuffix(".jsonl.gz") + "-audio")
    written = 0
    with writing(target), TemporaryDirectory(dir=_made(target.absolute().parent), prefix=".") as folder:
        new = Path(folder)
        beside = _Beside(new / "audio", audio)
        # Lhotse knows the kind of a file by its name.
        with _lhotse().CutSet.open_writer(new / "cuts.jsonl.gz") as writer:
            for cut in _cuts(items, left_out, beside):
                writer.write(cut)
                written += 1
        if beside.written.exists():
            publish_folder(beside.written, audio)
        publish_file(new / "cuts.jsonl.gz", target)
    return written


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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


def _read(source: Path, allow_commands: bool) -> Iterable[Any]:
    """Utterances of a manifest, or cuts."""
    if source.is_dir():
        if not any(source.glob("cuts.*.jsonl*")):
            raise InputError(f"{source}: this is no shar folder; it holds no cuts.*.jsonl.gz")
        return _read_cuts(source, allow_commands)
    if source.name.endswith(".jsonl.gz"):
        if not source.exists():
            raise InputError(f"{source}: there is no such file")
        return _read_cuts(source, allow_commands)
    return read_manifest(source)


def _read_cuts(source: Path, allow_commands: bool) -> Iterator[Any]:
    lhotse = _lhotse()
    try:
        shar = source.is_dir()
        cuts = lhotse.CutSet.from_shar(in_dir=source) if shar else lhotse.CutSet.from_file(source)
        for cut in cuts:
            if not allow_commands:
                _refuse_commands(cut, source)
            yield cut
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # Lhotse raises whatever its parsers do, at the first cut or in the middle.
        raise InputError(f"{source}: these are no cuts of Lhotse, or damaged ({reason(error)})") from None


def _refuse_commands(cut: Any, source: Path) -> None:
    tracks = [track.cut for track in getattr(cut, "tracks", ())] or [cut]
    for part in tracks:
        recordings = [getattr(part, "recording", None), *(getattr(part, "custom", None) or {}).values()]
        for audio in (audio for held in recordings for audio in getattr(held, "sources", ()) or ()):
            if audio.type in ("command", "url"):
                raise InputError(
                    f"{source}: the sound of the cut {cut.id!r} comes from a {audio.type} "
                    f"({audio.source!r}), which reading it would run; "
                    "if you trust this file, use --allow-commands"
                )


def _write_manifest(items: Iterable[Any], target: Path) -> Converted:
    left_out: dict[str, str] = {}
    archive = target.with_suffix(".tar")
    written = 0
    names = _FileNames()
    tar: tarfile.TarFile | None = None
    with atomic_file(target, "w") as file, ExitStack() as opened:
        for item in items:
            try:
                row = _row_of_utterance(item) if isinstance(item, Utterance) else _row_of_cut(item)
                samples = None
                if row["audio"] is None:
                    samples = from_array(item.load_audio().T, item.sampling_rate)
                if not all(is_unicode(value) for value in row.values() if isinstance(value, str)):
                    raise InputError("it holds code points that are no characters")
            except Exception as error:  # Lhotse raises whatever its readers do.
                left_out[str(item.id)] = reason(error)
                continue
            if samples is not None:
                if tar is None:
                    # Only where there is something to pack; whole before the manifest that names it.
                    whole = opened.enter_context(atomic_file(archive))
                    tar = opened.enter_context(tarfile.open(fileobj=whole, mode="w"))
                member = names.of(str(row["id"]))
                _pack(tar, member, samples)
                row |= {"audio": member, "tar": archive.name}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return Converted(written, left_out)


class _FileNames:
    """A file name for every id: its own where it can be one, and no two alike, for ids may come twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def of(self, id: str) -> str:
        """A name ending in ``.flac`` that no other id has got."""
        stem = re.sub(r"[^\w.+-]", "_", id).lstrip(".")[:100] or "utterance"
        name, number = stem, 1
        while name.casefold() in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        return f"{name}.flac"


class _Beside:
    """The folder of sound beside cuts: where it is ``written``, and its ``place`` later."""

    def __init__(self, written: Path, place: Path) -> None:
        self.written, self.place = written, place
        self.names = _FileNames()


def _row_of_utterance(utterance: Utterance) -> dict[str, Any]:
    tar = {} if utterance.tar is None else {"tar": str(Path(utterance.tar).absolute())}
    audio = utterance.audio if utterance.tar else str(Path(utterance.audio).absolute())
    optional = {"speaker": utterance.speaker, "duration": utterance.duration, "split": utterance.split}
    row = {"id": utterance.id, "audio": audio, **tar, "text": utterance.text, "language": utterance.language}
    return {**row, **{key: value for key, value in optional.items() if value}}


def _row_of_cut(cut: Any) -> dict[str, Any]:
    """A line of a manifest; ``audio`` is None where the cut's samples must be written out."""
    texts = [supervision for supervision in cut.supervisions if supervision.text is not None]
    if not texts:
        raise InputError("the cut has no text")
    first = texts[0]
    if first.language and not is_language(language_code(first.language)):
        raise InputError(f"{first.language!r} is no language that is known")
    row = {
        "id": str(cut.id),
        "audio": _file_of(cut),
        "text": " ".join(supervision.text for supervision in texts),
        "language": language_code(first.language) if first.language else "",
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


def _cuts(items: Iterable[Any], left_out: dict[str, str], beside: _Beside | None) -> Iterator[Any]:
    """Cuts of ``items``. What lies in an archive goes into memory, or with ``beside`` into files next to
    it.
    """
    lhotse = _lhotse()
    for item in items:
        if not isinstance(item, Utterance):
            yield item
            continue
        try:
            recording = _recording(lhotse, item, beside)
        except Exception as error:  # Lhotse raises whatever its readers do.
            left_out[item.id] = reason(error)
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


def _recording(lhotse: Any, utterance: Utterance, beside: _Beside | None) -> Any:
    if utterance.tar is None:
        return lhotse.Recording.from_file(Path(utterance.audio).absolute(), recording_id=utterance.id)
    flac = _flac(utterance.samples())
    if beside is None:
        return lhotse.Recording.from_bytes(flac, recording_id=utterance.id)
    beside.written.mkdir(exist_ok=True)
    name = beside.names.of(utterance.id)
    (beside.written / name).write_bytes(flac)
    recording = lhotse.Recording.from_file(beside.written / name, recording_id=utterance.id)
    recording.sources[0].source = str(beside.place / name)
    return recording
