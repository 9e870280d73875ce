"""``nim4 new RECIPE --llm MODEL -o DIR``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "new",
        "a recipe's network, untrained, around a public language model",
        "nim4 new nim4-2.3b --llm Qwen/Qwen3-1.7B -o model",
        "nim4 new nano --llm folder --dtype bfloat16 -o model",
    )
    parser.add_argument("recipe", help="nano, nim4-2.3b, or a model folder for its shape")
    parser.add_argument(
        "--llm", metavar="MODEL", help="folder or org/name of a causal language model (default: the recipe's)"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Assemble, save, and say where."""
    import torch

    from nim4asr.errors import InputError
    from nim4asr.model.assembly import assemble
    from nim4asr.model.checkpoint import save
    from nim4asr.recipes import model_configuration, nim4_2b3

    language_model = options.llm
    if language_model is None:
        if options.recipe != nim4_2b3.NAME:
            raise InputError(f"{options.recipe}: name the language model with --llm")
        language_model = nim4_2b3.LANGUAGE_MODEL
    dtype: torch.dtype = getattr(torch, options.dtype)
    checkpoint = assemble(model_configuration(options.recipe), language_model, dtype)
    save(checkpoint, options.output)
    print(f"{options.output}: {checkpoint.network.parameter_counts()['total'] / 1e6:.1f} M parameters")
    return 0
