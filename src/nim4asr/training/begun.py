"""What a run began with, kept in its folder, so that it does not go on with something else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nim4asr.data.manifest import read_manifest
from nim4asr.data.preparation import made_of
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, write_atomic
from nim4asr.model.folder import ModelFolder, check_sum
from nim4asr.training.recipe import CorpusConfig, Recipe

BEGUN = "begun.json"


def check_begun(folder: Path, recipe: Recipe, start: ModelFolder | None) -> None:
    """Keep what the run in ``folder`` begins with: its recordings and their texts, and the model that it
    starts from. Where they lie does not matter.

    Raises ``InputError`` if it has begun with others: states made of the one would go on with the other.
    """
    now: dict[str, Any] = {
        "corpora": {name: _corpus(config) for name, config in recipe.corpora.items()},
        "model": None if start is None else _model(start),
    }
    path = folder / BEGUN
    if not path.exists():
        write_atomic(path, json.dumps(now, indent=1) + "\n")
        return
    before = _read(path)
    changed = sorted(
        name
        for name in before["corpora"].keys() | now["corpora"].keys()
        if before["corpora"].get(name) != now["corpora"].get(name)
    )
    if changed:
        what = f"other recordings or texts: the manifest of {', '.join(changed)} has changed since"
    elif before["model"] != now["model"]:
        what = "another model than --init-model names now"
    else:
        return
    raise InputError(
        f"{folder}: this run was begun with {what}; choose another --output, or remove {path} to go on "
        "all the same"
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        row = parse_json(read_text(path))
        if not isinstance(row["corpora"], dict) or not isinstance(row["model"], str | None):
            raise ValueError("no check sums")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: this does not say what a run began with; remove the file") from None
    found: Mapping[str, Any] = row
    return found


def _corpus(config: CorpusConfig) -> str:
    digest = hashlib.sha256()
    for utterance in read_manifest(config.manifest):
        row = f"{made_of(utterance)} {config.is_dev(utterance)}\n"
        digest.update(row.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _model(folder: ModelFolder) -> str:
    row = [folder.config.to_json(), [check_sum(path) for path in folder.weight_files]]
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()
