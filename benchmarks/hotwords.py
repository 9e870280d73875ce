"""How fast names are found in speech, and how many of those found were said.

    python benchmarks/hotwords.py NAMES MANIFEST [--sizes 1000 10000 ...] [--limit N] [--model DIR]
        [--output DIR]

NAMES is a list of names, of which those in Chinese characters count; MANIFEST the utterances, of which the
dev ones are heard by the model's phoneme head. A list of each size holds every listed name that is said in
them, and others; one of more names than there are is filled up with made-up ones. For each size: the build,
the file, opening it, and what ``nim4asr.evaluation.retrieval`` tells, on all names and on those of three
characters and more. Beside it, in the same run: an Aho-Corasick automaton (pyahocorasick) over the best
path's phonemes; a scan of all keys with rapidfuzz; and the list pasted into the prompt, as other recognizers
have it. Noise says how many hints nobody gave cause for. Writes JSON, with machine and date, and a plot.
"""

import argparse
import json
import random
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from runtimes import spread
from streaming import processor

from nim4asr.audio.reading import read_audio
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.data.manifest import read_manifest
from nim4asr.data.preparation import read_texts
from nim4asr.errors import InputError
from nim4asr.evaluation.entities import NameList
from nim4asr.evaluation.retrieval import Spoken, retrieval
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.hints import HintConfig, choose
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, pronounce_all
from nim4asr.hotwords.storage import load, save
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.prompt import tokens_before
from nim4asr.phonemes import TABLE
from nim4asr.phonemes.ctc import greedy_path
from nim4asr.recognition.offline import Recognizer
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import tokens

