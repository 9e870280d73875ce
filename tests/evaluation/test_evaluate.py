import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError
from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.evaluation.evaluate import Heard, evaluate, slices, unseen_share, words_of
from nim4asr.hotwords.hints import Hit
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.model.decoding import DecodingConfig
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.result import Segment, Transcript


class Parrot:
    """A recognizer that says what it was told to."""

    class Model:
        class Config:
            name = "parrot"
            decoding = DecodingConfig()

        config = Config()

    model = Model()
    config = RecognitionConfig()

    def __init__(self, answers: dict[str, tuple[str, str]]) -> None:
        self.answers = answers

    def transcribe(self, source: Any, *, name: str, hotwords: HotwordIndex | None) -> Transcript:
        if name not in self.answers:
            raise InputError(f"{name}: no sound")
        text, phonemes = self.answers[name]
        hits, hints = (), ()
        if hotwords is not None:
            # It hears the text's first character, and is given that and another as hints.
            hits, hints = (Hit(text[:1], 0, 1, 1.0, True, 3, 1.0),), (text[:1], "号")
        segment = Segment(0, 2, text, 1.0, (), tuple(phonemes.split()), hits, hints)
        return Transcript(name, 2.0, (segment,), 1.0)


def utterance(id: str, text: str, language: str) -> Utterance:
    return Utterance(id=id, audio=id, text=text, language=language)


UTTERANCES = [
    utterance("1", "你好。", "zh"),
    utterance("2", "two words", "en"),
    utterance("3", "", "en"),
    utterance("4", "missing", "en"),
]
PARROT: Any = Parrot({"1": ("你号", "n i3 h ao4"), "2": ("two", "T UW"), "3": ("thank you all", "TH")})


def test_the_summary(tmp_path: Path) -> None:
    summary: Any = evaluate(PARROT, UTTERANCES, tmp_path / "report")
    assert summary["languages"]["zh"]["cer"] == 0.5
    assert summary["languages"]["zh"]["phoneme_error_rate"] == 0.25
    assert summary["languages"]["zh"]["wer"] is None
    assert summary["languages"]["en"]["wer"] == (1 + 3) / 2
    assert summary["languages"]["en"]["hallucination_rate"] == 0.5
    assert summary["total"]["utterances"] == 3
    assert summary["total"]["real_time_factor"] == 0.5
    assert "nim4asr-plain-3" in summary["normalization"]
    assert summary["skipped"] == ["4: no sound"]
    assert json.loads((tmp_path / "report/summary.json").read_text()) == summary


def test_alignments_of_every_utterance(tmp_path: Path) -> None:
    evaluate(PARROT, UTTERANCES, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "alignments.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["alignment"] == [["equal", "你", "你"], ["replace", "好", "号"]]
    assert rows[2]["hallucination"] is True


@pytest.mark.parametrize("language", ["zh", "en"])
def test_nothing_to_judge_is_null(language: str) -> None:
    summary: Any = evaluate(PARROT, [utterance("9", "x", language)])
    assert summary["total"]["cer"] is None
    assert summary["total"]["utterances"] == 0


def test_what_became_of_listed_names(tmp_path: Path) -> None:
    index = HotwordIndex()
    index.add([Name("你"), Name("好")])
    plain: Any = evaluate(PARROT, UTTERANCES[:1])
    assert "entity_recall" not in plain["total"]
    summary: Any = evaluate(PARROT, UTTERANCES[:1], tmp_path, hotwords=index)
    expected = {
        "names_said": 2,
        "heard_recall": 0.5,
        "entity_recall": 0.5,
        "hints": 2,
        "hint_precision": 0.5,
        "false_accepts_per_1000": 1000.0,
    }
    assert expected.items() <= summary["total"].items()
    (row,) = [json.loads(line) for line in (tmp_path / "alignments.jsonl").read_text().splitlines()]
    assert (row["hints"], row["hints_used"]) == (["你", "号"], ["你", "号"])
    assert row["hits"][0]["text"] == "你"


def test_a_mean_does_not_hide_who_and_how_long() -> None:
    many = [replace(utterance(str(i), "你好", "zh"), speaker=f"s{i}") for i in range(20)]
    # Two speakers are not understood at all.
    answers: Any = {str(i): ("不对" if i in (3, 7) else "你好", "") for i in range(20)}
    summary: Any = evaluate(Parrot(answers), many)  # type: ignore[arg-type]
    assert summary["slices"]["speaker"] == {
        "best tenth": {"utterances": 2, "errors": 0.0},
        "worst tenth": {"utterances": 2, "errors": 1.0},
    }
    assert summary["slices"]["length"] == {"2 to 5 s": {"utterances": 20, "errors": 0.1}}


def test_slices_by_unseen_words() -> None:
    seen = words_of("我知道 how are you") | words_of("ｋｎｏｗｎ")
    assert seen == {"我知", "知道", "how", "are", "you", "known"}
    assert unseen_share("How are THEY", seen) == pytest.approx(1 / 3)
    assert unseen_share("我不知道", seen) == pytest.approx(2 / 3)
    assert unseen_share("。", seen) == 0.0
    wrong, right = ErrorCount.between(["a"], ["b"]), ErrorCount.between(["a"], ["a"])
    heard = [Heard(1.0, "", right, 0.0), Heard(1.0, "", wrong, 0.2), Heard(1.0, "", wrong, 0.9)]
    found = slices(heard)["unseen words"]
    assert {name: row["errors"] for name, row in found.items()} == {
        "none": 0.0,
        "up to a quarter": 1.0,
        "more": 1.0,
    }
    assert "unseen words" not in slices([Heard(1.0, "", right)])


def test_by_telephone_half_the_bandwidth_is_heard(tmp_path: Path) -> None:
    hiss = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    soundfile.write(tmp_path / "hiss.wav", hiss, SAMPLE_RATE)
    heard: list[Any] = []

    class Ear(Parrot):
        def transcribe(self, source: Any, *, name: str, hotwords: HotwordIndex | None) -> Transcript:
            heard.append(read_audio(source))
            return super().transcribe(source, name=name, hotwords=hotwords)

    ear: Any = Ear({"1": ("hiss", "HH IH S")})
    call = [Utterance("1", str(tmp_path / "hiss.wav"), "hiss", "en")]
    for telephone in (False, True):
        assert evaluate(ear, call, telephone=telephone)["telephone"] is telephone
    wide, narrow = (np.square(np.abs(np.fft.rfft(samples))) for samples in heard)
    assert len(wide) == len(narrow)
    assert (
        narrow[5000:].sum() < 1e-4 * wide[5000:].sum() and narrow[500:3000].sum() > 0.9 * wide[500:3000].sum()
    )


def test_damaged_audio_is_named(tmp_path: Path) -> None:
    class Warned(Parrot):
        def transcribe(self, source: Any, *, name: str, hotwords: HotwordIndex | None) -> Transcript:
            heard = super().transcribe(source, name=name, hotwords=hotwords)
            return replace(heard, warnings=("the file is cut short",) if name == "2" else ())

    warned: Any = Warned(PARROT.answers)
    summary = evaluate(warned, UTTERANCES)
    assert summary["damaged"] == ["2: the file is cut short"]
    assert evaluate(PARROT, UTTERANCES)["damaged"] == []
