"""Texts in Kokoro's symbols."""

import sys

import pytest

from nim4asr.data.synthesis import kokoro
from nim4asr.data.synthesis.programs import available
from nim4asr.errors import InputError


@pytest.mark.skipif(not available(), reason="espeak-ng and flite are not installed")
def test_english_by_espeak() -> None:
    written = kokoro._symbols("My boat, now! The judge's choice: later water.", "en")
    clauses = ["mI bˈOt,", "nˈW!", "ðə ʤˈʌʤᵻz ʧˈYs:", "lˈATəɹ wˈɔTəɹ."]
    assert written == " ".join(clauses)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="espeak-ng is not installed"):
        kokoro._symbols("hello", "en")
    kokoro._chinese.cache_clear()
    monkeypatch.setitem(sys.modules, "misaki.zh", None)
    with pytest.raises(
        InputError, match=r"misaki, which is not installed: pip install 'nim4asr\[synthesis\]'"
    ):
        kokoro._symbols("你好", "zh")
