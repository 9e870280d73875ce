"""Options that several commands share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nim4asr.recognition.offline import Recogniser

_DTYPES = ("float32", "bfloat16", "float16")


def add_recogniser_options(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--device``, ``--dtype``, ``--beams``, ``--chunk-frames``."""
    parser.add_argument(
        "--model", metavar="DIR", help="model folder or org/name on the hub (default: bundled nano)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=_DTYPES)
    parser.add_argument("--beams", type=int, default=1, help="beam width; 1 is greedy (default: 1)")
    parser.add_argument(
        "--chunk-frames",
        type=int,
        metavar="N",
        help="let the encoder see chunks of N frames of 40 ms with 4 chunks before, as live (default: all)",
    )


def load_recogniser(options: argparse.Namespace) -> "Recogniser":
    """The recogniser that the options ask for; raises ``InputError`` for what cannot be."""
    import torch

    from nim4asr.errors import InputError
    from nim4asr.model.encoder import ChunkScheme
    from nim4asr.recognition.decoding import DecodingConfig
    from nim4asr.recognition.offline import Recogniser, RecognitionConfig

    try:
        chunks = None if options.chunk_frames is None else ChunkScheme(options.chunk_frames)
        config = RecognitionConfig(decoding=DecodingConfig(beams=options.beams), chunks=chunks)
    except ValueError as error:
        raise InputError(str(error)) from None
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError):
        raise InputError(f"the device {options.device!r} is not to be had here; try cpu") from None
    dtype: torch.dtype = getattr(torch, options.dtype)
    return Recogniser.load(options.model, options.device, dtype, config)
