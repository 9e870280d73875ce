"""What users import: every public name, and one table of ways to misuse it."""

import ast
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nim4asr
from nim4asr import read_audio

CLIP = Path(__file__).parent / "clips/zh-1.flac"


@pytest.mark.parametrize("name", nim4asr.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(nim4asr, name) is not None and name in dir(nim4asr)


def test_types_are_told_where_they_are_defined() -> None:
    """The table of names and what type checkers see agree."""
    tree = ast.parse(Path(nim4asr.__file__).read_text(encoding="utf-8"))
    typing = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("nim4asr.")
        for node in typing.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nim4asr")
        for alias in node.names
    }
    assert {name: seen[name] for name in nim4asr._HOME_OF} == nim4asr._HOME_OF
    with pytest.raises(AttributeError, match="no attribute 'Recogniser'"):
        _ = nim4asr.Recogniser


def test_the_version_is_the_package_s() -> None:
    assert nim4asr.__version__ == version("nim4asr")


def test_a_given_text_is_aligned() -> None:
    found = nim4asr.align(CLIP, "他是中国人。")
    assert [word.shown for word in found.words] == ["他", "是", "中", "国", "人。"]
    samples = nim4asr.align(read_audio(CLIP), "他是中国人。", sample_rate=16_000)
    assert samples.words == found.words
    with pytest.raises(nim4asr.InputError, match="give the rate"):
        nim4asr.align(read_audio(CLIP), "他是中国人。")


def test_importing_costs_nothing() -> None:
    program = "import sys, nim4asr; print([m for m in ('numpy', 'onnxruntime', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_samples_and_their_rate() -> None:
    samples = read_audio(CLIP)
    by_path = nim4asr.transcribe(CLIP)
    assert by_path.text == "他是中国人"
    assert nim4asr.transcribe(samples, sample_rate=16_000).text == by_path.text
    doubled = np.stack([np.repeat(samples, 2)] * 2, axis=1)
    assert nim4asr.transcribe(doubled, sample_rate=32_000).text == by_path.text
    assert nim4asr.load(device="auto").transcribe(CLIP.read_bytes()).text == by_path.text
    assert nim4asr.transcribe(bytearray(CLIP.read_bytes())).text == by_path.text
    assert nim4asr.transcribe(memoryview(CLIP.read_bytes())).text == by_path.text
    assert nim4asr.transcribe(samples.tolist(), sample_rate=16_000).text == by_path.text
    pcm = (samples * 32_767).astype(np.int16)
    assert nim4asr.transcribe(memoryview(pcm), sample_rate=16_000).text == by_path.text
    # Two channels of one voice, the one with its poles exchanged.
    turned = np.stack([samples, -samples], axis=1)
    assert nim4asr.transcribe(turned, sample_rate=16_000).text == by_path.text


WAYS: dict[str, Callable[..., Any]] = {
    "transcribe": lambda **options: nim4asr.transcribe(CLIP, **options),
    "stream": lambda **options: nim4asr.stream(**options),
    "engine": lambda **options: nim4asr.Engine(nim4asr.load().model).open(**options),
    "hint": lambda **options: nim4asr.stream().hint(**options),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hints": ["x"] * 21}, "at most 20 hints"),
        ({"hints": ["\ud800"]}, "no characters"),
        ({"hints": ["x" * 201]}, "are no name"),
        ({"hints": [""]}, "name"),
        ({"hints": "公园"}, r"give \['公园'\]"),
        ({"hints": "one two"}, "a list of names, not one text"),
        ({"hints": b"x"}, "a list of names, not one text"),
        ({"hints": [None]}, "a hint is a name, not None"),
        ({"hints": [["x"]]}, "a hint is a name"),
        ({"hints": 5}, "not int"),
        ({"hotwords": "names.txt"}, "HotwordIndex.load"),
        ({"hotwords": ["x"]}, "HotwordIndex.load"),
    ],
)
def test_bad_hints_are_one_sentence_everywhere(way: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(nim4asr.InputError, match=said):
        WAYS[way](**options)


def test_hints_may_be_any_collection_of_texts() -> None:
    for hints in (["公园"], ("公园",), {"公园": 1}, iter(["公园"]), None, []):
        assert nim4asr.transcribe(CLIP, hints=hints).text  # type: ignore[arg-type]


def test_names_are_no_text() -> None:
    index = nim4asr.HotwordIndex()
    for wrong in ("公园", ["公园"]):
        with pytest.raises(nim4asr.InputError, match="give Name"):
            index.add(wrong)  # type: ignore[arg-type]
    index.add([nim4asr.Name("公园")])
    with pytest.raises(nim4asr.InputError, match="a list of texts"):
        index.remove("公园")
    assert list(index.texts()) == ["公园"]


@pytest.mark.parametrize("way", ["stream", "engine"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_rate": 0}, "rate"),
        ({"sample_rate": 999}, "rate"),
        ({"sample_rate": 10_000_000}, "rate"),
        ({"channels": 0}, "channel"),
        ({"config": nim4asr.StreamingConfig(chunk_s=0.5)}, "multiple of 160 ms"),
    ],
)
def test_bad_streams_are_one_sentence(way: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(nim4asr.InputError, match=said):
        WAYS[way](**options)


def test_bad_sounds_are_one_sentence() -> None:
    samples = np.zeros(16_000, np.float32)
    for wrong, options, said in (
        (samples, {}, "give the rate of the samples"),
        (samples, {"sample_rate": -1}, "rate"),
        (samples * np.nan, {"sample_rate": 16_000}, "NaN"),
        (CLIP, {"sample_rate": 16_000}, "a file says its own sample rate"),
        ("none.wav", {}, "no such file"),
        (b"no sound", {}, "sound|audio"),
        (bytearray(b"no sound"), {}, "sound|audio"),
        (bytes(3200), {"sample_rate": 16_000}, "a file says its own sample rate"),
        (bytearray(3200), {"sample_rate": 16_000}, "a file says its own sample rate"),
        ([1, 2, 3], {"sample_rate": 16_000}, "do not say their scale"),
        (samples + 20_000, {"sample_rate": 16_000}, "float samples lie in"),
    ):
        with pytest.raises(nim4asr.InputError, match=said):
            nim4asr.transcribe(wrong, **options)  # type: ignore[arg-type]
