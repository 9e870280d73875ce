"""The corpora of recipes that take whatever lies in the data folder."""

from pathlib import Path

from nim4asr.errors import InputError


def every_manifest(data: Path) -> list[Path]:
    """The manifests in ``data/speech``, in order. Raises ``InputError`` if there is none."""
    manifests = sorted((data / "speech").glob("*.jsonl"))
    if not manifests:
        raise InputError(f"{data / 'speech'}: there is no manifest (*.jsonl) to train on")
    return manifests


def noises_of(data: Path) -> Path | None:
    """The archive ``data/noise/noise.tar``, if it is there."""
    noises = data / "noise/noise.tar"
    return noises if noises.exists() else None
