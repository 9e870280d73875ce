"""Evidence and guards fitted to a phoneme head."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.evaluation.calibration import (
    GuardCheck,
    check_guard,
    dictionary_names,
    fit_evidence,
    loss,
    names_said,
    regression,
)
from nim4asr.evaluation.retrieval import Spoken
from nim4asr.hotwords.search import certain
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.phonemes import BLANK, TABLE, pronounce
from nim4asr.recognition.guards import sounding_entropy
from nim4asr.recognition.offline import Recognizer

SAID = ["重庆", "北京", "天津", "广州", "香港", "南京", "西安", "武汉", "上海", "中国"]
OTHERS = ["崇庆", "背景", "天经", "光州", "湘江", "难经", "信安", "吴汉", "伤害", "种过", "今天", "天气"]


def test_the_regression_is_the_likeliest() -> None:
    random = np.random.default_rng(0)
    features = np.c_[random.standard_normal((4000, 2)), np.ones(4000)]
    true = np.array([1.5, -0.7, 0.4])
    labels = (random.random(4000) < 1 / (1 + np.exp(-features @ true))).astype(float)
    found = regression(features, labels)
    np.testing.assert_allclose(found, true, atol=0.15)
    best = loss(features, labels, found)
    # No step in any direction is likelier.
    for step in np.r_[np.eye(3), -np.eye(3)] * 0.05:
        assert loss(features, labels, found + step) > best
    # By hand: two rows with odds of 0 and of log 3, the second of which came true.
    two = loss(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]), np.array([math.log(3)]))
    assert two == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


def heard(text: str, random: np.random.Generator) -> Spoken:
    """``text`` by a head that is right but for noise."""
    log_probs = certain(TABLE.encode(pronounce(text)))
    logits = 0.25 * np.maximum(log_probs, -20) + 0.6 * random.standard_normal(log_probs.shape)
    return Spoken(text, (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32))


def test_coefficients_fitted_to_a_head_tell_more_of_it_than_those_of_another() -> None:
    random = np.random.default_rng(1)
    spoken = [heard(f"我去{name}", random) for _ in range(4) for name in SAID]
    useless = EvidenceConfig(gain=0.0, trust=0.0, doubt=0.0, size=0.0, bias=3.0)
    fit = fit_evidence(spoken, [*SAID, *OTHERS], (12, 22), useless)
    assert fit is not None and fit.said == len(SAID) and fit.matches >= 40
    assert fit.loss < fit.loss_apart < fit.loss_before
    # What the old coefficients say of every match: said, with odds of e^3.
    again = fit_evidence(spoken, [*SAID, *OTHERS], (12, 22), fit.config)
    assert again is not None and again.loss_before == pytest.approx(fit.loss, abs=1e-3)
    assert fit_evidence([heard("天气", random)], ["伊斯坦布尔"], (5,), useless) is None


def test_no_coefficient_turns_against_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where those said happened to cost more than those not, cost counts for nothing."""
    random = np.random.default_rng(2)
    rows = []
    for number in range(400):
        said = float(random.random() < 0.5)
        cost = 2 * said + random.random()
        rows.append(
            (4 + 4 * random.random() + said, -3.0 * random.random(), cost, math.log(100), said, number)
        )
    monkeypatch.setattr("nim4asr.evaluation.calibration._matches", lambda *arguments: rows)
    fit = fit_evidence(
        [Spoken("我去重庆", np.zeros((0, len(TABLE)), np.float32))], SAID, (10,), EvidenceConfig()
    )
    assert fit is not None and fit.config.doubt == 0 and fit.config.gain > 0
    assert min(fit.config.trust, fit.config.size) >= 0 and fit.loss < fit.loss_apart < math.log(2)


def test_names_are_of_the_languages_of_the_texts() -> None:
    both = dictionary_names(["我们听音乐", "how are you today"])
    assert {"我们", "音乐", "today"} <= set(both) and "you" not in both
    assert "today" not in dictionary_names(["今天天气很好"]) and "今天" not in dictionary_names(
        ["how are you"]
    )
    spoken = [Spoken(text, np.zeros((0, len(TABLE)), np.float32)) for text in ("今天天气", "好天气")]
    assert names_said(spoken, ["今天", "天气", "明天"]) == 2


