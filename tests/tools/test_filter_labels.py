import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import CLIP_FOLDER
from tools.filter_labels import LabelFilter, main

from nim4asr.data.manifest import read_manifest
from nim4asr.hotwords.search import certain
from nim4asr.phonemes import TABLE, pronounce

SAID = "what do you want to do today"


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        (SAID, 2.0, ""),
        # A word of it is wrong.
        ("what do you want to do sunday", 2.0, ""),
        ("good morning everybody in this room", 2.0, "not in the sound"),
        ("call 911", 2.0, "digits"),
        ("...", 2.0, "no words"),
        ("नमस्ते", 2.0, "no pronunciation"),
        (SAID, 0.9, "too short"),
        (SAID, 13.0, "too short or too long"),
        (SAID, 9.0, "slower"),
    ],
)
def test_a_label_stays_where_the_sound_bears_it_out(text: str, seconds: float, reason: str) -> None:
    found = LabelFilter().reason_against(text, certain(TABLE.encode(pronounce(SAID))), seconds)
    assert reason in found and bool(reason) == bool(found)


def test_posteriors_far_from_the_label_refuse_it() -> None:
    """It can be aligned at a fair price, but nothing of it is on the best path."""
    log_probs = certain(TABLE.encode(pronounce(SAID)))
    other = np.roll(log_probs, 1, axis=1)
    both = np.logaddexp(log_probs + np.log(0.3), other + np.log(0.7)).astype(np.float32)
    assert LabelFilter().reason_against(SAID, both, 2.0) == "too far from what was heard"


def test_it_writes_a_manifest_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for name, text in (("en-1", "what do you want"), ("en-2", "colorless green ideas sleep furiously")):
        shutil.copy(CLIP_FOLDER / f"{name}.flac", tmp_path)
        rows.append({"id": name, "audio": f"{name}.flac", "text": text})
    labels, output = tmp_path / "labels.jsonl", tmp_path / "out" / "kept.jsonl"
    output.parent.mkdir()
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["filter_labels", str(labels), "-o", str(output)])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    (kept,) = read_manifest(output)
    assert (kept.id, kept.text, kept.language, kept.split) == ("en-1", "what do you want", "en", "train")
    assert main() == 0
    assert json.loads(capsys.readouterr().out) == {} and len(list(read_manifest(output))) == 1
