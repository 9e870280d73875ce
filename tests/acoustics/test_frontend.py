import numpy as np
import pytest

from nim4asr.acoustics.clock import FrameClock
from nim4asr.acoustics.frontend import (
    FeatureConfig,
    Frontend,
    features_from_row,
    features_of,
    features_to_row,
)
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.acoustics.whisper import WhisperFeatures

KINDS: list[FeatureConfig] = [
    KaldiFeatures(),
    KaldiFeatures(40),
    WhisperFeatures(),
    WhisperFeatures(128, 0.5),
]


@pytest.mark.parametrize("features", KINDS)
def test_streamed_or_whole_the_normalized_features_are_the_same(features: FeatureConfig) -> None:
    random = np.random.default_rng(0)
    bins = features.bins
    cmvn = Cmvn(random.normal(5, 1, bins).astype(np.float32), random.uniform(0.5, 2, bins).astype(np.float32))
    frontend = Frontend(features, features.normalization or cmvn, FrameClock(100, 4, 3))
    samples = (random.standard_normal(4000) * 0.1).astype(np.float32)
    stream = frontend.stream()
    streamed = [stream.feed(samples[:1234]), stream.feed(samples[1234:]), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(streamed), frontend(samples))
    np.testing.assert_array_equal(frontend(samples), frontend.normalization(features_of(samples, features)))
    assert frontend.nothing.shape == (0, bins)


@pytest.mark.parametrize("features", KINDS)
def test_kinds_survive_json(features: FeatureConfig) -> None:
    assert features_from_row(features_to_row(features)) == features


def test_no_kind_is_kaldi_s_and_an_unknown_one_is_refused() -> None:
    assert features_from_row({"bins": 80}) == KaldiFeatures()
    with pytest.raises(ValueError, match="no features of the kind 'mfcc'"):
        features_from_row({"kind": "mfcc"})
