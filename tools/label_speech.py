"""Label speech without transcripts with another recognizer, Moonshine: what ``filter_labels.py`` reads.

    python tools/label_speech.py CLIPS -o LABELS.jsonl [--apart-from MANIFEST] [--model FOLDER]

``CLIPS`` is a folder; every WAV, FLAC, Ogg or MP3 in it of a length that people say sentences in gets a line,
with its ``id``, ``audio`` and ``text``. Goes on where it stopped. Clips that ``MANIFEST`` holds are left out,
and so are those numbered like one of its dev clips, or nearly so: who reads one sentence of Common Voice
reads the next, and nobody in the dev split may be heard in training. ``FOLDER`` has Moonshine's graphs;
without it, those of its package are taken:

    pip install -c constraints.txt moonshine-voice    # later versions do not bring the graphs

Moonshine (MIT) is English. It takes an eighth of the sound's length on a core.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.manifest import read_manifest
from nim4asr.errors import InputError
from nim4asr.files import append_line, mended_log
from nim4asr.processes import parallel_map

FORMATS = (".wav", ".flac", ".ogg", ".mp3")
SECONDS = (1.0, 12.0)
_FRESH_AFTER = 1000
_NEIGHBORS = 60


def main() -> int:
    """Label, some clips at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a folder with Moonshine tiny's graphs")
    parser.add_argument("--apart-from", type=Path, metavar="MANIFEST", help="a corpus of the same crowd")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    options = parser.parse_args()
    paths = sorted(path for path in options.clips.rglob("*") if path.suffix.lower() in FORMATS)
    if not paths:
        print(f"{options.clips}: no clip is here ({', '.join(FORMATS)})", file=sys.stderr)
        return 1
    if find_spec("moonshine_voice") is None:
        print("Moonshine is not installed: pip install -c constraints.txt moonshine-voice", file=sys.stderr)
        return 1
    try:
        done = {json.loads(line)["id"] for line in mended_log(options.output).splitlines()}
        known = [] if options.apart_from is None else list(read_manifest(options.apart_from))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    missing = [path for path in paths if path.stem not in done]
    missing = apart(missing, [u.id for u in known], [u.id for u in known if u.split == "dev"])
    label = _Teacher(options.model)
    # Its library keeps memory of every clip; fresh processes begin without.
    for start in range(0, len(missing), _FRESH_AFTER):
        some = missing[start : start + _FRESH_AFTER]
        for path, text in zip(some, parallel_map(label, some, options.workers, chunk=8), strict=True):
            if text is not None:
                row = {"id": path.stem, "audio": str(path.absolute()), "text": text}
                append_line(options.output, json.dumps(row, ensure_ascii=False) + "\n")
    return 0


def apart(clips: Sequence[Path], known: Sequence[str], dev: Sequence[str]) -> list[Path]:
    """``clips`` without the ``known``, and without those whose number is near to that of one of ``dev``."""
    taken = {number for name in dev if (number := _number(name)) is not None}
    names = set(known)

    def is_near(clip: Path) -> bool:
        number = _number(clip.stem)
        return number is not None and any(
            number + away in taken for away in range(-_NEIGHBORS, _NEIGHBORS + 1)
        )

    return [clip for clip in clips if clip.stem not in names and not is_near(clip)]


def _number(name: str) -> int | None:
    """The number that a clip's name ends in."""
    found = re.search(r"\d+$", name)
    return None if found is None else int(found.group())


@dataclass(frozen=True)
class _Teacher:
    """Moonshine tiny from a folder, or from its package."""

    folder: Path | None

    def __call__(self, clip: Path) -> str | None:
        """What it hears in ``clip``; None if that cannot be read, or has not the length of a sentence."""
        try:
            samples = read_audio(clip)
        except InputError as error:
            print(error, file=sys.stderr)
            return None
        if not SECONDS[0] <= len(samples) / SAMPLE_RATE <= SECONDS[1]:
            return None
        lines = _moonshine(self.folder).transcribe_without_streaming(samples.tolist(), SAMPLE_RATE).lines
        return " ".join(line.text.strip() for line in lines)


@cache
def _moonshine(folder: Path | None) -> Any:
    import moonshine_voice

    package = Path(moonshine_voice.__file__).parent
    return moonshine_voice.Transcriber(
        str(folder or package / "assets/tiny-en"), moonshine_voice.ModelArch.TINY
    )


if __name__ == "__main__":
    sys.exit(main())
