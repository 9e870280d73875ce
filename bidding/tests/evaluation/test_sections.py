from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auctionlab.evaluation import figures
from auctionlab.evaluation.comparison import estimate
from auctionlab.evaluation.sections import Section, page, read, write
from auctionlab.evaluation.tables import interval

PART = Section("ads & <b>", ("name", "gain"), (("a<b", "+1.0"), ("c", "-2.0")), 'read "this"', "bars.png")


def test_text_is_a_title_a_table_and_a_note() -> None:
    assert PART.text() == 'ads & <b>\nname  gain\na<b   +1.0\nc     -2.0\n\nread "this"'


def test_sections_are_read_as_written_and_put_on_a_page(tmp_path: Path) -> None:
    write(tmp_path, [PART, PART])
    assert read(tmp_path) == [PART, PART]
    figures.save(tmp_path / "bars.png", figures.bars("t", {"a": {"x": estimate([1.0, 2.0])}}, "y"))
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text('{"a": "</pre>"}')
    text = page(tmp_path)
    assert text.count("data:image/png;base64,") == 2 and "ads &amp; &lt;b&gt;" in text and "a&lt;b" in text
    assert "Configuration: part" in text and "&lt;/pre&gt;" in text


def test_what_is_no_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no finished experiment"):
        read(tmp_path)
    for text in ("", "{}", '[{"title": 1}]', "[1]"):
        (tmp_path / "sections.json").write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            read(tmp_path)


def test_intervals_as_text() -> None:
    assert interval(estimate([1.0])) == "1.00" and interval(None) == "-"
    assert interval(estimate([1.0, 1.0, 1.0]), 1) == "1.0 [1.0, 1.0]"


def test_panels_draw_what_is_infeasible_too(tmp_path: Path) -> None:
    known = estimate([0.8, 0.9])
    panels = [
        figures.floors("t", [0.8, 1.1], [known, None], [known, None]),
        figures.floors("t", [1.1], [None], [None]),
        figures.lines("t", [0, 1], {"a": [known, known]}, ("x", "y")),
    ]
    figures.save(tmp_path / "deep" / "picture.png", *panels)
    assert (tmp_path / "deep" / "picture.png").read_bytes()[:4] == b"\x89PNG" and np.isfinite(known.low)
