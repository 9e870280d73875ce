"""Configurations and results go to other processes, are copied, and become plain rows."""

import copy
import dataclasses
import importlib
import json
import pickle
import pkgutil
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import nim4asr
from nim4asr.recipes import nano, nim4_2b3

CLIP = Path(__file__).parent / "clips/zh-1.flac"


def configurations() -> list[type[Any]]:
    """Every dataclass named so that can be made without arguments."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(nim4asr.__path__, "nim4asr."):
        if module.name.endswith(("vllm_worker", "__main__")):
            continue
        try:
            names = vars(importlib.import_module(module.name))
        except ImportError:
            continue
        for name, kind in names.items():
            if name.endswith("Config") and dataclasses.is_dataclass(kind) and isinstance(kind, type):
                found[f"{kind.__module__}.{name}"] = kind
    return [kind for _, kind in sorted(found.items())]


def is_without_arguments(kind: type[Any]) -> bool:
    return all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )


def assert_portable(thing: Any) -> None:
    assert pickle.loads(pickle.dumps(thing)) == thing
    assert copy.deepcopy(thing) == thing and copy.copy(thing) == thing
    assert dataclasses.replace(thing) == thing
    assert dataclasses.asdict(thing)


CONFIGURATIONS = [kind for kind in configurations() if is_without_arguments(kind)]


@pytest.mark.parametrize("kind", CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_configurations(kind: type[Any]) -> None:
    assert_portable(kind())


def test_they_are_all_there() -> None:
    names = {kind.__name__ for kind in CONFIGURATIONS}
    public = {"DecodingConfig", "HintConfig", "RecognitionConfig", "StreamingConfig", "VoiceActivityConfig"}
    assert public <= names and len(names) > 10


@pytest.mark.parametrize("bias", [{"city": 1.0}, MappingProxyType({"city": 1.0})])
def test_a_bias_by_category(bias: Any) -> None:
    hints = nim4asr.HintConfig(category_bias=bias)
    assert_portable(nim4asr.StreamingConfig(hints=hints))
    assert_portable(nim4asr.RecognitionConfig(hints=hints))
    json.dumps(dataclasses.asdict(hints))
    if isinstance(bias, dict):
        # The caller's own is not the configuration's.
        bias["city"] = 2.0
    assert hints.category_bias == {"city": 1.0}


def test_results() -> None:
    index = nim4asr.HotwordIndex()
    index.add([nim4asr.Name("中国人")])
    transcript = nim4asr.transcribe(CLIP, hotwords=index)
    assert transcript.segments[0].hits
    assert_portable(transcript)
    for name in ("Partial", "Final", "SpeechStarted", "SpeechEnded"):
        assert dataclasses.is_dataclass(getattr(nim4asr, name))
    assert_portable(nim4asr.Final(1.0, transcript.segments[0]))
    assert_portable(nim4asr.Name("中国人", weight=2.0))


def test_recipes(tmp_path: Path) -> None:
    for recipe in (nano.recipe(tmp_path), nano.longer(tmp_path), nim4_2b3.network()):
        assert pickle.loads(pickle.dumps(recipe)) == recipe and copy.deepcopy(recipe) == recipe
