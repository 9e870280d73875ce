"""Kokoro's voices, with a graph that says its inputs."""

import json
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nim4asr.data.synthesis import kokoro
from nim4asr.data.synthesis.kokoro import Kokoro, KokoroVoice
from nim4asr.errors import InputError

SAMPLES_A_SYMBOL = 600
SYMBOLS = "$ abcdefghijklmnopqrstuvwxyzAIWˈ,"
VOICES = {"af_one": 0.1, "bm_two": 0.3, "zf_three": 0.2, "ef_other": 0.9}


def graph(path: Path) -> None:
    """The ids of the symbols over 100, plus the style's first number, 600 samples each."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["floats"], to=types.FLOAT),
        helper.make_node("Div", ["floats", "hundred"], ["small"]),
        helper.make_node("Slice", ["style", "zero", "one", "one"], ["first"]),
        helper.make_node("Add", ["small", "first"], ["sum"]),
        helper.make_node("Div", ["sum", "speed"], ["divided"]),
        helper.make_node("Unsqueeze", ["divided", "last"], ["column"]),
        helper.make_node("Expand", ["column", "shape"], ["repeated"]),
        helper.make_node("Reshape", ["repeated", "flat"], ["waveform"]),
    ]
    constants = {
        "hundred": np.array(100, np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([2]),
        "shape": np.array([1, 1, SAMPLES_A_SYMBOL]),
        "flat": np.array([-1]),
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "kokoro",
            [
                helper.make_tensor_value_info("input_ids", types.INT64, [1, "n"]),
                helper.make_tensor_value_info("style", types.FLOAT, [1, 256]),
                helper.make_tensor_value_info("speed", types.FLOAT, [1]),
            ],
            [helper.make_tensor_value_info("waveform", types.FLOAT, ["m"])],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kokoro")
    graph(folder / "kokoro.onnx")
    vocabulary = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    (folder / "voices").mkdir()
    for name, level in VOICES.items():
        # A style for each number of symbols: the voice's level, and a hundredth a symbol.
        styles = np.zeros((40, 256), np.float32)
        styles[:, 0] = level + np.arange(40) / 100
        styles.tofile(folder / "voices" / f"{name}.bin")
    return folder


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are their own symbols."""
    monkeypatch.setattr(kokoro, "_symbols", lambda text, language: text)


def test_voices_are_told_by_their_languages(folder: Path) -> None:
    voices = Kokoro(folder)
    assert voices.voices("en") == ["af_one", "bm_two"] and voices.voices("zh") == ["zf_three"]


def test_symbols_style_and_speed_reach_the_graph(folder: Path) -> None:
    samples = Kokoro(folder).synthesize("ab", "en", KokoroVoice("af_one", speed=2.0))
    # Four symbols with the boundaries, 600 samples each at 24 kHz, are 400 each at 16.
    assert len(samples) == 4 * 400
    middles = samples[200::400]
    expected = (np.array([0, SYMBOLS.index("a"), SYMBOLS.index("b"), 0]) / 100 + 0.1 + 0.02) / 2.0
    np.testing.assert_allclose(middles, expected, atol=2e-3)


def test_what_is_no_symbol_is_left_out(folder: Path) -> None:
    voices, voice = Kokoro(folder), KokoroVoice("af_one")
    np.testing.assert_array_equal(voices.synthesize("a9b", "en", voice), voices.synthesize("ab", "en", voice))


def test_two_voices_mixed_are_between_them(folder: Path) -> None:
    voices = Kokoro(folder)
    level = [
        float(voices.synthesize("aaaa", "en", voice)[1200])
        for voice in (
            KokoroVoice("af_one"),
            KokoroVoice("af_one", "bm_two", 0.25),
            KokoroVoice("bm_two"),
        )
    ]
    assert level[1] == pytest.approx(0.75 * level[0] + 0.25 * level[2], abs=1e-4)


def test_voices_are_drawn_in_their_language(folder: Path) -> None:
    voices = Kokoro(folder)
    drawn = [voices.draw_voice("en", Random(seed)) for seed in range(200)]
    assert drawn[:5] == [voices.draw_voice("en", Random(seed)) for seed in range(5)]
    assert 60 < sum(voice.other is not None for voice in drawn) < 140
    assert all(voice.name != voice.other and 0.8 <= voice.speed <= 1.25 for voice in drawn)
    assert {voice.name for voice in drawn} == {"af_one", "bm_two"}
    # Of a language with one voice there is nothing to mix.
    assert all(voices.draw_voice("zh", Random(seed)).other is None for seed in range(20))
    name, samples = voices.say("abc", "zh", Random(1))
    assert name == "zf_three" and len(samples) > 0


@pytest.mark.parametrize(
    ("text", "voice", "message"),
    [
        (" ,", KokoroVoice("af_one"), "nothing in it has a sound"),
        ("a" * 60, KokoroVoice("af_one"), "60 sounds are too many"),
        ("a", KokoroVoice("af_none"), "af_none.bin: the voice cannot be read"),
    ],
)
def test_what_cannot_be_said(folder: Path, text: str, voice: KokoroVoice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Kokoro(folder).synthesize(text, "en", voice)


def test_folders_that_are_no_kokoro(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Kokoro is here"):
        Kokoro(tmp_path)
    (tmp_path / "kokoro.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="no voice of Kokoro"):
        Kokoro(tmp_path)
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices/af_one.bin").write_bytes((folder / "voices/af_one.bin").read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="no symbols of Kokoro"):
        Kokoro(tmp_path).synthesize("a", "en", KokoroVoice("af_one"))
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(InputError, match="the graph cannot be loaded"):
        Kokoro(tmp_path).synthesize("a", "en", KokoroVoice("af_one"))
    with pytest.raises(InputError, match="no voice here for 'zh'"):
        Kokoro(tmp_path).draw_voice("zh", Random(0))


def test_what_is_missing_is_said_before_the_first_text(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kokoro.shutil, "which", lambda program: "/usr/bin/espeak-ng")
    Kokoro(folder).require("en")
    monkeypatch.setattr(kokoro.shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="espeak-ng is not installed"):
        Kokoro(folder).require("en")
    monkeypatch.setitem(sys.modules, "misaki.zh", None)
    kokoro._chinese.cache_clear()
    with pytest.raises(InputError, match="misaki, which is not installed"):
        Kokoro(folder).require("zh")
    (tmp_path / "voices").mkdir()
    for path in ("kokoro.onnx", "tokenizer.json", "voices/af_one.bin"):
        (tmp_path / path).write_bytes((folder / path).read_bytes())
    with pytest.raises(InputError, match="no voice here for 'zh'"):
        Kokoro(tmp_path).require("zh")
    (tmp_path / "voices/af_one.bin").write_bytes(b"no style")
    with pytest.raises(InputError, match=r"af_one.bin: the voice cannot be read"):
        Kokoro(tmp_path).require("en")
