"""``nim4 analyze entropy CHECKPOINT...``"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress
from nim4asr.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "analyze",
        "what an encoder has learnt: entropy allocation and drift",
        "nim4 analyze entropy nano --manifest manifest.jsonl",
        "nim4 analyze entropy runs/nano/model nano --manifest manifest.jsonl --plot drift.png",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    entropy = kinds.add_parser(
        "entropy", help="NSE, PAI and CSAI of checkpoints, and their CKA to the first of them"
    )
    entropy.add_argument("models", nargs="+", metavar="CHECKPOINT", help="model folders, or nano")
    entropy.add_argument("--manifest", type=Path, required=True, help="utterances with their transcripts")
    entropy.add_argument("--split", help="only this split of the manifest")
    entropy.add_argument("--limit", type=int, default=300, help="at most so many utterances (default: 300)")
    entropy.add_argument("--json", action="store_true", help="as JSON, a line a checkpoint")
    entropy.add_argument("--plot", type=Path, metavar="PNG", help="draw the metrics, too")
    entropy.set_defaults(run=run_entropy)


def run_entropy(options: argparse.Namespace) -> int:
    """Gauge the checkpoints on the same utterances, aligned by the first of them."""
    from nim4asr.analysis.entropy import align_utterance, measure
    from nim4asr.audio.reading import read_audio
    from nim4asr.data.manifest import select
    from nim4asr.model.checkpoint import load

    first = load(options.models[0])
    aligned = []
    for utterance in progress(select(options.manifest, options.split, options.limit), "aligning"):
        try:
            alignment = align_utterance(first, read_audio(utterance.source()), utterance.text)
        except InputError:
            continue
        if alignment is not None:
            aligned.append(alignment)
    rows, reference = [], None
    for name in options.models:
        metrics, frames = measure(name, load(name), aligned, reference)
        reference = frames if reference is None else reference
        rows.append(metrics)
        if options.json:
            print(json.dumps(asdict(metrics)))
    if not options.json:
        width = max(10, *(len(row.name) for row in rows))
        print(f"{'checkpoint':{width}}     NSE     PAI    CSAI     CKA  frames")
        for row in rows:
            figures = "".join(f"{value:8.4f}" for value in (row.nse, row.pai, row.csai, row.cka))
            print(f"{row.name:{width}}{figures}{row.frames:8}")
    if options.plot is not None:
        _plot(rows, options.plot)
    return 0


def _plot(rows: list[Any], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'nim4asr[training]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ("nse", "pai", "csai", "cka")
    figure, axes = pyplot.subplots(1, 4, figsize=(11, 0.6 + 0.5 * max(4, len(rows))))
    for axis, name in zip(axes, names, strict=True):
        axis.barh([row.name for row in rows], [getattr(row, name) for row in rows])
        axis.set(title=name.upper())
        axis.label_outer()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
