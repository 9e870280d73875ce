"""``nim4 import firered|whisper MODEL -o DIR``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command, add_new_model_option, check_new


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
    whisper = add_command(
        kinds,
        "whisper",
        "a Whisper's encoder: Hugging Face's (folder or org/name) or CTranslate2's (folder)",
        "nim4 import whisper openai/whisper-base -o encoder",
        "nim4 import whisper faster-whisper-small -o encoder",
        "",
        "Only the encoder comes over: it writes nothing by itself. nim4 new --encoder makes a model of it",
        "and a language model in one step (docs/public_parts.md).",
    )
    whisper.add_argument(
        "model",
        metavar="MODEL",
        help="any Whisper from tiny to large-v3-turbo: a folder with config.json and model.safetensors, "
        "org/name on the hub, or a folder with the model.bin of faster-whisper",
    )
    firered = add_command(
        kinds,
        "firered",
        "a FireRedASR-AED or FireRedASR-LLM folder",
        "nim4 import firered FireRedASR-AED-L -o encoder",
    )
    firered.add_argument(
        "model",
        metavar="DIR",
        help="a folder with model.pth.tar and cmvn.ark: of FireRedASR-AED the encoder comes over, of "
        "FireRedASR-LLM everything",
    )
    for kind in (whisper, firered):
        add_new_model_option(kind)
        kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import, and say what came over."""
    check_new(options.output)
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
    if checkpoint.config.llm is None:
        print("this is an encoder alone; nim4 new --encoder makes a model around it")
    return 0
