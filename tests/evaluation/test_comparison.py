import json
from pathlib import Path

import numpy as np
import pytest

from nim4asr.errors import InputError
from nim4asr.evaluation.comparison import Interval, compare, rates


def report(folder: Path, errors: list[int], size: int = 10, language: str = "zh", first: int = 0) -> Path:
    """Utterances with so many errors each, of ``size`` tokens."""
    folder.mkdir()
    rows = []
    for number, wrong in enumerate(errors, first):
        count = {"substitutions": wrong, "deletions": 0, "insertions": 0, "reference": size}
        nothing = {**count, "substitutions": 0, "reference": 0}
        rows.append({"id": str(number), "language": language, "errors": count, "phoneme_errors": nothing})
    (folder / "alignments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_rate_has_the_interval_of_its_utterances(tmp_path: Path) -> None:
    errors = np.random.default_rng(0).integers(0, 8, 200).tolist()
    (found,) = rates(report(tmp_path / "a", errors), samples=5000).items()
    name, interval = found
    assert name == "cer" and interval.value == pytest.approx(np.mean(errors) / 10, abs=1e-4)
    # Of a mean of independent utterances: 1.96 standard errors on each side.
    half = 1.96 * np.std(errors) / 10 / np.sqrt(len(errors))
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)


def test_pairs_tell_more_than_their_means(tmp_path: Path) -> None:
    """A model that is better by one error in each utterance is better for certain, however these differ."""
    errors = np.random.default_rng(0).integers(1, 9, 60)
    better = report(tmp_path / "better", (errors - 1).tolist())
    worse = report(tmp_path / "worse", errors.tolist())
    assert compare(better, worse)["cer"] == Interval(-0.1, -0.1, -0.1)
    shuffled = report(tmp_path / "shuffled", np.random.default_rng(1).permutation(errors).tolist())
    other = compare(shuffled, worse)["cer"]
    assert other.value == pytest.approx(0.0, abs=1e-9) and other.low < 0 < other.high


def test_only_shared_utterances_are_compared(tmp_path: Path) -> None:
    mine = report(tmp_path / "mine", [1, 2, 3, 9], language="en")
    theirs = report(tmp_path / "theirs", [5, 3, 4], language="en", first=1)
    # Those numbered 1, 2 and 3: (2 + 3 + 9 - 5 - 3 - 4) / 30.
    assert compare(mine, theirs)["wer"].value == pytest.approx(2 / 30, abs=1e-4)
    with pytest.raises(InputError, match="no two utterances in common"):
        compare(mine, report(tmp_path / "far", [1, 1], first=100))


def test_a_line_is_a_line_whatever_its_text_holds(tmp_path: Path) -> None:
    folder = report(tmp_path / "a", [1, 2])
    lines = [json.loads(line) for line in (folder / "alignments.jsonl").read_text().splitlines()]
    rows = [json.dumps({**line, "reference": "a\u2028b\x85c"}, ensure_ascii=False) for line in lines]
    (folder / "alignments.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert rates(folder)["cer"].value == 0.15


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"id": 1, "errors": {}, "phoneme_errors": 3}'])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no such report"):
        rates(tmp_path)
    (tmp_path / "alignments.jsonl").write_text(text + "\n")
    with pytest.raises(InputError, match="line 1: this is no line of a report"):
        rates(tmp_path)


def test_equal_ids_lose_nothing(tmp_path: Path) -> None:
    """As reports had them before a manifest's ids were made unique."""
    folders = [report(tmp_path / name, errors) for name, errors in (("a", [1, 2, 6]), ("b", [0, 1, 2]))]
    for folder in folders:
        rows = [
            json.loads(line) | {"id": "same"}
            for line in (folder / "alignments.jsonl").read_text().splitlines()
        ]
        (folder / "alignments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert rates(folders[0])["cer"].value == 0.3
    assert compare(*folders)["cer"].value == 0.2
