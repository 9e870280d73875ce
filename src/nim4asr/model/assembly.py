"""A fresh network around a public language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from nim4asr.acoustics.normalization import Cmvn
from nim4asr.errors import InputError
from nim4asr.files import reason
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import AdaptorConfig, PhonemeHeadConfig
from nim4asr.model.tokenizer import Tokenizer

# A speech token of the paper lasts so long.
_TOKEN_S = 0.16
_WIDEST_HEAD = 1280


def portable_config(config: Any) -> dict[str, Any]:
    """A Hugging Face configuration without where it came from and how it was stored."""
    row: dict[str, Any] = config.to_dict()
    return {k: v for k, v in row.items() if k not in ("_name_or_path", "dtype", "architectures")}


@contextmanager
def quiet_loading(place: str | Path) -> Iterator[None]:
    """Without transformers' bars for what lies on this machine; those of a download are welcome."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if Path(place).is_dir():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def public_tokenizer(place: str | Path) -> Tokenizer:
    """The tokenizer of the language model in a folder or on the hub, in whatever form it has.

    Raises ``OSError`` or a subclass if there is none, ``InputError`` if its turns end otherwise than ours.
    """
    from transformers import AutoTokenizer

    with TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(str(place)).save_pretrained(folder)
        try:
            return Tokenizer.load(Path(folder))
        except InputError as error:
            raise InputError(str(error).replace(folder, str(place))) from None


def around(encoder: Nim4Config) -> Nim4Config:
    """The configuration of a network around another's encoder: that one's own phoneme head if it has one, an
    adaptor of four frames (160 ms) a speech token, and no language model yet.
    """
    frame_dim, stack = encoder.encoder.frame_dim, max(1, round(_TOKEN_S / encoder.clock.frame_s))
    return replace(
        encoder,
        adaptor=AdaptorConfig(frame_dim, llm_dim=frame_dim, stack=stack),
        phoneme_head=encoder.phoneme_head or PhonemeHeadConfig(frame_dim, min(frame_dim, _WIDEST_HEAD)),
        llm=None,
        prompt=PromptConfig(),
    )


def assemble(
    config: Nim4Config,
    language_model: str | Path,
    dtype: torch.dtype = torch.float32,
    encoder: Checkpoint | None = None,
) -> Checkpoint:
    """The network of ``config`` with the weights and the tokenizer of ``language_model``, and those of
    ``encoder`` and its phoneme head if they are given; everything else is fresh.

    ``language_model`` is the folder or hub name of any Hugging Face causal language model; the adaptor is
    made to fit its width. The feature normalization is the encoder's or, without one, neutral until training
    measures it. Raises ``InputError`` if there is no such model, or if the configuration has no adaptor.
    """
    from transformers import AutoModelForCausalLM

    if config.adaptor is None:
        raise InputError(f"{config.name!r} has no adaptor to join a language model with")
    try:
        with quiet_loading(language_model):
            llm = AutoModelForCausalLM.from_pretrained(str(language_model), dtype=dtype)
        tokenizer = public_tokenizer(language_model)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{language_model}: no causal language model here ({reason(error)})") from None
    width = llm.get_input_embeddings().embedding_dim
    shape = config.adaptor
    adaptor = replace(shape, llm_dim=width)
    network = Nim4(replace(config, adaptor=adaptor, llm=None))
    normalization = config.features.normalization or Cmvn.neutral(config.features.bins)
    if encoder is not None:
        network.encoder.load_state_dict(encoder.network.encoder.state_dict())
        if encoder.network.phoneme_head is not None and network.phoneme_head is not None:
            network.phoneme_head.load_state_dict(encoder.network.phoneme_head.state_dict())
        normalization = encoder.normalization
    network = network.to(dtype)
    network.llm = llm
    network.config = replace(config, adaptor=adaptor, llm=portable_config(llm.config))
    return Checkpoint(network.eval(), normalization, tokenizer)
