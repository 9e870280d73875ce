"""``nim4 new [RECIPE] [--encoder ENCODER] --llm MODEL -o DIR``"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import add_command
from nim4asr.errors import InputError
from nim4asr.recipes import NETWORKS, NIM4_2B3, model_configuration

if TYPE_CHECKING:
    import torch

    from nim4asr.model.checkpoint import Checkpoint


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "new",
        "an untrained network around a public encoder, a public language model, or both",
        "nim4 new --encoder openai/whisper-base --llm Qwen/Qwen3-0.6B -o model",
        "nim4 new nim4-2.3b --llm Qwen/Qwen3-1.7B -o model",
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        help=f"{', '.join(NETWORKS)}, or a model folder, for its shape; left out where --encoder gives one",
    )
    parser.add_argument(
        "--encoder",
        metavar="MODEL",
        help="folder or org/name of a Whisper, a FireRedASR or a nim4asr model whose encoder is taken",
    )
    parser.add_argument(
        "--llm", metavar="MODEL", help="folder or org/name of a causal language model (default: the recipe's)"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Assemble, save, and say where."""
    import torch

    from nim4asr.model.checkpoint import save
    from nim4asr.model.folder import license_of

    if (options.recipe is None) == (options.encoder is None):
        raise InputError("give either a recipe or --encoder: each of them says what the encoder is")
    dtype: torch.dtype = getattr(torch, options.dtype)
    make = _of_recipe if options.encoder is None else _of_parts
    checkpoint = make(options, dtype)
    save(checkpoint, options.output)
    print(f"{options.output}: {checkpoint.network.parameter_counts()['total'] / 1e6:.1f} M parameters")
    for part, place in (("encoder", options.encoder), ("language model", options.llm)):
        license = None if place is None else license_of(place)
        if license is not None:
            print(f"{part}: {place} says that its license is {license}")
    if checkpoint.config.chunks is None:
        print(
            "its encoder was never trained in chunks: until it is, live speech is recognized "
            "when each segment ends"
        )
    return 0


def _of_recipe(options: argparse.Namespace, dtype: "torch.dtype") -> "Checkpoint":
    from nim4asr.model.assembly import assemble

    if options.llm is None:
        if options.recipe != NIM4_2B3:
            raise InputError(f"{options.recipe}: name the language model with --llm")
        from nim4asr.recipes.nim4_2b3 import LANGUAGE_MODEL

        options.llm = LANGUAGE_MODEL
    return assemble(model_configuration(options.recipe), options.llm, dtype)


def _of_parts(options: argparse.Namespace, dtype: "torch.dtype") -> "Checkpoint":
    from nim4asr.model.assembly import around, assemble
    from nim4asr.model.importers import open_encoder

    if options.llm is None:
        raise InputError(f"{options.encoder}: name the language model with --llm")
    encoder = open_encoder(options.encoder)
    return assemble(around(encoder.config), options.llm, dtype, encoder)
