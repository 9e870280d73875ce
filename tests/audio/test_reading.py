import io
import os
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.audio import reading
from nim4asr.audio.reading import (
    FileChannels,
    Resampler,
    channels_of,
    from_array,
    of_array,
    read_audio,
    stream_audio,
)
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError


def correlation(a: Floats, b: Floats) -> float:
    """Of the best alignment within 60 ms: lossy codecs delay the sound a little."""
    size = min(len(a), len(b)) - 2000
    return max(float(np.corrcoef(a[1000 : 1000 + size], b[d : d + size])[0, 1]) for d in range(0, 2000, 4))


@pytest.mark.parametrize(
    ("suffix", "format", "subtype", "rate"),
    [
        ("wav", "WAV", "PCM_16", 16_000),
        ("wav", "WAV", "FLOAT", 44_100),
        ("flac", "FLAC", "PCM_24", 48_000),
        ("mp3", "MP3", None, 16_000),
        ("ogg", "OGG", "VORBIS", 22_050),
        ("opus", "OGG", "OPUS", 48_000),
    ],
)
def test_formats(
    tmp_path: Path, tone: Floats, suffix: str, format: str, subtype: str | None, rate: int
) -> None:
    at_rate = np.interp(np.arange(rate) / rate, np.arange(16_000) / 16_000, tone).astype(np.float32)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, at_rate, rate, format=format, subtype=subtype)
    for heard in (read_audio(path), read_audio(path.read_bytes())):
        assert heard.dtype == np.float32
        assert abs(len(heard) - 16_000) < 1_700  # mp3 pads whole frames
        assert correlation(heard, tone) > 0.98


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("webm", "libopus"), ("mp4", "aac")])
def test_containers(tmp_path: Path, tone: Floats, suffix: str, codec: str) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"tone.{suffix}"
    with av.open(str(path), "w") as container:
        wave = np.interp(np.arange(48_000) / 48_000, np.arange(16_000) / 16_000, tone).astype(np.float32)
        encode(container, codec, wave)
    assert correlation(read_audio(path), tone) > 0.97


def test_opus_that_libsndfile_gives_up_on(
    tmp_path: Path, tone: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    path = tmp_path / "tone.opus"
    soundfile.write(path, np.tile(tone, 30), 16_000, format="OGG", subtype="OPUS")
    whole = read_audio(path)
    genuine, calls = soundfile.SoundFile.read, [0]

    def fails_later(self: soundfile.SoundFile, *args: object, **kwargs: object) -> object:
        calls[0] += 1
        if calls[0] == 2:
            raise soundfile.LibsndfileError(3)
        return genuine(self, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", fails_later)
    heard = read_audio(path)
    assert calls[0] == 2
    assert abs(len(heard) - len(whole)) < 100
    assert np.corrcoef(heard[:470_000], whole[:470_000])[0, 1] > 0.99


def test_channels_are_averaged_and_do_not_cancel(tmp_path: Path, tone: Floats) -> None:
    path = tmp_path / "stereo.wav"
    for other, share in ((tone, 1.0), (0 * tone, 0.5), (-tone, 1.0)):
        soundfile.write(path, np.stack([tone, other], 1), 16_000, subtype="FLOAT")
        np.testing.assert_allclose(read_audio(path), share * tone, atol=1e-6)


def test_192_khz_and_8_channels(tmp_path: Path, tone: Floats) -> None:
    path = tmp_path / "studio.wav"
    wave = np.interp(np.arange(192_000) / 192_000, np.arange(16_000) / 16_000, tone)
    soundfile.write(path, np.tile(wave[:, None], (1, 8)), 192_000, subtype="FLOAT")
    heard = read_audio(path)
    assert abs(len(heard) - 16_000) <= 1
    assert correlation(heard, tone) > 0.999


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 8000), max_size=5), rate=st.sampled_from([8000, 16_000, 44_100]))
def test_any_cutting_resamples_alike(cuts: list[int], rate: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
    whole = Resampler(rate).feed(samples, last=True)
    stream = Resampler(rate)
    pieces = np.split(samples, sorted(cuts))
    parts = [stream.feed(p, last=i == len(pieces) - 1) for i, p in enumerate(pieces)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_blocks_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(600_000, np.int16), 16_000)
    blocks = list(stream_audio(path))
    assert max(map(len, blocks)) <= 1 << 18
    assert sum(map(len, blocks)) == 600_000


def wav_bytes(samples: np.ndarray, rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is a letter, not a sound at all", "not audio"),
        (wav_bytes(np.zeros(0, np.float32)), "no samples"),
        (wav_bytes(np.array([0.1, np.nan, 0.2], np.float32)), "NaN"),
        (b"OggS" + bytes(200), "not audio"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "not audio"),
    ],
    ids=["nothing", "text", "no samples", "NaN", "torn Ogg", "torn MP4"],
)
def test_bad_sound_is_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_audio(path)
    assert "bad.wav" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name of the file is empty"):
        read_audio("")
    with pytest.raises(InputError, match="no such file"):
        read_audio(tmp_path / "missing.wav")
    with pytest.raises(InputError, match="folder"):
        read_audio(tmp_path)


