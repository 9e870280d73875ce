import itertools

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import (
    Activity,
    Endpointer,
    EndReason,
    Offset,
    Onset,
    SpeechSegment,
    VoiceActivityConfig,
    Voiced,
    cut_speech,
)


def quiet(seconds: float) -> Floats:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def segments(
    samples: Floats, config: VoiceActivityConfig | None = None, block: int = 4000
) -> list[SpeechSegment]:
    blocks = [samples[i : i + block] for i in range(0, len(samples), block)]
    return list(cut_speech(blocks, config))


def test_silence_and_noise_hold_no_speech() -> None:
    noise = (np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE) * 0.05).astype(np.float32)
    assert segments(quiet(5)) == []
    assert segments(noise) == []
    assert segments(quiet(0)) == []


def test_speech_is_found_where_it_is(speech: Floats) -> None:
    samples = np.concatenate([quiet(3), speech, quiet(2), speech, quiet(1)])
    found = segments(samples)
    assert len(found) == 2
    seconds = len(speech) / SAMPLE_RATE
    for segment, start in zip(found, (3.0, 5.0 + seconds), strict=True):
        assert start - 0.3 < segment.start < start + 0.6
        assert start < segment.end < start + seconds + 0.5
        first = round(segment.start * SAMPLE_RATE)
        np.testing.assert_array_equal(segment.samples, samples[first : first + len(segment.samples)])


def test_any_cutting_gives_the_same_segments(speech: Floats) -> None:
    samples = np.concatenate([quiet(1), speech, quiet(2), speech])
    whole = segments(samples, block=len(samples))
    for block in (160, 513, 7777):
        cut = segments(samples, block=block)
        assert [(s.start, s.end) for s in cut] == [(s.start, s.end) for s in whole]


def test_long_speech_is_cut_without_loss(speech: Floats) -> None:
    config = VoiceActivityConfig(max_segment_s=3.0, min_silence_s=1.0)
    # Without pauses: only the middle of the clip, again and again.
    middle = speech[len(speech) // 3 : 2 * len(speech) // 3]
    samples = np.concatenate([np.tile(middle, 12), quiet(2)])
    found = segments(samples, config)
    assert len(found) > 2
    assert all(segment.end - segment.start <= 3.0 + 1e-6 for segment in found)
    for one, other in itertools.pairwise(found):
        assert one.end - 1e-9 <= other.start <= one.end + 1.5
    # What is cut inside speech goes on with the very next sample.
    joined = [one for one, other in itertools.pairwise(found) if abs(other.start - one.end) < 1e-9]
    assert joined


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"max_segment_s": 0.1}, {"min_silence_s": -1.0}, {"split_window_s": 0.0}]
)
def test_contradictions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"threshold|times|split_window_s"):
        VoiceActivityConfig(**wrong)


def listen(samples: Floats, block: int, config: VoiceActivityConfig | None = None) -> list[Activity]:
    endpointer = Endpointer(config)
    found = [a for i in range(0, len(samples), block) for a in endpointer.feed(samples[i : i + block])]
    return found + endpointer.finish()


def handed_on(activities: list[Activity]) -> Floats:
    return np.concatenate([a.samples for a in activities if isinstance(a, Voiced)])


def test_samples_are_handed_on_once_and_in_order(speech: Floats) -> None:
    samples = np.concatenate([quiet(1), speech, quiet(2), speech[:SAMPLE_RATE]])
    live, whole = listen(samples, 320), listen(samples, len(samples))
    assert [a for a in live if not isinstance(a, Voiced)] == [a for a in whole if not isinstance(a, Voiced)]
    np.testing.assert_array_equal(handed_on(live), handed_on(whole))
    marks = [a for a in live if not isinstance(a, Voiced)]
    assert [type(mark) for mark in marks] == [Onset, Offset] * 2
    assert isinstance(marks[1], Offset) and marks[1].reason is EndReason.SILENCE
    assert isinstance(marks[3], Offset) and marks[3].reason is EndReason.END_OF_STREAM
    seconds = sum(end.time - start.time for start, end in zip(marks[::2], marks[1::2], strict=True))
    assert len(handed_on(live)) == round(seconds * SAMPLE_RATE)


def test_speech_is_handed_on_while_it_is_said(speech: Floats) -> None:
    endpointer = Endpointer()
    given, heard = 0, 0
    for start in range(0, len(speech), 512):
        block = speech[start : start + 512]
        heard += len(block)
        given += sum(len(a.samples) for a in endpointer.feed(block) if isinstance(a, Voiced))
    assert given > 0.6 * heard


def test_a_commit_ends_the_segment_at_once(speech: Floats) -> None:
    endpointer = Endpointer()
    assert endpointer.commit() == []
    half = len(speech) // 2
    endpointer.feed(speech[:half])
    *_, end = endpointer.commit()
    assert isinstance(end, Offset) and end.reason is EndReason.COMMIT
    assert end.time <= half / SAMPLE_RATE
    assert endpointer.commit() == []
    # The next segment begins no earlier than this one ended.
    onsets = [a for a in endpointer.feed(speech[half:]) if isinstance(a, Onset)]
    assert onsets and onsets[0].time >= end.time


def test_a_pause_is_held_back_until_speech_goes_on(speech: Floats) -> None:
    config = VoiceActivityConfig(min_silence_s=3.0, speech_pad_s=0.2)
    endpointer = Endpointer(config)
    endpointer.feed(speech)
    pause = [a for a in endpointer.feed(quiet(1.0)) if isinstance(a, Voiced)]
    assert sum(len(a.samples) for a in pause) <= 0.5 * SAMPLE_RATE
    after = endpointer.feed(speech)
    assert not [a for a in after if not isinstance(a, Voiced)]
    assert sum(len(a.samples) for a in after if isinstance(a, Voiced)) > len(speech) + 0.5 * SAMPLE_RATE


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_a_clip_without_silence_at_its_edges_is_heard_whole(speech: Floats, gain: float) -> None:
    (whole,) = segments(speech)
    # A third of a second from the middle of speech, as from a corpus of single words cut at their edges.
    starts = range(4000, len(whole.samples) - 9000, 1600)
    clips = [whole.samples[start : start + 5000] * np.float32(gain) for start in starts]
    loud = [clip for clip in clips if np.abs(clip[:500]).max() > 0.02 * gain < np.abs(clip[-500:]).max()]
    assert len(loud) > 5
    for clip in loud:
        (found,) = segments(clip)
        assert found.start == 0.0 and len(found.samples) == len(clip)


def test_context_is_for_the_detector_alone() -> None:
    endpointer = Endpointer()
    endpointer.feed(quiet(0.3))
    assert endpointer.finish() == []
