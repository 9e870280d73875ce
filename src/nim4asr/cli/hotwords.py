"""``nim4 hotwords build|search|bench|add|remove|info``"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import add_command, add_model_options, load_recognizer
from nim4asr.cli.progress import progress
from nim4asr.errors import InputError
from nim4asr.files import locked

if TYPE_CHECKING:
    from nim4asr.hotwords.hints import Hit
    from nim4asr.hotwords.index import HotwordIndex

# So many bad lines are named one by one; the rest are counted.
SHOWN = 20


def add_parser(commands: Any) -> None:
    """Add the commands."""
    whole = add_command(
        commands,
        "hotwords",
        "databases of names, found by their sound",
        "nim4 hotwords build names.txt -o names.db",
        "nim4 hotwords search names.db --text 我在天安门广场",
    )
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="VERB")

    build = verbs.add_parser("build", help="make a database of lists of names (txt, csv, jsonl; .gz too)")
    build.add_argument("lists", nargs="+", type=Path, metavar="NAMES")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    build.add_argument("--workers", type=int, help="processes (default: all cores)")
    build.set_defaults(run=run_build)

    search = verbs.add_parser("search", help="what is found in a text, in phonemes or in speech, and where")
    search.add_argument("database", type=Path, metavar="DB", help="a database or a list of names")
    where = search.add_mutually_exclusive_group(required=True)
    where.add_argument("--text", help="as if it were said perfectly")
    where.add_argument("--phonemes", help='table symbols or pinyin: "b ei3 j ing1", "bei3 jing1"')
    where.add_argument("--audio", metavar="FILE", help="by the model's phoneme head")
    search.add_argument("--json", action="store_true", help="one hit a line")
    add_model_options(search)
    search.set_defaults(run=run_search)

    bench = verbs.add_parser("bench", help="how fast and how well names are found in a manifest's speech")
    bench.add_argument("database", type=Path, metavar="DB", help="a database or a list of names")
    bench.add_argument("manifest", type=Path, metavar="MANIFEST.jsonl")
    bench.add_argument("--split", help="only the utterances of this split")
    bench.add_argument("--limit", type=int, help="only the first so many utterances")
    add_model_options(bench)
    bench.set_defaults(run=run_bench)

    for verb, help_, run in (
        ("add", "add names to a database", run_add),
        ("remove", "take names out of a database", run_remove),
    ):
        change = verbs.add_parser(verb, help=help_)
        change.add_argument("database", type=Path, metavar="DB")
        change.add_argument("names", nargs="+", metavar="NAME")
        change.set_defaults(run=run)

    info = verbs.add_parser("info", help="what a database holds, its check sums read")
    info.add_argument("database", type=Path, metavar="DB")
    info.set_defaults(run=run_info)


def run_build(options: argparse.Namespace) -> int:
    """Build; bad lines are named on stderr, and the rest is built all the same."""
    from nim4asr.hotwords.index import build, warm_up
    from nim4asr.hotwords.storage import save

    if options.output.is_dir() or not options.output.name:
        raise InputError(f"{options.output}: this is a folder; name a file for the database with -o")
    database, built = build(options.lists, options.workers, progress)
    save(database, options.output)
    # A quarter of a minute, the first time on a machine with numba: here nobody waits for words.
    warm_up()
    for problem in built.problems[:SHOWN]:
        print(f"nim4: {problem}", file=sys.stderr)
    if len(built.problems) > SHOWN:
        print(f"nim4: and {len(built.problems) - SHOWN} lines more", file=sys.stderr)
    row = {
        "names": built.names,
        "pronunciations": built.pronunciations,
        "without_pronunciation": built.unpronounceable,
        "lines_with_problems": len(built.problems),
        "bytes": options.output.stat().st_size,
    }
    print(json.dumps(row))
    return 0


def run_search(options: argparse.Namespace) -> int:
    """Print the hits, with their places in seconds (for a text: two frames a phoneme)."""
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.hotwords.names import parse_pronunciation
    from nim4asr.phonemes import TABLE, pronounce
    from nim4asr.recognition.writers import hit_row

    index = HotwordIndex.load(options.database)
    try:
        if options.audio is not None:
            hits = _in_audio(index, options)
        else:
            said = (
                pronounce(options.text) if options.text else list(parse_pronunciation(options.phonemes or ""))
            )
            hits = index.search_phonemes(TABLE.encode(said))
    except ValueError as error:
        raise InputError(str(error)) from None
    for hit in hits:
        print(json.dumps(hit_row(hit), ensure_ascii=False) if options.json else _line(hit))
    return 0


def _in_audio(index: "HotwordIndex", options: argparse.Namespace) -> "list[Hit]":
    from dataclasses import replace

    from nim4asr.audio.reading import stream_audio
    from nim4asr.audio.voice_activity import cut_speech

    recognizer = load_recognizer(options)
    model, hits = recognizer.model, []
    for segment in cut_speech(stream_audio(options.audio)):
        log_probs = recognizer.log_posteriors(segment)
        found = index.search(log_probs, model.frontend.clock.frame_s, model.config.evidence)
        hits += [replace(hit, start=hit.start + segment.start, end=hit.end + segment.start) for hit in found]
    return hits


def run_bench(options: argparse.Namespace) -> int:
    """Print one JSON object: times, and precision and recall of hints by their least evidence."""
    from nim4asr.audio.reading import read_audio
    from nim4asr.audio.voice_activity import SpeechSegment
    from nim4asr.data.manifest import select
    from nim4asr.evaluation.retrieval import Spoken, retrieval
    from nim4asr.hotwords.index import HotwordIndex

    utterances = select(options.manifest, options.split, options.limit)
    index = HotwordIndex.load(options.database)
    recognizer = load_recognizer(options)
    spoken = [
        Spoken(utterance.text, recognizer.log_posteriors(SpeechSegment(0.0, read_audio(utterance.source()))))
        for utterance in progress(utterances, "listening", len(utterances))
    ]
    print(json.dumps(retrieval(index, spoken)))
    return 0


def _line(hit: "Hit") -> str:
    tones = "with tones" if hit.tones else "without"
    return f"{hit.start:7.2f} {hit.end:7.2f}  {hit.score:.2f}  {hit.evidence:+5.1f}  {tones:10}  {hit.text}"


def run_add(options: argparse.Namespace) -> int:
    """Add names, and say which will never be heard."""
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.hotwords.names import Name

    names = [Name(text) for text in options.names]
    # Of two who add at once, each must find what the other has added.
    with locked(options.database):
        index = HotwordIndex.load(options.database)
        for reason in index.add(names).values():
            print(f"nim4: {reason}", file=sys.stderr)
        print(json.dumps({"names": index.save(options.database)}))
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Take names out; one that is not there is named, and the exit status is 1."""
    from nim4asr.hotwords.index import HotwordIndex

    with locked(options.database):
        index = HotwordIndex.load(options.database)
        there = set(index.texts())
        missing = [text for text in options.names if text not in there]
        for text in missing:
            print(f"nim4: {options.database}: there is no name {text!r}", file=sys.stderr)
        index.remove(options.names)
        print(json.dumps({"names": index.save(options.database)}))
    return 1 if missing else 0


def run_info(options: argparse.Namespace) -> int:
    """Print one JSON object."""
    from nim4asr.hotwords.storage import load

    database = load(options.database)
    # All of it is read, and checked.
    assert len(database.sections)
    row = {
        "names": len(database),
        "pronunciations": len(database.owner),
        "trie_nodes": len(database.labels),
        "bytes": options.database.stat().st_size,
        "bytes_a_name": round(options.database.stat().st_size / max(1, len(database)), 1),
        "categories": [category for category in database.categories if category],
    }
    print(json.dumps(row, ensure_ascii=False))
    return 0
