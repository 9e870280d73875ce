"""Whether recognition still says what it said: record what it makes of a manifest, later compare two records.

    python tools/compare_recognition.py record before.jsonl MANIFEST.jsonl... --split dev
    ... change the code ...
    python tools/compare_recognition.py record after.jsonl MANIFEST.jsonl... --split dev
    python tools/compare_recognition.py compare before.jsonl after.jsonl

Recorded in every mode: recordings searched greedily, with eight beams, and with hints and hotwords (a name
from each reference); live speech in both modes, every event. Texts, phonemes, hints, hits and the order of
events must be equal, numbers (log probabilities, times) equal within a tolerance. Exits with 1 where they are
not.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nim4asr.data.manifest import Utterance, select

MODES = ("greedy", "beams", "hints", "live", "live-final")
TOLERANCE = 2e-3


def name_in(text: str) -> str:
    """A name that the text holds: its longest English word, or three characters from its middle."""
    words: list[str] = re.findall(r"[A-Za-z]{4,}", text)
    if words:
        return max(words, key=len)
    characters: list[str] = re.findall(r"[\u4e00-\u9fff]", text)
    middle = max(0, len(characters) // 2 - 1)
    return "".join(characters[middle : middle + 3])


def record(
    manifests: Sequence[Path], split: str | None, limit: int | None, mode: str, runtime: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A row for each utterance: its id, the mode and all that was said of it."""
    from nim4asr.audio.reading import read_audio
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.hotwords.names import Name
    from nim4asr.model.decoding import DecodingConfig
    from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
    from nim4asr.recognition.offline import Recognizer

    utterances = [utterance for path in manifests for utterance in select(path, split, limit)]
    decoding = DecodingConfig(beam_size=8) if mode == "beams" else DecodingConfig()
    recognizer = Recognizer.load(config=RecognitionConfig(decoding=decoding), **runtime)
    hotwords = HotwordIndex()
    names = dict.fromkeys(name for utterance in utterances if len(name := name_in(utterance.text)) > 2)
    hotwords.add(Name(name) for name in names)

    def said(utterance: Utterance) -> Any:
        if mode.startswith("live"):
            stream = recognizer.stream(StreamingConfig("refresh" if mode == "live" else "final"))
            return [*stream.feed(read_audio(utterance.source())), *stream.finish()]
        if mode != "hints":
            return recognizer.transcribe(utterance.source()).segments
        return recognizer.transcribe(
            utterance.source(), hotwords=hotwords, hints=[name_in(utterance.text)]
        ).segments

    return [{"id": utterance.id, "mode": mode, "said": plain(said(utterance))} for utterance in utterances]


def plain(value: Any) -> Any:
    """The value as JSON has it, with the types of dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        row = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **row}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Exception):
        return str(value)
    return value


def differences(before: Any, after: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    """Where two values differ; what only the new one has does not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from differences(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from differences(one, other, path)
    elif isinstance(before, float) and isinstance(after, float | int):
        if not math.isclose(before, after, abs_tol=TOLERANCE):
            yield path, before, after
    elif before != after:
        yield path, before, after


def compare(before: Path, after: Path, shown: int) -> int:
    """Print what differs; returns the number of utterances that do."""
    old, new = rows(before), rows(after)
    common = [key for key in old if key in new]
    changed = {key: found for key in common if (found := list(differences(old[key], new[key])))}
    for key in list(changed)[:shown]:
        for path, one, other in changed[key][:3]:
            print(f"{key[0]} {key[1]}{path}\n  {one!r}\n  {other!r}")
    for mode in dict.fromkeys(mode for mode, _ in common):
        count = sum(key[0] == mode for key in common)
        different = sum(key[0] == mode for key in changed)
        texts = sum(any("text" in path for path, *_ in changed[key]) for key in changed if key[0] == mode)
        print(f"{mode}: {count} utterances, {different} differ, {texts} of them in a text")
    return len(changed)


def rows(path: Path) -> dict[tuple[str, str], Any]:
    """The rows of a record by mode and id."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {(row["mode"], row["id"]): row["said"] for row in lines}


def main() -> int:
    """Run either command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("output", type=Path)
    recording.add_argument("manifests", type=Path, nargs="+")
    recording.add_argument("--split")
    recording.add_argument("--limit", type=int, help="only the first so many utterances of each manifest")
    recording.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    recording.add_argument(
        "--runtime", choices=("torch", "onnx"), help="which network (default: the model's)"
    )
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--show", type=int, default=5)
    options = parser.parse_args()
    if options.command == "compare":
        return 1 if compare(options.before, options.after, options.show) else 0
    runtime = {} if options.runtime is None else {"runtime": options.runtime}
    one: Callable[[str], list[dict[str, Any]]] = partial(
        record, options.manifests, options.split, options.limit, runtime=runtime
    )
    with (
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
        options.output.open("w", encoding="utf-8") as file,
    ):
        for found in pool.map(one, options.modes):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
