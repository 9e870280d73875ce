"""Files that are whole or not there at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` beside ``path``, then give it that name, so that no reader and no crash meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
