"""Write the manifests of the cases in docs/finetuning.md: python benchmarks/finetuning.py CORPORA -o FOLDER

``digits.jsonl``: the speaker who is set aside in nano's training, every second of his recordings to be tuned
on, the others to be judged by. ``accent.jsonl``: the dev speakers of speechocean762, every second one to be
tuned on, the others to be judged by; no sentence is read by two of them.
"""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.files import write_json_lines


def main() -> None:
    options = arguments()
    digits = sorted(
        (one for one in read_manifest(options.corpora / "fsdd.jsonl") if one.speaker == "lucas"),
        key=lambda one: one.id,
    )
    trained = {one.id for one in digits[::2]}
    write(options.output / "digits.jsonl", digits, trained)

    accent = [one for one in read_manifest(options.corpora / "speechocean762.jsonl") if one.split == "dev"]
    speakers = set(sorted({one.speaker for one in accent})[::2])
    trained = {one.id for one in accent if one.speaker in speakers}
    write(options.output / "accent.jsonl", accent, trained)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", type=Path, help="folder of manifests (docs/training.md)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    # Paths in a manifest are relative to it, and these are of another folder.
    options.corpora = options.corpora.absolute()
    return options


def write(path: Path, utterances: Iterable[Utterance], trained: set[str]) -> None:
    rows = (asdict(one) | {"split": "train" if one.id in trained else "dev"} for one in utterances)
    write_json_lines(path, rows)
    print(path)


if __name__ == "__main__":
    main()
