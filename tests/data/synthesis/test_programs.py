from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.data.preparation import prepare_synthetic, read_texts
from nim4asr.data.store import FeatureStore
from nim4asr.data.synthesis.programs import Voice, _as_pinyin, available, draw_voice, synthesize
from nim4asr.errors import InputError

needs_synthesizers = pytest.mark.skipif(not available(), reason="espeak-ng and flite are not installed")


def test_voices_are_drawn_alike_from_alike_generators() -> None:
    for language in ("zh", "en"):
        assert draw_voice(language, Random(3)) == draw_voice(language, Random(3))
    drawn = Counter(draw_voice("en", Random(i)).program for i in range(400))
    assert 140 < drawn["flite"] < 260
    assert all(draw_voice("zh", Random(i)).name.startswith("cmn") for i in range(20))
    assert len({draw_voice("zh", Random(i)).name for i in range(200)}) > 30


def test_chinese_is_said_as_pinyin() -> None:
    assert _as_pinyin("银行").split() == ["yin2", "hang2"]
    assert "," in _as_pinyin("你好，世界")


def test_a_missing_synthesizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not available()
    with pytest.raises(InputError, match="espeak-ng is not installed"):
        synthesize("hello", Voice("espeak-ng", "en-us"))


@needs_synthesizers
@pytest.mark.parametrize(
    ("text", "voice"),
    [("hello world", Voice("flite", "slt")), ("你好世界", Voice("espeak-ng", "cmn-latn-pinyin+f1"))],
)
def test_speech_comes_out(text: str, voice: Voice) -> None:
    samples = synthesize(text, voice)
    assert 0.4 < len(samples) / 16_000 < 3
    assert np.abs(samples).max() == pytest.approx(0.5, abs=1e-3)
    faster = synthesize(text, Voice(voice.program, voice.name, 210))
    assert len(faster) < len(samples)


@needs_synthesizers
def test_a_store_of_synthetic_speech_leaves_out_what_cannot_be_said(tmp_path: Path) -> None:
    texts = [("hello", "en"), ("你好", "zh"), ("Щ", "en"), ("。", "zh")]
    assert prepare_synthetic(texts, tmp_path / "store", KaldiFeatures(), seed=1) == 2
    assert [entry.text for entry in FeatureStore(tmp_path / "store").utterances] == ["hello", "你好"]


def test_texts_are_lines_gzipped_or_not(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.txt").write_text("one\n\n two \n", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("你好\n".encode()))
    assert read_texts(tmp_path / "a.txt") == ["one", "two"]
    assert read_texts(tmp_path / "a.txt.gz") == ["你好"]
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    for name, message in (("none.txt", "no such"), ("bad.gz", "cannot be read")):
        with pytest.raises(InputError, match=message):
            read_texts(tmp_path / name)
