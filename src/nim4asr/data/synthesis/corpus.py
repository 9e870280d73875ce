"""Corpora of synthetic speech: a manifest and its clips, made one after another and resumed where it stopped.

What a text sounds like depends on the seed and its number, and on nothing else: a corpus that was stopped and
resumed is the one that was not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.manifest import read_manifest
from nim4asr.errors import InputError
from nim4asr.files import append_line, atomic_file, mended_log, write_json_lines
from nim4asr.progress import ProgressReporter, no_progress


class Speakers(Protocol):
    """Whoever says texts."""

    def say(self, text: str, language: str, random: Random) -> tuple[str, Floats]:
        """``text`` by a voice that ``random`` draws: its name and samples (N,), 16 kHz. Raises ``InputError``
        if it cannot be said.
        """
        ...


@dataclass(frozen=True)
class SyntheticClips:
    """What a corpus holds now."""

    utterances: int
    seconds: float
    left_out: int
    """Texts that could not be said."""


def draw_texts(texts: Sequence[str], count: int | None, seed: int) -> list[str]:
    """The first ``count`` (None: all) of ``texts``, each once, in an order that ``seed`` fixes: with a larger
    count, the same and more.
    """
    drawn = sorted(set(texts))
    Random(seed).shuffle(drawn)
    return drawn[:count]


def synthesize_corpus(
    texts: Sequence[str],
    language: str,
    speakers: Speakers,
    manifest: Path,
    seed: int = 0,
    licence: str = "",
    progress: ProgressReporter = no_progress,
) -> SyntheticClips:
    """Say ``texts`` and write ``manifest``, with the clips (Opus) in a folder of its name beside it.

    Texts that the manifest holds already are not said again; those that cannot be said are noted in
    ``NAME-left-out.jsonl`` and tried again the next time. Raises ``InputError`` if the manifest is of other
    texts or another seed, or nothing can be written.
    """
    clips = manifest.with_suffix("")
    ids = [f"{clips.name}-{seed}-{number:06d}" for number in range(len(texts))]
    done = _done(manifest, dict(zip(ids, texts, strict=True)))
    missing = [number for number, name in enumerate(ids) if name not in done]
    clips.mkdir(parents=True, exist_ok=True)
    left_out = []
    for number in progress(missing, f"saying {clips.name}", len(ids), len(done)):
        name, text, clip = ids[number], texts[number], clips / f"{number:06d}.ogg"
        try:
            voice, samples = speakers.say(text, language, Random(f"{seed}/{number}"))
        except InputError as error:
            left_out.append({"id": name, "text": text, "reason": str(error)})
            continue
        _write_clip(clip, samples)
        done[name] = round(len(samples) / SAMPLE_RATE, 3)
        row = {
            "id": name,
            "audio": f"{clips.name}/{clip.name}",
            "text": text,
            "language": language,
            "speaker": voice,
            "duration": done[name],
            "split": "train",
            "licence": licence,
        }
        # Last: a clip without its line is made again, a line without its clip would be missed.
        append_line(manifest, json.dumps(row, ensure_ascii=False) + "\n")
    write_json_lines(clips.with_name(f"{clips.name}-left-out.jsonl"), left_out)
    return SyntheticClips(len(done), sum(done.values()), len(left_out))


def _done(manifest: Path, texts: dict[str, str]) -> dict[str, float]:
    """The seconds of what the manifest holds, by id, after a line that a crash tore is taken away."""
    if not mended_log(manifest, "manifest"):
        return {}
    done = {}
    for utterance in read_manifest(manifest):
        if texts.get(utterance.id) != utterance.text:
            raise InputError(
                f"{manifest}: it holds {utterance.id!r}, which these texts and this seed do not make; "
                "give the same as before, or another name"
            )
        done[utterance.id] = utterance.duration or 0.0
    return done


def _write_clip(path: Path, samples: Floats) -> None:
    import soundfile

    with atomic_file(path) as file:
        soundfile.write(file, np.asarray(samples), SAMPLE_RATE, format="OGG", subtype="OPUS")
