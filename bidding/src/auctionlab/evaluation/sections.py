"""Results as text, as pictures, and as one page: a title, a table, a sentence, a picture."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from auctionlab.evaluation.tables import table
from auctionlab.files import replacing

FILE = "sections.json"
"""What an experiment's folder tells its sections by."""


@dataclass(frozen=True)
class Section:
    """One table of an experiment."""

    title: str
    """What was compared."""
    headers: tuple[str, ...]
    """Of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as text."""
    note: str = ""
    """What to read off it."""
    picture: str = ""
    """Name of a picture in the same folder."""

    def text(self) -> str:
        """The section in a terminal."""
        note = f"\n\n{self.note}" if self.note else ""
        return f"{self.title}\n{table(self.headers, self.rows)}{note}"


def write(folder: Path, sections: Sequence[Section]) -> None:
    """Keep sections in an experiment's folder."""
    with replacing(folder / FILE) as draft:
        draft.write_text(json.dumps([asdict(section) for section in sections]) + "\n", encoding="utf-8")


def read(folder: Path) -> list[Section]:
    """Sections of an experiment's folder.

    Raises FileNotFoundError where there are none yet, ValueError where they are not what `write` wrote.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished experiment; run auctionlab experiment NAME --out {folder}"
        )
    try:
        parts = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(parts, list):
            raise TypeError("no list of sections")
        return [
            Section(
                str(part["title"]),
                tuple(map(str, part["headers"])),
                tuple(tuple(map(str, row)) for row in part["rows"]),
                str(part["note"]),
                str(part["picture"]),
            )
            for part in parts
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: run the experiment again with --resume") from error


def page(folder: Path) -> str:
    """One HTML page with all sections of a folder, their pictures, and the configuration; nothing outside it.

    Raises what `read` raises.
    """
    sections = read(folder)
    configs = sorted(folder.rglob("config.json"))
    parts = [_html(folder, section) for section in sections]
    for config in configs:
        name = config.parent.relative_to(folder).as_posix()
        label = "Configuration" if name == "." else f"Configuration: {name}"
        text = html.escape(config.read_text(encoding="utf-8"))
        parts.append(f"<details><summary>{html.escape(label)}</summary><pre>{text}</pre></details>")
    title = html.escape(folder.resolve().name)
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(parts))


def _html(folder: Path, section: Section) -> str:
    head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in section.headers)
    body = "\n".join(
        "<tr>"
        + f"<th scope='row'>{html.escape(row[0])}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in section.rows
    )
    picture = ""
    file = folder / section.picture
    if section.picture and file.is_file():
        data = base64.b64encode(file.read_bytes()).decode("ascii")
        picture = f"<img alt='{html.escape(section.title)}' src='data:image/png;base64,{data}'>"
    note = f"<p>{html.escape(section.note)}</p>" if section.note else ""
    whole = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    title = html.escape(section.title)
    return f"<section><h2>{title}</h2>\n<div class='wide'>{whole}</div>\n{note}{picture}</section>"


_STYLE = """
body {
  font: 16px/1.5 system-ui, sans-serif; color: #222;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
}
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; font-weight: normal; } thead th { border-bottom: 2px solid #888; }
img { max-width: 100%; margin-top: 1rem; }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #ddd; } pre { background: #242424; } th, td { border-color: #444; }
  img { background: white; }
}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
