"""Files damaged in a place or cut: what is left is heard at its time, and the user is told of the rest."""

import io
import warnings as python_warnings
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from audio.containers.making import HIGH, LOW, MIDDLE, encoded, heard, muxed, near, tone
from audio.containers.test_joined import id3, mp3, piped
from nim4asr.audio.reading import read_audio, stream_audio
from nim4asr.errors import InputError

# The place to be damaged is in the middle, between the two others.
SOUND = np.concatenate(
    [tone(LOW), np.zeros(8_000, np.float32), tone(MIDDLE), np.zeros(8_000, np.float32), tone(HIGH)]
)
THERE = {LOW: (0.0, 1.0), HIGH: (3.0, 4.0)}


def wide(samples: np.ndarray) -> np.ndarray:
    """At 48 kHz, as FFmpeg's encoders want it."""
    return np.interp(np.arange(3 * len(samples)) / 3, np.arange(len(samples)), samples).astype(np.float32)


def noise(rate: int = 16_000) -> np.ndarray:
    """So that a coder has as much to write of each second."""
    count = len(SOUND) * rate // 16_000
    return (0.01 * np.random.default_rng(0).standard_normal(count)).astype(np.float32)


FILES: dict[str, Callable[[], bytes]] = {
    "mp3": lambda: mp3(SOUND + noise()),
    "mp3 without a count": lambda: mp3(SOUND + noise(), counted=False),
    "vorbis": lambda: encoded(SOUND + noise(), "OGG", "VORBIS"),
    "flac": lambda: encoded(SOUND + noise(), "FLAC", "PCM_16"),
}
MORE: dict[str, Callable[[], bytes]] = {
    "aac": lambda: muxed("adts", "aac", (0, wide(SOUND) + noise(48_000))),
    "mp4": lambda: muxed("mp4", "aac", (0, wide(SOUND) + noise(48_000))),
    # Of a cluster, the rest is lost with what is damaged.
    "webm": lambda: muxed("webm", "libopus", (0, wide(SOUND) + noise(48_000)), cluster_time_limit="250"),
    "mkv": lambda: muxed("matroska", "flac", (0, wide(SOUND) + noise(48_000)), cluster_time_limit="250"),
    "ogg flac": lambda: muxed("ogg", "flac", (0, wide(SOUND) + noise(48_000))),
}
DAMAGE: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "noise": lambda size: np.random.default_rng(1).bytes(size),
    "ones": lambda size: b"\xff" * size,
}


