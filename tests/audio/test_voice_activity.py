import itertools

import numpy as np
import pytest

from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig, cut_speech


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
    config = VoiceActivityConfig(longest=3.0, end_silence=1.0)
    # Without pauses: only the middle of the clip, again and again.
    middle = speech[len(speech) // 3 : 2 * len(speech) // 3]
    samples = np.concatenate([np.tile(middle, 12), quiet(2)])
    found = segments(samples, config)
    assert len(found) > 2
    assert all(segment.end - segment.start <= 3.0 + 1e-6 for segment in found)
    for one, other in itertools.pairwise(found):
        assert other.start <= one.end + 1.5


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"longest": 0.1}, {"end_silence": -1.0}])
def test_contradictions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"threshold|times"):
        VoiceActivityConfig(**wrong)
