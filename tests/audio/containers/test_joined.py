"""Files joined by putting one behind the other: all of each is heard, at its place."""

from collections.abc import Callable

import numpy as np
import pytest

from audio.containers.making import HIGH, LOW, MIDDLE, encoded, heard, muxed, near, tone
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError

THREE = {LOW: (0.0, 1.0), MIDDLE: (1.0, 2.0), HIGH: (2.0, 3.0)}


def id3(size: int) -> bytes:
    """An ID3 tag, of which ``size`` bytes are a picture that holds what looks like frames."""
    inside = (b"\xff\xfb\x90\x00" + bytes(100)) * (size // 104 + 1)
    length = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + inside[:size]


def ape(size: int) -> bytes:
    head = (2000).to_bytes(4, "little") + (size + 32).to_bytes(4, "little") + (1).to_bytes(4, "little")
    return (
        b"APETAGEX"
        + head
        + b"\0\0\0\xa0"
        + bytes(8)
        + b"x" * size
        + b"APETAGEX"
        + head
        + b"\0\0\0\x80"
        + bytes(8)
    )


def mp3(samples: Floats, rate: int = 16_000, counted: bool = True, **options: object) -> bytes:
    """An MP3 file; without the frame that ``counted`` the others if told."""
    data = encoded(samples, "MP3", rate=rate, **options)
    if counted:
        return data
    from nim4asr.audio.containers.frames import mpeg_frame

    begin = data.index(b"\xff")
    first = mpeg_frame(data[begin : begin + 4])
    assert first is not None
    is_count = b"Xing" in data[:200] or b"Info" in data[:200]
    return data[begin + first.size :] if is_count else data[begin:]


def stereo(samples: Floats) -> Floats:
    return np.stack([samples, samples], 1)


CASES: dict[str, Callable[[], bytes]] = {
    "mp3": lambda: b"".join(mp3(tone(hz)) for hz in THREE),
    "mp3 without counts": lambda: b"".join(mp3(tone(hz), counted=False) for hz in THREE),
    "mp3 of which one counts its frames": lambda: (
        mp3(tone(LOW)) + mp3(tone(MIDDLE), counted=False) + mp3(tone(HIGH), counted=False)
    ),
    "mp3 of several bit rates": lambda: b"".join(
        mp3(tone(hz, rate=44_100), 44_100, False, compression_level=level, bitrate_mode="CONSTANT")
        for hz, level in zip(THREE, (0.0, 0.99, 0.5), strict=True)
    ),
    "mp3 of several rates": lambda: b"".join(
        mp3(tone(hz, rate=rate), rate) for hz, rate in zip(THREE, (8_000, 44_100, 24_000), strict=True)
    ),
    "mp3 of one and two channels": lambda: mp3(tone(LOW)) + mp3(stereo(tone(MIDDLE))) + mp3(tone(HIGH)),
    "mp3 with tags between": lambda: (
        id3(3000)
        + mp3(tone(LOW))
        + b"TAG".ljust(128, b"\0")
        + id3(200_000)
        + mp3(tone(MIDDLE))
        + ape(500)
        + id3(50)
        + mp3(tone(HIGH))
        + b"TAG+".ljust(227, b"a")
        + b"TAG".ljust(128, b"a")
    ),
    "vorbis": lambda: b"".join(encoded(tone(hz), "OGG", "VORBIS") for hz in THREE),
    "opus": lambda: b"".join(encoded(tone(hz), "OGG", "OPUS") for hz in THREE),
    "vorbis of several rates": lambda: b"".join(
        encoded(tone(hz, rate=rate), "OGG", "VORBIS", rate)
        for hz, rate in zip(THREE, (22_050, 48_000, 16_000), strict=True)
    ),
    "vorbis and opus": lambda: b"".join(
        encoded(tone(hz), "OGG", kind) for hz, kind in zip(THREE, ("OPUS", "VORBIS", "OPUS"), strict=True)
    ),
    "flac": lambda: b"".join(encoded(tone(hz), "FLAC", "PCM_16") for hz in THREE),
    "flac of several rates and channels": lambda: (
        encoded(tone(LOW, rate=44_100), "FLAC", "PCM_24", 44_100)
        + encoded(stereo(tone(MIDDLE)), "FLAC", "PCM_16")
        + encoded(tone(HIGH, rate=8_000), "FLAC", "PCM_16", 8_000)
    ),
    "wav": lambda: b"".join(encoded(tone(hz), "WAV", "PCM_16") for hz in THREE),
    "wav of unknown length": lambda: b"".join(piped(encoded(tone(hz), "WAV", "PCM_16")) for hz in THREE),
    "wav of several rates": lambda: (
        encoded(tone(LOW, rate=44_100), "WAV", "PCM_24", 44_100)
        + encoded(stereo(tone(MIDDLE)), "WAV", "FLOAT")
        + encoded(tone(HIGH, rate=8_000), "WAV", "ULAW", 8_000)
    ),
    "aiff": lambda: b"".join(encoded(tone(hz), "AIFF", "PCM_16") for hz in THREE),
}

# What FFmpeg is needed for.
MORE: dict[str, Callable[[], bytes]] = {
    "ogg flac": lambda: b"".join(muxed("ogg", "flac", (0, tone(hz, rate=48_000))) for hz in THREE),
    "aac": lambda: b"".join(muxed("adts", "aac", (0, tone(hz, rate=48_000))) for hz in THREE),
    "aac of several rates": lambda: b"".join(
        muxed("adts", "aac", (0, tone(hz, rate=rate)), rate=rate)
        for hz, rate in zip(THREE, (16_000, 44_100, 22_050), strict=True)
    ),
    "aac with tags": lambda: b"".join(
        id3(700) + muxed("adts", "aac", (0, tone(hz, rate=48_000))) for hz in THREE
    ),
    "webm": lambda: b"".join(muxed("webm", "libopus", (0, tone(hz, rate=48_000))) for hz in THREE),
    "mp4": lambda: b"".join(muxed("mp4", "aac", (0, tone(hz, rate=48_000))) for hz in THREE),
    "mpeg layer 2": lambda: b"".join(
        muxed("mp2", "mp2", (0, tone(hz, rate=rate)), rate=rate)
        for hz, rate in zip(THREE, (48_000, 44_100, 16_000), strict=True)
    ),
}


def piped(data: bytes) -> bytes:
    """A WAV file as it is written into a pipe, where nobody knows how long it will be."""
    torn = bytearray(data)
    torn[4:8] = torn[40:44] = b"\xff\xff\xff\xff"
    return bytes(torn)


@pytest.mark.parametrize("case", CASES)
def test_all_parts_are_heard(case: str) -> None:
    found, warnings, _ = heard(CASES[case]())
    # Each encoder of lossy audio adds some silence.
    assert near(found, THREE, 0.25) and warnings == [], (found, warnings)


@pytest.mark.parametrize("case", MORE)
def test_all_parts_are_heard_by_ffmpeg(case: str) -> None:
    pytest.importorskip("av")
    found, warnings, _ = heard(MORE[case]())
    assert near(found, THREE, 0.25) and warnings == [], (found, warnings)


JUNK = np.random.default_rng(0).bytes(5_000).replace(b"\xff", b"\xfe")


@pytest.mark.parametrize(
    "data",
    [
        mp3(tone(LOW)),
        mp3(tone(LOW), counted=False),
        encoded(tone(LOW), "OGG", "OPUS"),
        encoded(tone(LOW), "FLAC", "PCM_16"),
        encoded(tone(LOW), "WAV", "PCM_16"),
    ],
    ids=["mp3", "mp3 without a count", "opus", "flac", "wav"],
)
@pytest.mark.parametrize(
    "before",
    [
        id3(3000),
        id3(10) + id3(20_000),
        JUNK,
        bytes(4_097),
        b"HTTP/1.0 200 OK\r\nicy-name: radio\r\n\r\n",
        b"\xff\xfb" * 9,
    ],
    ids=["a tag", "two tags", "noise", "zeros", "a header of HTTP", "what looks like a frame"],
)
def test_junk_before_the_sound_is_passed_over(data: bytes, before: bytes) -> None:
    found, warnings, _ = heard(before + data)
    assert near(found, {LOW: (0.0, 1.0)}, 0.1) and warnings == []


@pytest.mark.parametrize("before", [id3(3000), JUNK], ids=["a tag", "noise"])
@pytest.mark.parametrize(("format", "codec"), [("adts", "aac"), ("webm", "libopus"), ("mp4", "aac")])
def test_junk_before_the_sound_of_containers(before: bytes, format: str, codec: str) -> None:
    pytest.importorskip("av")
    found, warnings, _ = heard(before + muxed(format, codec, (0, tone(LOW, rate=48_000))))
    assert near(found, {LOW: (0.0, 1.0)}, 0.1) and warnings == []


def test_a_count_without_frames_is_no_sound() -> None:
    """An empty first frame, then junk: nothing of it is believed."""
    whole = mp3(tone(LOW))
    begin = whole.index(b"\xff")
    from nim4asr.audio.containers.frames import mpeg_frame

    first = mpeg_frame(whole[begin : begin + 4])
    assert first is not None
    empty = whole[begin : begin + first.size]
    found, _, length = heard(empty + JUNK + whole)
    assert near(found, {LOW: (0.0, 1.0)}, 0.1) and length < 1.3
    with pytest.raises(InputError, match="not audio"):
        heard(empty * 2 + JUNK)
