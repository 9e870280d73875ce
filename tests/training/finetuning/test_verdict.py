import json
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.training.finetuning.verdict import judge_weights


def report(folder: Path, chinese: list[int], english: list[int], size: int = 10) -> Path:
    """Utterances with so many errors each, of ``size`` tokens, in each language."""
    folder.mkdir()
    rows = []
    for language, errors in (("zh", chinese), ("en", english)):
        for number, wrong in enumerate(errors):
            count = {"substitutions": wrong, "deletions": 0, "insertions": 0, "reference": size}
            rows.append(
                {"id": f"{language}{number}", "language": language, "errors": count, "phoneme_errors": count}
            )
    (folder / "alignments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


SOME = [4, 5, 3, 6, 4, 5, 2, 7, 4, 5]


@pytest.mark.parametrize(
    ("chinese", "english", "better", "told"),
    [
        # One error fewer everywhere; as many; one more.
        ([n - 1 for n in SOME], SOME, True, "better by more than chance: -5.0 points"),
        (SOME, SOME, False, "no better"),
        ([n + 1 for n in SOME], SOME, False, "worse by more than chance: +5.0 points"),
        # Two errors fewer in one of twenty utterances, or two more.
        ([2, *SOME[1:]], SOME, True, "better, though it may be chance"),
        ([6, *SOME[1:]], SOME, False, "worse, though it may be chance"),
        # Fewer in all, by far, but one language has paid for the other.
        ([0] * 10, [n + 1 for n in SOME], False, "worse in WER by more than chance: +10.0 points"),
    ],
)
def test_weights_are_taken_if_less_is_wrong_and_no_language_pays(
    tmp_path: Path, chinese: list[int], english: list[int], better: bool, told: str
) -> None:
    before = report(tmp_path / "before", SOME, SOME)
    found = judge_weights(before, report(tmp_path / "after", chinese, english))
    assert found.better == better
    assert told in found.sentence and found.sentence.startswith("45.0 % of the tokens were wrong before")
    assert found.difference.value == pytest.approx(found.after.value - found.before.value, abs=2e-4)


def test_few_recordings_tell_little(tmp_path: Path) -> None:
    """Both English ones one word worse, all others much better: no resampling of two knows chance."""
    before = report(tmp_path / "before", [9, 9, 9], [5, 5])
    found = judge_weights(before, report(tmp_path / "after", [1, 1, 1], [6, 6]))
    assert found.better and "better, though 5 recordings tell little: -44.0 points" in found.sentence
    other = judge_weights(before, report(tmp_path / "other", [9, 9, 9], [6, 6]))
    assert not other.better and "worse, though 5 recordings tell little: +4.0 points" in other.sentence


def test_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no words"):
        judge_weights(report(tmp_path / "a", [0, 0], [], 0), report(tmp_path / "b", [0, 0], [], 0))