def damaged(data: bytes, by: Callable[[int], bytes], share: float = 0.08) -> bytes:
    """``data`` with a stretch in its middle that is something else."""
    begin = max(0, data.find(b"mdat"))
    middle, size = begin + (len(data) - begin) // 2, round(share * len(data))
    return data[: middle - size // 2] + by(size) + data[middle + size - size // 2 :]


def is_heard(data: bytes) -> None:
    found, warnings, length = heard(data)
    found.pop(MIDDLE, None)
    assert near(found, THERE, 0.25), found
    assert 3.7 < length < 4.5
    assert len(warnings) == 1 and "damaged or has a gap in one place, at" in warnings[0], warnings


@pytest.mark.parametrize("by", DAMAGE)
@pytest.mark.parametrize("case", FILES)
def test_one_damaged_place_costs_no_more_than_itself(case: str, by: str) -> None:
    is_heard(damaged(FILES[case](), DAMAGE[by]))


@pytest.mark.parametrize("by", DAMAGE)
@pytest.mark.parametrize("case", MORE)
def test_one_damaged_place_in_a_container(case: str, by: str) -> None:
    pytest.importorskip("av")
    is_heard(damaged(MORE[case](), DAMAGE[by]))


def test_ten_damaged_places() -> None:
    data = bytearray(encoded(np.tile(SOUND, 5) + np.tile(noise(), 5), "FLAC", "PCM_16"))
    for place in range(len(data) // 20, len(data), len(data) // 10):
        data[place : place + 40] = bytes(40)
    warnings: list[str] = []
    samples = np.concatenate(list(stream_audio(bytes(data), warnings.append)))
    assert len(samples) == 5 * len(SOUND)
    assert len(warnings) == 1 and "in 10 places" in warnings[0]


def test_what_flac_decodes_stays_at_its_sample() -> None:
    """Its frames say their place, so it is known exactly."""
    sound = SOUND + noise()
    data = damaged(encoded(sound, "FLAC", "PCM_24"), bytes, 0.01)
    samples = read_audio(data)
    assert len(samples) == len(sound)
    right = np.abs(samples - sound) < 1e-5
    wrong = np.nonzero(~right)[0]
    assert 0 < len(wrong) <= 3 * 4096 and 0.4 < wrong.mean() / len(sound) < 0.6


def test_pages_of_ogg_that_are_missing_are_silence() -> None:
    sound = np.concatenate([tone(LOW, 7), tone(HIGH)])
    for kind in ("VORBIS", "OPUS"):
        data = encoded(sound, "OGG", kind)
        pages = [place for place in range(len(data)) if data[place : place + 4] == b"OggS"]
        middle = len(pages) // 2
        found, warnings, length = heard(data[: pages[middle]] + data[pages[middle + 1] :])
        assert abs(found[LOW][1] - 7) < 0.1 and near({HIGH: found[HIGH]}, {HIGH: (7, 8)}, 0.1), found
        assert abs(length - 8) < 0.05 and len(warnings) == 1 and "one place" in warnings[0]


def test_a_frame_that_is_torn_where_another_file_begins() -> None:
    first, second = mp3(tone(LOW)), id3(30_000) + mp3(tone(HIGH))
    found, warnings, length = heard(first[:-30] + second)
    assert near(found, {LOW: (0, 1), HIGH: (1, 2)}, 0.25) and length < 2.3
    assert len(warnings) <= 1


@pytest.mark.parametrize(
    "data",
    [
        encoded(tone(LOW, 20), "WAV", "IMA_ADPCM"),
        encoded(tone(LOW, 20), "WAV", "MS_ADPCM"),
        encoded(tone(LOW, 20), "WAV", "ULAW"),
        piped(encoded(tone(LOW, 20), "WAV", "PCM_16")),
        encoded(tone(LOW, 20), "AIFF", "PCM_16"),
        encoded(tone(LOW, 20), "AU", "PCM_16"),
        mp3(np.pad(tone(LOW, 2), (0, 160_000)), counted=False, bitrate_mode="VARIABLE"),
        mp3(tone(LOW, 20)) + bytes(5_000),
        mp3(tone(LOW, 20)) + id3(9_000),
        encoded(tone(LOW, 20), "WAV", "PCM_16") + b"LIST\x04\0\0\0abcd",
        encoded(tone(LOW, 20), "WAV", "PCM_16") + bytes(3_000),
        encoded(tone(LOW, 20), "FLAC", "PCM_16") + b"TAG".ljust(128),
    ],
    ids=[
        *("IMA ADPCM", "MS ADPCM", "mu-law", "of unknown length", "aiff", "au", "VBR without a count"),
        *("padded mp3", "a tag behind", "a chunk behind", "padded wav", "a tag behind flac"),
    ],
)  # fmt: skip
def test_whole_files_are_not_called_cut_short(data: bytes) -> None:
    assert heard(data)[1] == []


def test_a_wrong_size_of_the_whole_does_not_matter() -> None:
    data = bytearray(encoded(tone(LOW, 5), "WAV", "PCM_16"))
    data[4:8] = (len(data) + 90_000).to_bytes(4, "little")
    _, warnings, length = heard(bytes(data))
    assert warnings == [] and length == 5


@pytest.mark.parametrize(("format", "codec"), [("webm", "libopus"), ("matroska", "aac"), ("mp4", "aac")])
def test_containers_that_end_too_early(format: str, codec: str) -> None:
    pytest.importorskip("av")
    whole = muxed(format, codec, (0, wide(SOUND) + noise(48_000)))
    if format == "mp4":
        # The index of samples must come first, or nothing can be read at all.
        with pytest.raises(InputError, match="not audio"):
            read_audio(whole[: len(whole) // 2])
        return
    found, warnings, length = heard(whole[: len(whole) // 2])
    assert LOW in found and length < 3
    assert len(warnings) == 1 and "cut short" in warnings[0]
    assert heard(whole)[1] == []


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """libmpg123 would, of counts that are wrong and of what is between frames."""
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        for data in (
            mp3(tone(LOW)) + id3(5_000) + mp3(tone(HIGH)),
            bytes(99) + mp3(SOUND)[:4_000] + b"\xff" * 99,
        ):
            read_audio(data)
    assert capfd.readouterr() == ("", "")


def test_a_reader_stops_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    genuine = soundfile.SoundFile.close
    monkeypatch.setattr(soundfile.SoundFile, "close", lambda self: (closed.append(True), genuine(self)))
    blocks = stream_audio(encoded(np.tile(SOUND, 20), "FLAC", "PCM_16"))
    assert len(next(block for block in blocks if len(block)))
    blocks.close()  # type: ignore[attr-defined]
    assert closed


def test_looking_for_sound_can_be_stopped_too() -> None:
    """Megabytes in which there is none give empty blocks, so that whoever asks may cease."""
    data = mp3(tone(LOW)) + np.random.default_rng(2).bytes(8 << 20)
    sizes = [len(block) for block in stream_audio(data)]
    assert sizes.count(0) >= 8
    for nothing in (bytes(8 << 20), np.random.default_rng(2).bytes(4 << 20)):
        with pytest.raises(InputError, match="not audio"):
            read_audio(nothing)


def test_a_file_that_shrinks_while_it_is_read() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return (
                super().read(size)[: max(0, 40_000 - self.tell())]
                if self.tell() > 40_000
                else super().read(size)
            )

    from nim4asr.audio.containers.signatures import sounds

    assert sum(1 for _ in sounds(Shrinking(encoded(SOUND, "FLAC", "PCM_16")))) > 0
