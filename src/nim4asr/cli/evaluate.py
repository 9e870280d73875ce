"""``nim4 evaluate MANIFEST.jsonl``"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_hotword_options,
    add_model_options,
    add_offline_options,
    add_streaming_options,
    asks_for_streaming,
    decoding_config,
    load_hotwords,
    load_recognizer,
    streaming_config,
)
from nim4asr.cli.progress import progress


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        "measure a model's errors over a manifest",
        "nim4 evaluate manifest.jsonl --split dev --report report",
        "nim4 evaluate manifest.jsonl --streaming --report new --compare report",
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.jsonl")
    parser.add_argument("--report", type=Path, metavar="DIR", help="alignments of every utterance")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="DIR",
        help="with --report: the differences to another report, with 95 %% bootstrap intervals",
    )
    parser.add_argument(
        "--seen",
        type=Path,
        action="append",
        metavar="FILE",
        help="training texts, a sentence a line (repeatable): errors by the share of other words too",
    )
    parser.add_argument("--split", help="only the utterances of this split")
    parser.add_argument("--limit", type=int, help="only the first so many utterances")
    parser.add_argument("--streaming", action="store_true", help="recognize as a live stream would")
    parser.add_argument(
        "--telephone",
        action="store_true",
        help="hear the recordings as a telephone passes them on: 300 to 3,400 Hz, 8 bits",
    )
    add_streaming_options(parser)
    add_hotword_options(parser)
    add_decoding_options(parser)
    add_offline_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one JSON summary. Exits with 1 if any utterance had to be skipped."""
    from nim4asr.data.manifest import select
    from nim4asr.data.preparation import read_texts
    from nim4asr.errors import InputError
    from nim4asr.evaluation.comparison import compare, rates, read_rows
    from nim4asr.evaluation.evaluate import evaluate, words_of

    if options.streaming and options.chunk_frames is not None:
        raise InputError("--chunk-frames is for recordings; --streaming has --chunk")
    if options.compare is not None:
        if options.report is None:
            raise InputError("--compare needs --report DIR, where this evaluation's alignments go")
        # Found out before hours of listening.
        read_rows(options.compare)
    live = streaming_config(options)
    if asks_for_streaming(options) and not options.streaming:
        raise InputError(
            "--mode, --chunk, --final-context, --end-silence and --longest are for live speech: "
            "add --streaming"
        )
    seen: set[str] | None = None
    for path in options.seen or ():
        seen = (seen or set()).union(*map(words_of, read_texts(path)))
    utterances = select(options.manifest, options.split, options.limit)
    hotwords = load_hotwords(options)
    recognizer = load_recognizer(options)
    live = replace(live, decoding=decoding_config(options, recognizer.model))
    summary = evaluate(
        recognizer,
        utterances,
        options.report,
        progress,
        live if options.streaming else None,
        hotwords,
        seen,
        options.telephone,
    )
    if options.report is not None and "report_failed" not in summary:
        summary["intervals"] = {name: asdict(interval) for name, interval in rates(options.report).items()}
    if options.compare is not None and "report_failed" not in summary:
        summary["compared"] = {
            name: asdict(interval) for name, interval in compare(options.report, options.compare).items()
        }
    print(json.dumps(summary, ensure_ascii=False))
    skipped = summary["skipped"]
    assert isinstance(skipped, list)
    damaged = summary["damaged"]
    assert isinstance(damaged, list)
    for reason in [*skipped, *damaged]:
        print(f"nim4: {reason}", file=sys.stderr)
    if "report_failed" in summary:
        raise InputError(str(summary["report_failed"]))
    return 1 if skipped else 0
