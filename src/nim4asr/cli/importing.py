"""``nim4 import firered|whisper MODEL -o DIR``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        "make a model folder of another project's weights",
        "nim4 import whisper openai/whisper-base -o model",
        "nim4 import whisper faster-whisper-small -o model",
        "nim4 import firered FireRedASR-AED-L -o model",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    whisper = kinds.add_parser(
        "whisper",
        help="a Whisper's encoder: Hugging Face's (folder or org/name) or CTranslate2's (folder)",
    )
    whisper.add_argument("model", metavar="MODEL")
    firered = kinds.add_parser("firered", help="a FireRedASR-AED or FireRedASR-LLM folder")
    firered.add_argument("model", metavar="DIR")
    for kind in (whisper, firered):
        kind.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
        kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import, and say what came over."""
    from nim4asr.model.checkpoint import save
    from nim4asr.model.importers import open_whisper
    from nim4asr.model.importers.firered import import_firered

    if options.kind == "whisper":
        checkpoint = open_whisper(options.model)
    else:
        checkpoint = import_firered(Path(options.model))
    save(checkpoint, options.output)
    counts = checkpoint.network.parameter_counts()
    parts = ", ".join(
        f"{name.replace('_', ' ')} {count / 1e6:.1f} M"
        for name, count in counts.items()
        if count and name != "total"
    )
    print(f"{options.output}: {checkpoint.config.name} ({parts})")
    return 0
