import json
from dataclasses import replace
from pathlib import Path

import pytest

from nim4asr.evaluation.comparison import Interval
from nim4asr.training.finetuning.report import Judged, Report, finished, here

HALF, THIRD = Interval(0.5, 0.4, 0.6), Interval(0.3333, 0.2, 0.4)
FELL = Interval(-0.1667, -0.2, -0.1)


@pytest.fixture
def report() -> Report:
    judged = Judged(30, {"wer": 0.5}, {"wer": 0.3333}, {"wer": HALF}, {"wer": THIRD}, {"wer": FELL})
    return Report(
        command="c0ffee",
        weights="new",
        forced=False,
        verdict="50.0 % of the tokens were wrong before, 33.3 % are after, better",
        errors={"before": HALF, "after": THIRD, "difference": FELL},
        model="small",
        manifests=("calls.jsonl",),
        replayed=("general.jsonl",),
        hours=1.25,
        recordings=270,
        speakers=9,
        replayed_hours=1.0,
        held_out_by=("speakers",),
        held_out_recordings=30,
        held_out_speakers=1,
        held_out=judged,
        elsewhere=judged,
        left_out=0,
        text_form="plain",
        steps=100,
        passes=4.0,
        batch_seconds=64.0,
        peak_learning_rate=3e-4,
        training_seconds=600.0,
        evidence={},
        guard={},
        notes=("The evidence is old.",),
        **here(),
    )


BASE = """---
license: apache-2.0
language: [zh, en]
other: 3
---
# small

Trained on speech.

```
# no heading
```

## Data
"""


def test_the_card_says_from_what_and_on_what_and_keeps_the_one_before(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path, BASE)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\nlanguage: [zh, en]\n---\n# small, tuned")
    for told in (
        "1.25 hours of speech, 270 recordings of 9 speakers, of calls.jsonl, with general.jsonl replayed",
        "100 steps, 4.0 passes, 10.0 minutes",
        "judged on 30 recordings that it was never trained on: 50.0 % of the tokens",
        "| WER | 50.0 % (40.0 to 60.0) | 33.3 % (20.0 to 40.0) | -16.7 % (-20.0 to -10.0) |",
        "| replayed: WER |",
        "- The evidence is old.",
        "## The model it began as\n\n## small\n\nTrained on speech.\n\n```\n# no heading\n```\n\n### Data\n",
    ):
        assert told in card
    row = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert row["errors"]["before"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert row["held_out"]["differences"]["wer"]["high"] == -0.1 and row["hours"] == 1.25
    found = finished(tmp_path)
    assert found is not None and found["command"] == "c0ffee"


def test_a_copy_of_the_old_weights_says_so(report: Report, tmp_path: Path) -> None:
    replace(report, weights="old", elsewhere=None, replayed=(), notes=()).save(tmp_path, "")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# small, as it was") and "holds the old weights, unchanged" in card
    assert "replayed" not in card and "began as" not in card
    replace(report, forced=True).save(tmp_path, "")
    assert "taken all the same, as asked" in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"command": 3, "weights": "new", "verdict": "", "notes": []}']
)
def test_what_is_no_tuned_model(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    assert finished(tmp_path) is None