@pytest.mark.parametrize("rate", [0, -1, 10, 10_000_000])
def test_absurd_rates(rate: int) -> None:
    with pytest.raises(InputError, match="sample rate"):
        from_array(np.zeros(10, np.float32), rate)


@pytest.mark.parametrize(
    ("format", "subtype", "kept"),
    [("WAV", "PCM_16", 0.5), ("AIFF", "PCM_16", 0.5), ("MP3", None, 0.5), ("OGG", "OPUS", 0.7)],
)
def test_a_file_that_ends_too_early_says_so(
    tone: Floats, format: str, subtype: str | None, kept: float
) -> None:
    buffer, told = io.BytesIO(), list[str]()
    soundfile.write(buffer, np.tile(tone, 12), 16_000, format=format, subtype=subtype)
    whole = buffer.getvalue()
    assert list(stream_audio(whole, told.append)) and told == []
    heard = sum(map(len, stream_audio(whole[: int(kept * len(whole))], told.append))) / 16_000
    assert 2 < heard < 11
    assert len(told) == 1 and "cut short" in told[0] and f"{heard:.1f}" in told[0]


def test_a_length_that_was_not_known_is_no_damage(tone: Floats) -> None:
    buffer, told = io.BytesIO(), list[str]()
    soundfile.write(buffer, tone, 16_000, format="WAV", subtype="PCM_16")
    piped = bytearray(buffer.getvalue())
    # As ffmpeg writes a wav into a pipe.
    piped[4:8] = piped[40:44] = b"\xff\xff\xff\xff"
    assert len(np.concatenate(list(stream_audio(bytes(piped), told.append)))) == 16_000
    assert told == []


def test_a_pipe_is_read_and_a_silent_one_is_not_waited_for_for_ever(
    tmp_path: Path, tone: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PATIENCE", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="nothing came out of this pipe"):
        read_audio(pipe)
    buffer = io.BytesIO()
    soundfile.write(buffer, tone, 16_000, format="WAV")
    monkeypatch.setattr(reading, "_PATIENCE", 20)
    writer = Thread(target=pipe.write_bytes, args=(buffer.getvalue(),))
    writer.start()
    assert len(read_audio(pipe)) == 16_000
    writer.join()
    for device in ("/dev/null", "/dev/zero"):
        with pytest.raises(InputError, match="device"):
            read_audio(device)


@pytest.mark.parametrize("name", ["a\0.wav", "x" * 300 + ".wav", "\ud800.wav", "a.wav/b.wav"])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"no such file|cannot be opened"):
        read_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("rate", "channels"), [(None, 1), ("16000", 1), (16000.0, 1), (16000, 2.0), (16000, 0), (10**9, 1)]
)
def test_rates_and_channels_that_are_none(rate: Any, channels: Any) -> None:
    with pytest.raises(InputError, match=r"sample rate|channels"):
        Resampler(rate, channels)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(files()), "file"))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8), "places"):
        whole[place] = data.draw(st.integers(0, 255), "byte")
    cut = data.draw(st.integers(0, len(whole)), "cut")
    try:
        heard = read_audio(bytes(whole[:cut]))
    except InputError:
        return
    assert np.isfinite(heard).all()


@cache
def files() -> list[bytes]:
    """A tenth of a second in every format."""
    wave = (np.sin(np.arange(1600) / 8) * 0.3).astype(np.float32)
    formats = [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("MP3", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ]
    made = []
    for format, subtype in formats:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 16_000, format=format, subtype=subtype)
        made.append(buffer.getvalue())
    return [*made, *map(container, ("mp4", "webm") if find_spec("av") else ())]


def container(suffix: str) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=suffix) as file:
        wave = (np.sin(np.arange(9600) / 24) * 0.3).astype(np.float32)
        encode(file, "aac" if suffix == "mp4" else "libopus", wave)
    return buffer.getvalue()


def encode(container: Any, codec: str, wave: Floats) -> None:
    """Write samples (N,), 48 kHz, as the sound track of an open container."""
    import av

    stream = container.add_stream(codec, rate=48_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=48_000, frame_size=960)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def test_one_channel_of_several(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    samples = (random.standard_normal((8000, 3)) * 0.1).astype(np.float32)
    path = tmp_path / "three.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    for channel in (1, 2, 3):
        found = np.concatenate(list(stream_audio(path, channel=channel)))
        np.testing.assert_array_equal(found, samples[:, channel - 1])
    assert not np.concatenate(list(stream_audio(path, channel=4))).any()
    assert channels_of(path) == FileChannels(3, False)


def test_channels_that_hold_the_same_sound(tmp_path: Path) -> None:
    sound = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.5
    path = tmp_path / "twice.wav"
    soundfile.write(path, np.stack([sound, sound + 1e-4], axis=1), 16_000, subtype="PCM_16")
    assert channels_of(path) == FileChannels(2, True)
    # At the end alone they differ.
    sound[-10:] = 0
    soundfile.write(path, np.stack([sound, np.roll(sound, 5)], axis=1), 16_000)
    assert channels_of(path) == FileChannels(2, False)
    assert of_array(np.zeros((5, 2), np.int16)) == FileChannels(2, True)
    assert of_array(np.array([[0, 100], [0, 0]], np.int16)) == FileChannels(2, False)
