"""``nim4 new [RECIPE] [--encoder ENCODER] --llm MODEL -o DIR``"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import add_command, add_new_model_option, check_new
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
        help=f"{', '.join(NETWORKS)}, or a model folder, whose shape a fresh encoder gets; "
        "left out where --encoder gives one with its weights",
    )
    parser.add_argument(
        "--encoder",
        metavar="MODEL",
        help="folder or org/name of a Whisper, a FireRedASR or a nim4asr model whose encoder is taken",
    )
    parser.add_argument(
        "--llm",
        metavar="MODEL",
        help="folder or org/name of a causal language model whose chat turns end in <|im_end|>, such as "
        f"Qwen's (required, but for {NIM4_2B3})",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16"),
        help="of the weights that are written; bfloat16 takes half the disk (default: float32)",
    )
    add_new_model_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Assemble, save, and say where."""
    _check(options)
    # What can be told is told before torch is loaded.
    import torch

    from nim4asr.model.checkpoint import save
    from nim4asr.model.folder import license_of

    dtype: torch.dtype = getattr(torch, options.dtype)
    make = _of_recipe if options.encoder is None else _of_parts
    checkpoint = make(options, dtype)
    save(checkpoint, options.output)
    print(f"{options.output}: {checkpoint.network.parameter_counts()['total'] / 1e6:,.2f} M parameters")
    for part, place in (("encoder", options.encoder), ("language model", options.llm)):
        if place is None:
            continue
        license = license_of(place)
        if license is None:
            print(f"{part}: {place} names no license; look where it comes from before you pass the model on")
        else:
            print(f"{part}: {place} says that its license is {license}")
    if checkpoint.config.chunks is None:
        print(
            "its encoder was never trained in chunks: until it is, live speech is recognized "
            "when each segment ends"
        )
    print("it writes nothing sensible until it is trained: nim4 train from-public-parts --init-model")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises ``InputError`` for what can be seen to be wrong without any weights."""
    from nim4asr.model.folder import CONFIG, check_place

    check_new(options.output)
    if (options.recipe is None) == (options.encoder is None):
        raise InputError("give either a recipe or --encoder: each of them says what the encoder is")
    if options.llm is None and options.recipe != NIM4_2B3:
        raise InputError(f"{options.encoder or options.recipe}: name the language model with --llm")
    if options.recipe is not None and options.recipe not in NETWORKS:
        # Whether there is such a model.
        model_configuration(options.recipe)
    if options.encoder is not None:
        check_place(options.encoder)
    if options.llm is not None:
        check_place(options.llm)
        if Path(options.llm).is_dir() and not (Path(options.llm) / CONFIG).exists():
            raise InputError(f"{options.llm}: no causal language model here; the folder has no {CONFIG}")


def _of_recipe(options: argparse.Namespace, dtype: "torch.dtype") -> "Checkpoint":
    from nim4asr.model.assembly import assemble

    if options.llm is None:
        from nim4asr.recipes.nim4_2b3 import LANGUAGE_MODEL

        options.llm = LANGUAGE_MODEL
    return assemble(model_configuration(options.recipe), options.llm, dtype)


def _of_parts(options: argparse.Namespace, dtype: "torch.dtype") -> "Checkpoint":
    from nim4asr.model.assembly import around, assemble
    from nim4asr.model.importers import open_encoder

    encoder = open_encoder(options.encoder)
    name = f"{_last(options.encoder)} + {_last(options.llm)}"
    return assemble(replace(around(encoder.config), name=name), options.llm, dtype, encoder)


def _last(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2]
