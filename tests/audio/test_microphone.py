import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nim4asr.audio.microphone import listen
from nim4asr.errors import InputError


class Device:
    """A capture device that hands over two blocks when it is started."""

    def __init__(self, **options: Any) -> None:
        assert options["sample_rate"] == 16_000 and options["nchannels"] == 1

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def start(self, receiver: Any) -> None:
        receiver.send(b"ab")
        receiver.send(bytearray(b"cd"))


class MiniaudioError(Exception):
    pass


def library(device: Any) -> SimpleNamespace:
    return SimpleNamespace(
        CaptureDevice=device, MiniaudioError=MiniaudioError, SampleFormat=SimpleNamespace(SIGNED16=2)
    )


def test_blocks_come_as_the_device_hands_them_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniaudio", library(Device))
    blocks = listen()
    assert [next(blocks), next(blocks)] == [b"ab", b"cd"]


def test_no_microphone_and_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: Any) -> None:
        raise MiniaudioError("failed to init device", -401)

    monkeypatch.setitem(sys.modules, "miniaudio", library(none))
    with pytest.raises(InputError, match="no microphone can be opened"):
        next(listen())
    monkeypatch.setitem(sys.modules, "miniaudio", None)
    with pytest.raises(InputError, match="pip install"):
        next(listen())
