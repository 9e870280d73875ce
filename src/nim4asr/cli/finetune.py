"""``nim4 finetune MODEL MANIFEST...``"""

import argparse
import sys
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress, progress_in_lines


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "finetune",
        "tune a model to your own recordings (see docs/finetuning.md)",
        "nim4 finetune nano mine.jsonl -o model",
        "nim4 finetune model calls.jsonl --replay general.jsonl --minutes 30 -o tuned",
    )
    parser.add_argument("model", metavar="MODEL", help="nano, a model folder, or org/name on the hub")
    parser.add_argument(
        "manifests",
        type=Path,
        nargs="+",
        metavar="MANIFEST",
        help="recordings with their texts, JSON lines; a tenth is set aside and judged by, or its dev split",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="the folder of the tuned model"
    )
    parser.add_argument(
        "--replay",
        type=Path,
        action="append",
        default=[],
        metavar="MANIFEST",
        help="other speech, heard as often, that the model shall not forget (repeatable)",
    )
    parser.add_argument("--minutes", type=float, help="train for so long at most")
    parser.add_argument("--steps", type=int, help="training steps (default: by the hours of speech)")
    parser.add_argument("--learning-rate", type=float, help="its peak (default: by hours and model size)")
    parser.add_argument(
        "--text-form",
        choices=("plain", "written"),
        help="what to write: lower case without punctuation, or texts as they stand "
        "(default: what the model writes)",
    )
    parser.add_argument(
        "--force", action="store_true", help="take the new weights even if they are no better"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="alignments of the recordings set aside, before and after, as nim4 evaluate writes them",
    )
    parser.add_argument("--threads", type=int, help="processor threads for training (default: all cores)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tune, and say how much it helped."""
    import torch

    from nim4asr.training.finetuning.options import FinetuneOptions
    from nim4asr.training.finetuning.run import finetune

    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))
    asked = FinetuneOptions(
        options.model,
        options.manifests,
        options.output,
        options.replay,
        options.minutes,
        options.steps,
        options.learning_rate,
        options.text_form,
        options.force,
        options.report,
    )
    shown = progress if sys.stderr.isatty() else progress_in_lines
    outcome = finetune(asked, shown, lambda line: print(f"nim4: {line}", file=sys.stderr, flush=True))
    for note in outcome.notes:
        print(f"nim4: {note}", file=sys.stderr)
    if outcome.weights == "new":
        print(f"{options.output}: {outcome.verdict}")
    else:
        print(f"{options.output}: the old weights, for tuning did not help: {outcome.verdict}")
        if outcome.left is not None:
            print(f"{outcome.left}: the new weights; the same command with --force takes them")
    return 0