def posteriors(entropies: list[float]) -> Floats:
    """A frame of each mean entropy, in nats, over phonemes other than blank; 0 is a frame of blank."""
    rows = np.full((len(entropies), len(TABLE)), 1e-30)
    for row, entropy in zip(rows, entropies, strict=True):
        if entropy == 0:
            row[BLANK] = 1.0
        else:
            count = round(math.exp(entropy))
            row[BLANK + 1 : BLANK + 1 + count] = 1 / count
    return np.log(rows).astype(np.float32)


def test_entropy_is_of_what_is_not_blank() -> None:
    frames, entropy = sounding_entropy(posteriors([0.0, math.log(4), 0.0, math.log(2)]))
    assert frames == 2 and entropy == pytest.approx(math.log(8), abs=1e-4)


def recognizer(outputs: dict[str, list[Floats]], **decoding: Any) -> Recognizer:
    """One whose head hears, of a segment, what ``outputs`` say: whole, or in chunks."""
    from nim4asr.model.decoding import DecodingConfig
    from nim4asr.model.shapes import ChunkScheme

    config = SimpleNamespace(decoding=DecodingConfig(**decoding), chunks=ChunkScheme())

    class Network:
        def encode(self, features: list[int], chunks: ChunkScheme | None) -> list[SimpleNamespace]:
            key = "whole" if chunks is None else "chunks"
            return [SimpleNamespace(log_probs=outputs[key][number]) for number in features]

    model = SimpleNamespace(config=config, network=Network(), frontend=lambda number: number)
    return Recognizer(cast(Any, model))


def test_the_guard_may_lose_no_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    # An utterance is the list of its segments' numbers.
    monkeypatch.setattr(
        "nim4asr.evaluation.calibration.cut_speech",
        lambda blocks, config: [SimpleNamespace(samples=number) for number in blocks[0]],
    )
    low, high, higher = math.log(3), math.log(5), math.log(8)
    outputs = [
        posteriors([low] * 3),
        posteriors([high] * 4),
        posteriors([high] * 30),
        posteriors([0.0] * 5),
        posteriors([low] * 2),
    ]
    chunked = [*outputs[:4], posteriors([higher] * 2)]
    one = recognizer({"whole": outputs, "chunks": chunked}, max_entropy=1.5)

    def check(*utterances: list[int]) -> GuardCheck:
        return check_guard(one, cast(Any, utterances))

    # Short and clear; long; nothing but blank; a breath beside a word.
    assert check([0]) == GuardCheck(1, 1, 0, pytest.approx(low, abs=1e-4))
    assert check([2], [3], []) == GuardCheck(3, 0, 0, 0.0)
    assert check([1, 0]) == GuardCheck(1, 1, 0, pytest.approx(low, abs=1e-4))
    assert check([1, 2]).short == 0
    lost = check([0], [1])
    assert (lost.utterances, lost.short, lost.lost) == (2, 2, 1) and lost.needed == pytest.approx(
        high, abs=1e-4
    )
    # Heard in chunks, the last one could be anything.
    assert check([4]).needed == pytest.approx(higher, abs=1e-4)
    bound = lost.bound(1.5)
    assert high < bound <= high + 0.011 and lost.bound(2.0) == 2.0
    assert check_guard(recognizer({"whole": outputs, "chunks": chunked}), cast(Any, [[1]])).lost == 0


def test_the_bundled_model_loses_no_clip(speech: Floats) -> None:
    pytest.importorskip("onnxruntime")
    found = check_guard(Recognizer.load(), [speech, np.zeros(SAMPLE_RATE, np.float32)])
    assert found == GuardCheck(2, 0, 0, 0.0)
    assert replace(found, needed=1.705).bound(1.7) == 1.71


def test_the_tool_says_what_the_library_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json
    import runpy
    import sys

    clips = Path(__file__).parent.parent / "clips"
    (tmp_path / "names.txt").write_text("中国\n中国人\n知道\n北京\nnothing\n", encoding="utf-8")
    rows = [
        {"audio": str(clips / f"zh-{number}.flac"), "text": text, "language": "zh", "split": split}
        for number, text, split in ((1, "他是中国人", "train"), (2, "我不知道", "train"), (2, "北京", "dev"))
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tool = Path(__file__).parent.parent.parent / "tools/fit_evidence.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["fit", str(tmp_path / "names.txt"), str(tmp_path / "m.jsonl"), "--sizes", "4"]
        )
        runpy.run_path(str(tool), run_name="__main__")
    told = capsys.readouterr().out
    assert told.startswith("2 names said, ") and "in use [1.07, 0.49, 0.24, 0.74, 3.5]" in told
