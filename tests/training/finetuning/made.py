"""A toy's recordings: four clips, each a few times at other levels."""

import json
from pathlib import Path

import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE

# Texts that the toy's tokenizer has; what the clips say does not matter to it.
SAID = {
    "en-1": ("how are you today", "en"),
    "en-2": ("the weather is fine", "en"),
    "zh-1": ("今天天气很好", "zh"),
    "zh-2": ("我想去北京", "zh"),
}
# So many that one of them is near a tenth, and so few that no process is started to read their clips.
SPEAKERS = 8


def write_manifest(folder: Path, name: str = "mine.jsonl", copies: int = SPEAKERS, first: int = 0) -> Path:
    """A manifest of four clips by each of so many speakers, numbered from ``first``, and the clips."""
    rows = []
    for clip, (text, language) in SAID.items():
        samples = read_audio(CLIP_FOLDER / f"{clip}.flac")
        for copy in range(first, first + copies):
            path = folder / f"{clip}-{copy}.flac"
            if not path.exists():
                soundfile.write(path, samples * (0.4 + 0.06 * copy), SAMPLE_RATE)
            rows.append({"audio": path.name, "text": text, "language": language, "speaker": f"s{copy}"})
    manifest = folder / name
    manifest.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return manifest
