"""The measuring of aligned times, without a synthesizer."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.recognition.alignment import AlignedWord, Alignment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alignment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "alignment", raising=False)
    import alignment

    return alignment


def test_words_end_where_the_next_one_or_a_pause_begins(
    alignment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word's event, its phonemes, a pause; and an event too many at the end, as espeak-ng tells them."""

    class Library:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: 22_050

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    espeak = alignment.Espeak()
    word, phoneme = 1, 7
    espeak._events = [
        (word, 0.0, ""), (phoneme, 0.012, "h"), (phoneme, 0.238, "oU"), (phoneme, 0.487, "_:"),
        (phoneme, 0.662, "_"), (word, 0.662, ""), (phoneme, 0.675, "D"), (word, 0.781, ""),
        (phoneme, 0.834, "t"), (phoneme, 1.0, "_:"), (word, 1.1, ""), (phoneme, 1.1, "_"),
    ]  # fmt: skip
    assert espeak._times() == [(0.0, 0.487), (0.662, 0.781), (0.781, 1.0)]


def test_errors_are_of_the_words_that_were_found(alignment: Any) -> None:
    one = alignment.Said("a b", np.zeros(SAMPLE_RATE, np.float32), ((0.1, 0.4), (0.4, 0.9)))
    two = alignment.Said("c", np.zeros(SAMPLE_RATE, np.float32), ((0.2, 0.5),))
    samples, text, times = alignment.recording([one, two])
    assert text == "a b\nc" and len(samples) == round((2 + 3 * alignment.PAUSE_S) * SAMPLE_RATE)
    assert times[2] == pytest.approx((2.6, 2.9))
    words = (AlignedWord("a", "a", 0.85, 1.0, 1.0, 0), AlignedWord("c", "c", 2.6, 3.0, 1.0, 4))
    late = alignment.errors(Alignment("", 4.1, text, words, ((0, 2),)), text, times)
    assert late == [pytest.approx((0.05, -0.1)), pytest.approx((0.0, 0.1))]


def test_without_the_library_one_sentence(alignment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(alignment.InputError, match="apt install espeak-ng"):
        alignment.Espeak()
