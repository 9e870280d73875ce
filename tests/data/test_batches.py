from pathlib import Path

import numpy as np
import pytest

from nim4asr.audio.features import SAMPLE_RATE, Cmvn, Floats
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import Collator, Prefetcher, Sampler, Source
from nim4asr.data.store import FeatureStore, Labelled, build_store
from nim4asr.errors import InputError

CMVN = Cmvn(np.zeros(80, np.float32), np.ones(80, np.float32))


def listen(number: int) -> tuple[Labelled, Floats] | None:
    """Item n is n tenths of a second of noise; every tenth item cannot be heard."""
    if number % 10 == 0:
        return None
    samples = np.random.default_rng(number).standard_normal(number * SAMPLE_RATE // 10) * 0.1
    return Labelled(f"u{number}", f"text {number}", "en", (number, 1)), samples.astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    assert build_store(tmp_path / "store", range(5, 45), listen, workers=2) == 36
    return FeatureStore(tmp_path / "store")


def test_a_store_keeps_features_and_labels(store: FeatureStore) -> None:
    from nim4asr.audio.features import log_mel

    entry = store.entries[3]
    assert (entry.id, entry.text, entry.phonemes) == ("u8", "text 8", (8, 1))
    heard = listen(8)
    assert heard is not None
    np.testing.assert_allclose(store.features(entry), log_mel(heard[1]), atol=0.02)
    assert np.isfinite(store.cmvn().mean).all()


def test_a_store_is_built_once(store: FeatureStore, tmp_path: Path) -> None:
    def never(number: int) -> None:
        raise AssertionError

    assert build_store(tmp_path / "store", range(3), never) == 36


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature store"):
        FeatureStore(tmp_path)


def test_batches_hold_their_seconds_and_everything_once(store: FeatureStore) -> None:
    sampler = Sampler([Source(store)], seconds=10.0)
    batches = sampler.epoch(0)
    ids = [entry.id for batch in batches for _, entry in batch]
    assert sorted(ids) == sorted(entry.id for entry in store.entries)
    for batch in batches:
        longest = max(entry.frames for _, entry in batch)
        assert len(batch) == 1 or longest * len(batch) <= 1000


def test_the_step_fixes_the_batch(store: FeatureStore) -> None:
    one, other = (Sampler([Source(store, 1.5)], 10.0, seed=4) for _ in range(2))
    size = len(one.epoch(0))
    steps = [0, size - 1, size, size + 3, 1]
    assert [[e.id for _, e in one.batch(s)] for s in steps] == [
        [e.id for _, e in other.batch(s)] for s in steps
    ]
    assert [e.id for _, e in one.batch(0)] != [e.id for _, e in one.batch(len(one.epoch(0)))]


def test_weights_repeat_and_thin_out(store: FeatureStore) -> None:
    for weight, expected in ((2.0, 72), (0.5, 18), (1.25, 45)):
        batches = Sampler([Source(store, weight)], 10.0).epoch(0)
        assert sum(map(len, batches)) == expected


def test_lengths_bound_what_is_drawn(store: FeatureStore) -> None:
    batches = Sampler([Source(store)], 10.0, shortest=1.0, longest=2.0).epoch(0)
    assert {entry.id for batch in batches for _, entry in batch} <= {f"u{i}" for i in range(10, 22)}


def test_a_batch_is_padded_and_labelled(store: FeatureStore) -> None:
    batch = Collator(CMVN)([(store, store.entries[0]), (store, store.entries[5])], np.random.default_rng(0))
    assert batch.features.shape[:2] == (1, 2)
    assert batch.features[0, 0, batch.lengths[0] :].abs().sum() == 0
    assert batch.targets.tolist() == [5, 1, 11, 1]
    assert batch.target_lengths.tolist() == [2, 2]
    assert batch.seconds == pytest.approx(float(batch.lengths.sum()) / 100)


def test_two_views_differ_and_are_as_long(store: FeatureStore) -> None:
    collator = Collator(CMVN, AugmentationConfig(), views=2)
    batch = collator([(store, e) for e in store.entries[-4:]], np.random.default_rng(0))
    assert batch.features.shape[0] == 2
    assert (batch.features[0] != batch.features[1]).any()


def test_a_share_is_noise_with_nothing_said(store: FeatureStore) -> None:
    noise = np.zeros((100, 80), np.float32)
    collator = Collator(CMVN, AugmentationConfig(), [noise], empty_share=0.5)
    batch = collator([(store, e) for e in store.entries] * 4, np.random.default_rng(0))
    empty = [text == "" for text in batch.texts]
    assert 0.3 < np.mean(empty) < 0.7
    assert [length == 0 for length in batch.target_lengths.tolist()] == empty


def test_prefetching_keeps_order_and_errors() -> None:
    assert list(Prefetcher(iter(range(50)))) == list(range(50))

    def broken() -> object:
        yield 1
        raise InputError("here")

    items = iter(Prefetcher(broken()))
    assert next(items) == 1
    with pytest.raises(InputError, match="here"):
        next(items)


def test_no_utterance_of_such_a_length(store: FeatureStore) -> None:
    with pytest.raises(InputError, match="no utterance of 50 to 60 s"):
        Sampler([Source(store)], 10.0, shortest=50.0, longest=60.0).batch(0)
