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
        "",
        "A manifest is a text file, a recording a line; paths are relative to it, speaker may be left out:",
        '{"audio": "clips/u1.flac", "text": "call room nine", "language": "en", "speaker": "anna"}',
        "",
        "What is under way lies in DIR.tuning: a command that was stopped goes on when it is given again,",
        "and nim4 runs status DIR.tuning tells where it stands.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="what to begin with: nano, a model folder, or org/name on the hub"
    )
    parser.add_argument(
        "manifests",
        type=Path,
        nargs="+",
        metavar="MANIFEST",
        help="your recordings with their texts, 12 at the least (the last lines below show one); a tenth of "
        'them, or those with "split": "dev", is not trained on but judged by, before and after',
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the tuned model, which must not be there yet; it gets the old weights if the new "
        "ones are no better",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        action="append",
        default=[],
        metavar="MANIFEST",
        help="other speech, heard as often, that the model shall not forget (repeatable)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="train for so long at most; reading and judging come on top (default: until the steps are done)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="training steps (default: by the hours of speech)"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="its peak (default: by the hours of speech and the size of the model, 3e-4 at most)",
    )
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
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processor threads for training (default: all cores)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tune, and say how much it helped."""
    from nim4asr.training.finetuning.options import FinetuneOptions
    from nim4asr.training.finetuning.run import finetune

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
        options.threads,
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
