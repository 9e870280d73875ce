import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nim4asr.hotwords import kernels
from nim4asr.hotwords.index import WALKING, WEIGHING, HotwordIndex, warm_up
from nim4asr.hotwords.kernels import Kernels
from nim4asr.hotwords.names import Name
from nim4asr.phonemes import TABLE


def twice(value: int) -> int:
    return 2 * value


def four_times(value: int) -> int:
    return twice(twice(value))


def test_compiled_functions_call_one_another() -> None:
    own = Kernels(twice, four_times)
    own._on_disk = False
    assert own("four_times", 3) == 12 and "_compiled" not in own.__dict__
    own.compile_now = True
    assert own("four_times", 3) == 12
    assert own._compiled["four_times"].signatures  # type: ignore[attr-defined]


def test_they_are_interpreted_for_as_long_as_compiling_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(kernels.time, "perf_counter", lambda: next(clock))
    own = Kernels(twice)
    own._on_disk = False
    for _ in range(4):
        own("twice", 1)
        assert "_compiled" not in own.__dict__
    own("twice", 1)
    assert "_compiled" in own.__dict__


def test_without_numba_they_are_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    own = Kernels(twice)
    own.compile_now = True
    assert own("twice", 1) == 2 and "_compiled" not in own.__dict__


def test_without_a_place_on_disk_they_are_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a read-only installation without a home folder."""
    caching = pytest.importorskip("numba.core.caching")
    # Its name differs between versions.
    kept = getattr(caching, "CacheImpl", None) or caching._CacheImpl
    monkeypatch.setattr(kept, "_locator_classes", [])
    own = Kernels(twice, four_times)
    # What was compiled before cannot be read either: who has little to search for does not wait for more.
    own._on_disk = True
    assert own("four_times", 3) == 12 and "_compiled" not in own.__dict__
    own.compile_now = True
    assert own("four_times", 3) == 12 and "_compiled" in own.__dict__


def test_a_disk_that_is_full_when_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    caching = pytest.importorskip("numba.core.caching")

    def full(self: object, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", full)
    own = Kernels(twice, four_times)
    own.compile_now = True
    monkeypatch.setattr(caching.IndexDataCacheFile, "load", lambda self, key: None)
    assert own("four_times", 3) == 12 and own("four_times", 4) == 16


@pytest.mark.parametrize("seed", range(4))
def test_compiled_and_interpreted_find_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    index = HotwordIndex()
    index.add(Name(text) for text in ("北京", "北京大学", "上海市", "清华", "the wind", "weather", "whether"))
    # Peaked posteriors of random phonemes, the names' own among them.
    logits = random.standard_normal((120, len(TABLE)))
    logits[:, 0] += random.choice([3.0, 12.0], 120)
    for place, text in ((10, ["b", "ei3", "j", "ing1"]), (60, ["W", "EH", "DH", "ER"])):
        for step, phoneme in enumerate(TABLE.encode(text)):
            logits[place + 2 * step] = 0
            logits[place + 2 * step, phoneme] = 9
    log_probs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    found = []
    for installed in (True, False):
        for one in (WALKING, WEIGHING):
            monkeypatch.setitem(one.__dict__, "_installed", installed)
            monkeypatch.setattr(one, "compile_now", installed)
        found.append(index.search(log_probs, 0.04))
    assert [hit.text for hit in found[0]] and len(found[0]) == len(found[1])
    for compiled, interpreted in zip(*found, strict=True):
        assert (compiled.text, compiled.start, compiled.end) == (
            interpreted.text,
            interpreted.start,
            interpreted.end,
        )
        assert compiled.evidence == pytest.approx(interpreted.evidence, abs=1e-4)
        assert compiled.score == pytest.approx(interpreted.score, abs=1e-5)


def test_warming_up_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (WALKING, WEIGHING):
        monkeypatch.setattr(one, "compile_now", False)
    warm_up()
    assert all(one.compile_now and "_compiled" in one.__dict__ for one in (WALKING, WEIGHING))


def test_warming_up_without_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", none)
    warm_up()


def test_the_first_search_waits_for_no_compiler(tmp_path: Path) -> None:
    """In a process without numba, and where nothing was compiled: the same hits."""
    program = """
import sys
sys.modules["numba"] = None
import importlib.util
from nim4asr.hotwords import kernels
kernels.find_spec = lambda name: None
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.recognition.offline import Recognizer
index = HotwordIndex()
index.add([Name("中国人"), Name("上海市")])
segments = Recognizer.load().transcribe("tests/clips/zh-1.flac", hotwords=index).segments
print([hit.text for hit in segments[0].hits])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "['中国人']\n")
