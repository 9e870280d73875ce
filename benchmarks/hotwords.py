"""How fast names are found in speech, and how many of those found were said.

    python benchmarks/hotwords.py NAMES MANIFEST [--sizes 10000 100000 1000000] [--model DIR] [--limit N] [--output DIR]

NAMES is a list of names, of which those in Chinese characters count; MANIFEST the utterances, of which the dev ones
are heard by the model's phoneme head. For each size: the build, the file, opening it, and the search of an utterance by
the best path alone and by all paths near it, beside an Aho-Corasick automaton (pyahocorasick) over the best path's
phonemes in the same run. At the largest size, for names of three characters and more: the share of hits that were said
(precision) and of said names that were hit (recall), at several least scores, on the phoneme head's output and on
perfect phonemes. Writes JSON, with machine and date.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from streaming import processor, spread

from nim4asr.audio.reading import read_audio
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.data.preparation import read_texts
from nim4asr.evaluation.normalisation import normalise
from nim4asr.hotwords.database import Database, assemble, load, pronounce_all, save
from nim4asr.hotwords.index import Hit, HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.search import SearchConfig, Walk, toneless_costs
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.phonemes.mandarin import is_han
from nim4asr.recognition.ctc import greedy_path
from nim4asr.recognition.offline import Recogniser

EXACT = SearchConfig(slack=0.0, rate=0.0)
NEAR = SearchConfig()
LEAST_CHARACTERS = 3


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    texts = [one for one in dict.fromkeys(read_texts(options.names)) if all(map(is_han, one))]
    recogniser = Recogniser.load(options.model)
    utterances = [one for one in read_manifest(options.manifest) if one.split == "dev"]
    utterances = spread(utterances, options.limit)
    heard = [recogniser.log_posteriors(SpeechSegment(0.0, read_audio(one.source()))) for one in utterances]
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": processor(),
        "model": recogniser.checkpoint.config.name,
        "utterances": len(utterances),
        "sizes": [],
    }
    database = None
    for size in options.sizes:
        database, figures = at_size(texts[:: max(1, len(texts) // size)][:size], heard, options.output)
        row["sizes"].append(figures)
        print(json.dumps(figures), flush=True)
    assert database is not None
    row["found"] = found(database, utterances, heard)
    (options.output / "hotwords.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row["found"], indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=int, default=200, help="utterances (default: 200)")
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def at_size(texts: Sequence[str], heard: Sequence[Any], folder: Path) -> tuple[Database, dict[str, Any]]:
    path = folder / "hotwords.db"
    pronounced, pronouncing = timed(
        lambda: [one for _, _, one, _ in pronounce_all(("", 0, Name(text)) for text in texts)]
    )
    _, rest = timed(lambda: save(assemble(pronounced), path))
    database, opening = timed(lambda: load(path))
    costs = [toneless_costs(one) for one in heard]
    automaton = aho_corasick(database)
    paths = [bytes(TABLE.toneless[p] for p in greedy_path(one.argmax(axis=1).tolist())) for one in heard]
    figures = {
        "names": len(database),
        "build_seconds": {"pronouncing": round(pronouncing, 1), "the_rest": round(rest, 1)},
        "bytes_a_name": round(path.stat().st_size / len(database), 1),
        "open_milliseconds": round(1000 * opening, 2),
        "search_milliseconds": {
            "best_path": milliseconds(lambda one: Walk(database, EXACT).feed(one), costs),
            "near_paths": milliseconds(lambda one: Walk(database, NEAR).feed(one), costs),
            "pyahocorasick_best_path": milliseconds(
                lambda one: list(automaton.iter(one.decode("latin-1"))), paths
            ),
        },
    }
    path.unlink()
    return database, figures


def aho_corasick(database: Database) -> Any:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for pronunciation in range(len(database.owner)):
        key = bytes(TABLE.toneless[p] for p in database.said(pronunciation))
        automaton.add_word(key.decode("latin-1"), pronunciation)
    automaton.make_automaton()
    return automaton


def milliseconds(call: Callable[[Any], object], items: Sequence[Any]) -> dict[str, float]:
    call(items[0])
    taken = [1000 * timed(lambda one=one: call(one))[1] for one in items]
    return {f"p{q}": round(float(np.percentile(taken, q)), 3) for q in (50, 99)}


def found(database: Database, utterances: Sequence[Utterance], heard: Sequence[Any]) -> list[dict[str, Any]]:
    known = {name.text for name in database.names()}
    said = [spoken(normalise(one.text), known) for one in utterances]
    rows = []
    for config, name in ((EXACT, "best path"), (NEAR, "near paths")):
        index = HotwordIndex([database], config)
        hits = [index.search(one) for one in heard]
        least_scores = (1.0,) if config == EXACT else (0.6, 0.7, 0.8, 0.9)
        rows += [
            figures_of(hits, said, least, tones, name) for least in least_scores for tones in (False, True)
        ]
    index = HotwordIndex([database], EXACT)
    perfect = [index.search_phonemes(TABLE.encode(pronounce(one.text))) for one in utterances]
    return [*rows, *(figures_of(perfect, said, 1.0, tones, "perfect phonemes") for tones in (False, True))]


def spoken(text: str, known: set[str]) -> set[str]:
    pieces = {
        text[i:j] for i in range(len(text)) for j in range(i + LEAST_CHARACTERS, min(len(text), i + 12) + 1)
    }
    return pieces & known


def figures_of(
    hits: Sequence[Sequence[Hit]], said: Sequence[set[str]], least: float, tones: bool, search: str
) -> dict[str, Any]:
    given = [
        {
            h.text
            for h in one
            if h.score >= least - 1e-6 and len(h.text) >= LEAST_CHARACTERS and h.tones >= tones
        }
        for one in hits
    ]
    right = sum(len(a & b) for a, b in zip(given, said, strict=True))
    count, wanted = sum(map(len, given)), sum(map(len, said))
    return {
        "search": search,
        "least_score": least,
        "tones_must_fit": tones,
        "hits_an_utterance": round(count / len(said), 3),
        "precision": round(right / count, 3) if count else None,
        "recall": round(right / wanted, 3) if wanted else None,
    }


if __name__ == "__main__":
    main()
