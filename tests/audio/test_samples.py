"""Which arrays are taken for sound, on which scale, and which are refused: the table of the module."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.audio.samples import LOUDEST, Floats, Resampler, as_array, from_array
from nim4asr.errors import InputError

ROWS = re.findall(
    r"^\| (.+?) \| (taken|refused)",
    (Path(__file__).parents[2] / "docs/audio.md").read_text(encoding="utf-8").partition("## Arrays")[2],
    re.MULTILINE,
)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (kind, verdict)
        for kinds, verdict in ROWS
        for kind in re.findall(r"`(\w+)`", kinds)
        if "that holds" not in kinds
    ],
)
def test_the_table_in_the_docs(kind: str, verdict: str) -> None:
    given = (np.zeros(16_000) + (128 if kind == "uint8" else 0)).astype(kind)
    if verdict == "taken":
        assert not from_array(given, 16_000).any()
    else:
        with pytest.raises(InputError):
            from_array(given, 16_000)


def test_the_table_in_the_docs_has_every_type() -> None:
    kinds = {kind for row, _ in ROWS for kind in re.findall(r"`(\w+)`", row)}
    sizes = ("8", "16", "32", "64")
    assert kinds == {
        *(f"int{n}" for n in sizes),
        *(f"uint{n}" for n in sizes),
        "bool",
        "complex128",
        "object",
    } | {f"float{n}" for n in sizes[1:]}


@pytest.fixture
def pcm(tone: Floats) -> Any:
    return np.round(tone * 32_767).astype(np.int16)


# From floats (N,) in [-1, 1]: the same sound in another type.
TAKEN: dict[str, Callable[[Floats], Any]] = {
    "float16": lambda tone: tone.astype(np.float16),
    "float32": lambda tone: tone,
    "float64": lambda tone: tone.astype(np.float64),
    "big-endian floats": lambda tone: tone.astype(">f4"),
    "a list of floats": lambda tone: tone.tolist(),
    "int8": lambda tone: (tone * 127).round().astype(np.int8),
    "int16": lambda tone: (tone * 32_767).round().astype(np.int16),
    "big-endian int16": lambda tone: (tone * 32_767).round().astype(">i2"),
    "int32": lambda tone: (tone.astype(np.float64) * (2**31 - 1)).round().astype(np.int32),
    "uint8": lambda tone: (tone * 127 + 128).round().astype(np.uint8),
    "one column": lambda tone: tone[:, None],
    "every other": lambda tone: np.repeat(tone, 2)[::2],
    "a view of 16-bit memory": lambda tone: memoryview((tone * 32_767).round().astype(np.int16)),
    "overload": lambda tone: np.concatenate([tone, [5.0]]),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken(case: str, tone: Floats) -> None:
    heard = from_array(TAKEN[case](tone), 16_000)
    assert heard.dtype == np.float32 and heard.ndim == 1
    np.testing.assert_allclose(heard[: len(tone)], tone, atol=0.01)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int64": (lambda pcm: pcm.astype(np.int64), "do not say their scale"),
    "uint64": (lambda pcm: (pcm.astype(np.int64) + 2**15).astype(np.uint64), "do not say their scale"),
    "uint16": (lambda pcm: pcm.view(np.uint16), "do not say their scale"),
    "uint32": (lambda pcm: (pcm.astype(np.int64) + 2**15).astype(np.uint32), "do not say their scale"),
    "a list of whole numbers": (lambda pcm: pcm.tolist(), "do not say their scale"),
    "a tuple of whole numbers": (lambda pcm: tuple(pcm.tolist()), "do not say their scale"),
    "lists of two channels": (lambda pcm: np.stack([pcm, pcm], 1).tolist(), "do not say their scale"),
    "int32 with 16-bit numbers": (lambda pcm: pcm.astype(np.int32), "give 16-bit samples as int16"),
    "floats with 16-bit numbers": (lambda pcm: pcm.astype(np.float32), r"lie in \[-1, 1\]"),
    "doubles with 16-bit numbers": (lambda pcm: pcm.astype(np.float64), r"lie in \[-1, 1\]"),
    "floats with 8-bit numbers": (lambda pcm: pcm.astype(np.float32) / 256, r"lie in \[-1, 1\]"),
    "a list of floats with them": (lambda pcm: pcm.astype(float).tolist(), r"lie in \[-1, 1\]"),
    "bytes": (lambda pcm: pcm.tobytes(), "bytes do not say"),
    "a bytearray": (lambda pcm: bytearray(pcm.tobytes()), "bytes do not say"),
    "memory of bytes": (lambda pcm: memoryview(pcm.tobytes()), "bytes do not say"),
    "channels first": (lambda pcm: np.stack([pcm, pcm]), "transpose them"),
    "many channels first": (lambda pcm: np.zeros((8, 1000), np.int16), "transpose them"),
    "booleans": (lambda pcm: pcm > 0, "no sound"),
    "complex numbers": (lambda pcm: pcm.astype(complex), "no sound"),
    "text": (lambda pcm: ["a", "b"], "no sound"),
    "nothing": (lambda pcm: None, "shape"),
    "objects": (lambda pcm: [None, None], "no sound"),
    "rows of different lengths": (lambda pcm: [[0.1], [0.1, 0.2]], "no samples"),
    "not a number": (lambda pcm: np.array([0.1, np.nan]), "NaN"),
    "infinity": (lambda pcm: np.array([0.1, -np.inf]), "NaN or infinite"),
    "beyond float32": (lambda pcm: [1e300], "NaN or infinite"),
    "dates": (lambda pcm: np.zeros(9, "M8[s]"), "no sound"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, pcm: Any) -> None:
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as error:
        from_array(make(pcm), 16_000)
    assert "\n" not in str(error.value)


def test_silence_is_taken_on_every_scale() -> None:
    for kind in (np.int8, np.int16, np.int32, np.float32):
        assert not from_array(np.zeros(1600, kind), 16_000).any()
    # The least noise of a converter of 24 bits.
    assert len(from_array(np.full(1600, 200, np.int32), 16_000)) == 1600


def test_tensors(tone: Floats) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(tone.copy())
    np.testing.assert_array_equal(from_array(tensor, 16_000), tone)
    for wrong, message in (
        (tensor.clone().requires_grad_(), "grad"),
        (tensor.to(torch.bfloat16), "no samples"),
        (tensor.to_sparse(), "no samples"),
        ((tensor * 32_767).round().to(torch.int64), "do not say their scale"),
        (tensor[None], "transpose"),
    ):
        with pytest.raises(InputError, match=message):
            from_array(wrong, 16_000)


def test_whatever_an_object_raises_is_told() -> None:
    class Odd:
        def __array__(self, dtype: object = None, copy: object = None) -> Any:
            raise KeyError("on another device")

    with pytest.raises(InputError, match="on another device"):
        as_array(Odd())


def test_streams_refuse_what_arrays_are_refused_for(pcm: Any) -> None:
    resampler = Resampler(8_000)
    for wrong in (pcm.astype(np.int64), pcm.tolist(), pcm.astype(np.float32), pcm.view(np.uint16)):
        with pytest.raises(InputError):
            resampler.feed(wrong)
    assert len(resampler.feed(pcm, last=True))


def test_a_float_file_on_another_scale_is_refused(pcm: Any) -> None:
    import io

    import soundfile

    from nim4asr.audio.reading import read_audio

    file = io.BytesIO()
    soundfile.write(file, np.pad(pcm, (100_000, 0)).astype(np.float32), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(InputError, match=r"float samples lie in \[-1, 1\]"):
        read_audio(file.getvalue())
    assert pcm.max() > 32 * LOUDEST


SAME, TURNED = np.array([1.0, 1.0]), np.array([1.0, -1.0])


@pytest.mark.parametrize(
    ("channels", "least"),
    [
        (SAME, 0.99),
        (TURNED, 0.99),
        (TURNED * [1.0, 0.8], 0.8),
        (np.array([1.0, 0.0]), 0.49),
        (np.array([1.0, -1.0, 1.0, -1.0]), 0.99),
        (np.array([1.0, -1.0, 0.0]), 0.6),
    ],
    ids=["in phase", "out of phase", "and of other levels", "one silent", "four", "three"],
)
def test_channels_do_not_cancel(channels: Any, least: float, tone: Floats) -> None:
    for rate in (8_000, 16_000, 44_100):
        wave = np.interp(np.arange(rate) / rate, np.arange(16_000) / 16_000, tone).astype(np.float32)
        heard = from_array((wave[:, None] * channels).astype(np.float32), rate)
        assert heard.std() > (least - 0.02) * tone.std()


def test_the_mean_of_unrelated_channels_is_their_mean() -> None:
    sound = np.random.default_rng(0).standard_normal((32_000, 6)).astype(np.float32) * 0.1
    np.testing.assert_allclose(from_array(sound, 16_000), sound.mean(axis=1), atol=1e-6)
    assert not from_array(np.zeros((1600, 2), np.float32), 16_000).any()


def test_channels_that_change_their_phase(tone: Floats) -> None:
    """In phase, then not, then again: no more than a window of 20 ms is lost at each change."""
    sound = np.concatenate([tone[:, None] * SAME, tone[:, None] * TURNED, tone[:, None] * SAME])
    heard = from_array(sound.astype(np.float32), 16_000)
    assert heard.std() > 0.97 * tone.std()


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 8000), max_size=6), rate=st.sampled_from([8000, 16_000, 44_100]))
def test_any_cutting_of_channels_gives_the_same(cuts: list[int], rate: int) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (8000, 1)).astype(np.float32)
    samples = np.concatenate([noise[:3000] * [1, -1], noise[3000:] * [1, 0.9]]).astype(np.float32)
    whole = Resampler(rate, 2).feed(samples, last=True)
    stream = Resampler(rate, 2)
    pieces = np.split(samples, sorted(cuts))
    parts = [stream.feed(piece, last=number == len(pieces) - 1) for number, piece in enumerate(pieces)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
