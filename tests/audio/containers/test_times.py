"""Times are the container's: sound that begins late, pauses, or counts from somewhere else."""

import numpy as np
import pytest

from audio.containers.making import HIGH, LOW, heard, muxed, near, tone
from nim4asr.audio.reading import stream_audio

pytest.importorskip("av")

KINDS = [
    ("webm", "libopus"),
    ("matroska", "aac"),
    ("matroska", "libopus"),
    ("mp4", "aac"),
    ("mov", "pcm_s16le"),
]


# WebM takes pictures that FFmpeg here does not write.
@pytest.mark.parametrize(
    ("format", "codec", "picture_s"),
    [*((*kind, 0.0) for kind in KINDS), *((*kind, 9.0) for kind in KINDS[1:])],
)
def test_a_track_that_begins_late(format: str, codec: str, picture_s: float) -> None:
    data = muxed(format, codec, (5.0, tone(LOW, rate=48_000)), picture_s=picture_s)
    found, warnings, length = heard(data)
    assert near(found, {LOW: (5.0, 6.0)}, 0.1), found
    assert abs(length - 6) < 0.2 and warnings == []


# In QuickTime, samples without a codec follow on one another.
@pytest.mark.parametrize(("format", "codec"), KINDS[:-1])
def test_a_pause_in_the_middle(format: str, codec: str) -> None:
    # A packet may hold a little of what comes next.
    first = np.pad(tone(LOW, rate=48_000), (0, 4_800))
    found, warnings, length = heard(
        muxed(format, codec, (0.0, first), (4.0, np.pad(tone(HIGH, rate=48_000), (4_800, 0))))
    )
    assert near(found, {LOW: (0.0, 1.0), HIGH: (4.1, 5.1)}, 0.1), found
    assert abs(length - 5.1) < 0.2
    assert len(warnings) == 1 and "a gap in one place, at 1.1 seconds; 2.9 seconds" in warnings[0]


def test_times_that_wander_are_not_cut_up() -> None:
    """A recorder whose clock is 0.1 % slow: no gap of its own is long enough to be heard."""
    pieces = [(number * 1.001, tone(LOW, rate=48_000)) for number in range(20)]
    _, warnings, length = heard(muxed("webm", "libopus", *pieces))
    assert warnings == [] and abs(length - 20) < 0.3


def test_a_part_of_something_longer_begins_where_it_begins() -> None:
    found, warnings, length = heard(muxed("webm", "libopus", (20_000.0, tone(LOW, rate=48_000))))
    assert near(found, {LOW: (0.0, 1.0)}, 0.1) and warnings == [] and length < 1.2


def test_times_that_go_back_are_another_beginning() -> None:
    parts = muxed("webm", "libopus", (2.0, tone(LOW, rate=48_000)))
    found, _, length = heard(parts + muxed("webm", "libopus", (2.0, tone(HIGH, rate=48_000))))
    assert near(found, {LOW: (2.0, 3.0), HIGH: (5.0, 6.0)}, 0.1), found
    assert abs(length - 6) < 0.3


def test_absurd_times_do_not_fill_the_memory() -> None:
    """Of a jump of days nothing is believed, of many of half an hour two hours in all."""
    pieces = [tone(LOW, 0.2, rate=48_000)] * 8
    _, warnings, length = heard(muxed("webm", "libopus", (0.0, pieces[0]), (400_000.0, pieces[1])))
    assert length < 2
    often = muxed("webm", "libopus", *((1800.0 * number, piece) for number, piece in enumerate(pieces)))
    length = sum(map(len, stream_audio(often, warnings.append))) / 16_000
    assert 7200 < length < 7210 and "a gap in 7 places" in warnings[-1]
