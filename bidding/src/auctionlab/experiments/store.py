"""Finished seeds of an experiment on disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from auctionlab.files import replacing


def plain(value: Any) -> Any:
    """Dataclasses, enums and tuples as JSON holds them."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


class Store:
    """A folder with one JSON file for each finished part."""

    def __init__(self, folder: Path | str | None, config: Any, *, resume: bool = False) -> None:
        """Open a folder, or none: then nothing is kept.

        Raises ValueError where the folder holds parts of another configuration, or holds any and `resume`
        is not asked for.
        """
        self._folder = Path(folder) if folder is not None else None
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        told = self._folder / "config.json"
        text = json.dumps(plain(config), indent=1, sort_keys=True) + "\n"
        if told.is_file():
            if not resume:
                raise ValueError(
                    f"{self._folder} holds an experiment already; go on with --resume, or name another"
                )
            if told.read_text(encoding="utf-8") != text:
                raise ValueError(f"{self._folder} holds an experiment with another configuration")
        told.write_text(text, encoding="utf-8")

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The part of this name: read if it is there, else made and kept. It must be plain JSON."""
        if self._folder is None:
            return plain(make())
        file = self._folder / f"{name}.json"
        if file.is_file():
            return json.loads(file.read_text(encoding="utf-8"))
        part = plain(make())
        with replacing(file) as draft:
            draft.write_text(json.dumps(part) + "\n", encoding="utf-8")
        return part
