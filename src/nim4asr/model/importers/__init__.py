"""Public weights of other projects as nim4asr checkpoints, a file a project."""

from typing import TYPE_CHECKING

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.model.checkpoint import Checkpoint

# What a public encoder needs of its repository; the rest may be gigabytes in other formats.
_ENCODER_FILES = ("*.json", "model.safetensors", "model-*.safetensors", "model.bin", "README.md")


def open_whisper(place: str) -> "Checkpoint":
    """The encoder of the Whisper at ``place``, a folder of either form or the hub's ``org/name``."""
    from nim4asr.model.folder import fetched
    from nim4asr.model.importers.whisper import import_whisper

    return import_whisper(fetched(place, _ENCODER_FILES), _name_of(place))


def open_encoder(place: str) -> "Checkpoint":
    """The encoder at ``place``: a folder or the hub's ``org/name`` with a Whisper (Hugging Face's or
    CTranslate2's), a FireRedASR or a nim4asr model.

    Raises ``InputError`` if there is none of them.
    """
    from nim4asr.model import checkpoint
    from nim4asr.model.folder import CONFIG, fetched
    from nim4asr.model.importers import ctranslate2, firered, whisper

    folder = fetched(place, _ENCODER_FILES)
    if (folder / ctranslate2.FILE).exists() or whisper.is_whisper(folder):
        return whisper.import_whisper(folder, _name_of(place))
    if (folder / firered.MODEL).exists():
        return firered.import_firered(folder)
    if (folder / CONFIG).exists():
        return checkpoint.load(folder)
    raise InputError(
        f"{place}: no encoder that can be used; give a folder or org/name of a Whisper (Hugging Face's or "
        "CTranslate2's), a FireRedASR or a nim4asr model"
    )


def _name_of(place: str) -> str:
    return f"{place.rstrip('/').rpartition('/')[2]} encoder"