LEAST_CHARACTERS = 3
# A scan of more keys than these takes minutes an utterance.
SCANNED = 1_000_000
PASTED = (10, 100, 1000)


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    texts = [
        text for text in dict.fromkeys(read_texts(options.names)) if len(text) > 1 and all(map(is_han, text))
    ]
    recognizer = Recognizer.load(options.model)
    dev = [utterance for utterance in read_manifest(options.manifest) if utterance.split == "dev"]
    utterances = spread(dev, options.limit)
    tell("listening")
    spoken = [
        Spoken(utterance.text, posteriors(recognizer, read_audio(utterance.source())))
        for utterance in utterances
    ]
    noise = [posteriors(recognizer, sound) for sound in noises(options.noise)] if options.noise else []
    every = NameList(texts)
    said = sorted(set().union(*(every.said(tokens(utterance.text)) for utterance in spoken)))
    others = sorted(set(texts) - set(said))
    random.Random(0).shuffle(others)
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": processor(),
        "model": recognizer.model.config.name,
        "utterances": len(spoken),
        "names_said": len(said),
        "sizes": [],
        "prompt": pasted(recognizer, texts),
    }
    for size in options.sizes:
        tell(f"{size} names")
        evidence = recognizer.model.config.evidence
        row["sizes"].append(at_size(size, said, others, spoken, noise, evidence, options.output))
        print(json.dumps(row["sizes"][-1]), flush=True)
    (options.output / "hotwords.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    plot(row, options.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--noise", type=Path, help="a tar of sounds without speech")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=int, default=200, help="utterances (default: 200)")
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def tell(phase: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {phase}", file=sys.stderr, flush=True)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def posteriors(recognizer: Recognizer, samples: Any) -> Any:
    return recognizer.log_posteriors(SpeechSegment(0.0, samples))


def noises(path: Path, most: int = 200) -> Iterator[Any]:
    """Sounds without speech, five seconds of each."""
    with tarfile.open(path) as tar:
        members = (member for member in tar if member.isfile() and "babble" not in member.name)
        for member in islice(members, most):
            file = tar.extractfile(member)
            assert file is not None
            try:
                yield read_audio(BytesIO(file.read()).getvalue())[: 5 * 16_000]
            except InputError:
                continue


def at_size(
    size: int,
    said: Sequence[str],
    others: Sequence[str],
    spoken: Sequence[Spoken],
    noise: Sequence[Any],
    evidence: EvidenceConfig,
    folder: Path,
) -> dict[str, Any]:
    path = folder / "hotwords.db"
    texts = [*said, *others[: max(0, size - len(said))]]
    pronounced, pronouncing = timed(
        lambda: [pronounced for _, _, pronounced, _ in pronounce_all(("", 0, Name(text)) for text in texts)]
    )
    made_up = size - len(texts) if size > 1.1 * len(texts) else 0
    pronounced += islice(invented(pronounced, random.Random(1)), made_up)
    _, rest = timed(lambda: save(assemble(pronounced), path))
    pronounced.clear()
    database, opening = timed(lambda: load(path))
    index = HotwordIndex([database], evidence=evidence)
    names = NameList(texts)
    found = retrieval(index, spoken, names)
    figures: dict[str, Any] = {
        "names": len(database),
        "made_up": made_up,
        "pronunciations": len(database.owner),
        "build_seconds": {"pronouncing": round(pronouncing, 1), "the_rest": round(rest, 1)},
        "bytes_a_name": round(path.stat().st_size / len(database), 1),
        "open_milliseconds": round(1000 * opening, 2),
        **found,
        "three_characters_and_more": longer(index, spoken, texts),
        "hints_a_thousand_noises": round(1000 * sum(map(hinted, map(index.search, noise))) / len(noise), 2)
        if noise
        else None,
        "peers_milliseconds": peers(database, [utterance.log_probs for utterance in spoken])
        if not made_up
        else None,
    }
    path.unlink()
    return figures


def hinted(hits: Sequence[Any]) -> int:
    return len(choose(hits, HintConfig()))


def invented(known: Sequence[Pronounced], dice: random.Random) -> Iterator[Pronounced]:
    """Names of two known ones' halves, with the halves' sounds."""
    short = [entry for entry in known if entry.pronunciations and 2 <= len(entry.name.text) <= 3]
    seen = {entry.name.text for entry in known}
    while True:
        first, second = dice.choice(short), dice.choice(short)
        text = first.name.text + second.name.text
        if text not in seen:
            seen.add(text)
            yield Pronounced(Name(text), (first.pronunciations[0] + second.pronunciations[0],))


def longer(index: HotwordIndex, spoken: Sequence[Spoken], texts: Sequence[str]) -> dict[str, Any]:
    """The same, of names of three characters and more."""
    short = HotwordIndex(index.databases, index.config, index.evidence)
    listed = NameList(text for text in texts if len(text) >= LEAST_CHARACTERS)
    short.remove(text for text in texts if len(text) < LEAST_CHARACTERS)
    kept = (
        "names_said",
        "near_paths",
        "best_path",
        "best_path_all",
        "perfect_phonemes",
        "perfect_phonemes_found",
    )
    found = retrieval(short, spoken, listed)
    return {name: found[name] for name in kept}


def peers(database: Database, heard: Sequence[Any]) -> dict[str, Any]:
    """Aho-Corasick and rapidfuzz over the best path, an utterance."""
    import ahocorasick
    from rapidfuzz import fuzz, process

    keys = {
        "".join(chr(TABLE.toneless[p]) for p in database.phonemes(number))
        for number in range(len(database.owner))
    }
    automaton = ahocorasick.Automaton()
    for key in keys:
        automaton.add_word(key, key)
    automaton.make_automaton()
    paths = [
        "".join(chr(TABLE.toneless[p]) for p in greedy_path(log_probs.argmax(axis=1).tolist()))
        for log_probs in heard
    ]
    scanned = sorted(keys)
    return {
        "pyahocorasick_best_path": milliseconds(lambda path: list(automaton.iter(path)), paths),
        "rapidfuzz_scan": milliseconds(
            lambda path: process.extract(path, scanned, scorer=fuzz.partial_ratio, score_cutoff=80, limit=20),
            paths[:3],
        )
        if len(database) <= SCANNED
        else None,
    }


def milliseconds(call: Callable[[Any], object], items: Sequence[Any]) -> dict[str, float]:
    call(items[0])
    taken = [1000 * timed(lambda item=item: call(item))[1] for item in items]
    return {f"p{q}": round(float(np.percentile(taken, q)), 3) for q in (50, 99)}


def pasted(recognizer: Recognizer, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Reading a prompt into which the first names of a list are pasted."""
    model = recognizer.model
    cache = model.network.open_cache()
    rows = []
    for count in (0, *PASTED):
        before = tokens_before(model.tokenizer, model.config.prompt)
        ids = [*before, *model.tokenizer.encode(",".join(texts[:count]))]
        # Longer prompts than the model was made for cost what they cost all the same.
        inputs = model.network.embed(ids)

        def read(inputs: Any = inputs) -> None:
            slot = cache.allocate()
            cache.append([slot], [inputs])
            cache.free(slot)

        read()
        milliseconds = round(1000 * float(np.median([timed(read)[1] for _ in range(5)])), 1)
        rows.append({"names": count, "tokens": len(ids), "read_milliseconds": milliseconds})
    return rows


def plot(row: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    sizes = row["sizes"]
    names = [size["names"] for size in sizes]
    for quantile in ("p50", "p99"):
        left.loglog(
            names,
            [size["search_milliseconds"][quantile] for size in sizes],
            "o-",
            label=f"near paths, {quantile}",
        )
    for peer, label in (
        ("pyahocorasick_best_path", "best path alone, pyahocorasick"),
        ("rapidfuzz_scan", "rapidfuzz scan"),
    ):
        points = [
            (size["names"], size["peers_milliseconds"][peer]["p50"])
            for size in sizes
            if size["peers_milliseconds"] and size["peers_milliseconds"][peer]
        ]
        left.loglog(*zip(*points, strict=True), "s--", label=f"{label}, p50")
    points = [(one["names"], one["read_milliseconds"]) for one in row["prompt"] if one["names"]]
    left.loglog(*zip(*points, strict=True), "^:", label="reading the list in the prompt")
    left.set(xlabel="names", ylabel="milliseconds an utterance", title="Time")
    left.legend(fontsize=7)
    for size in sizes:
        part = size["three_characters_and_more"]
        curve = [point for point in part["near_paths"] if point["hints"]]
        (line,) = right.plot(
            [point["recall"] for point in curve],
            [point["precision"] for point in curve],
            "o-",
            label=f"{size['names']:,} names",
        )
        alone = part["best_path_all"]
        right.plot([alone["recall"]], [alone["precision"]], "x", color=line.get_color())
    right.set(
        xlabel="recall of names said",
        ylabel="precision of hints",
        title="Names of 3 characters and more; x: best path alone",
        ylim=(0, 1.02),
    )
    right.legend(fontsize=7)
    figure.suptitle(f"{row['model']}, {row['machine']}, {row['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "hotwords.png", dpi=110)


if __name__ == "__main__":
    main()
