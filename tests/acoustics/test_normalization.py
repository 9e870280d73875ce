import numpy as np
import pytest

from nim4asr.acoustics.normalization import Cmvn


def test_normalization_centres_and_scales() -> None:
    frames = np.random.default_rng(0).normal(5.0, 3.0, (4000, 80)).astype(np.float32)
    cmvn = Cmvn.from_sums(len(frames), frames.sum(0), (frames**2).sum(0))
    assert abs(cmvn(frames).mean()) < 1e-3
    assert abs(cmvn(frames).std() - 1) < 1e-3
    assert cmvn.is_close(cmvn) and not cmvn.is_close(Cmvn.neutral(80))
    np.testing.assert_array_equal(Cmvn.neutral(80)(frames), frames)


def test_normalization_needs_frames() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Cmvn.from_sums(0, np.zeros(80, np.float32), np.zeros(80, np.float32))
