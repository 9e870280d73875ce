import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nim4asr.acoustics.clock import FrameClock
from nim4asr.acoustics.frontend import Frontend
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import Collator, Prefetcher, SampledUtterance, Sampler, WeightedCorpus
from nim4asr.data.store import FeatureStore, LabeledUtterance, LeftOut, build_store
from nim4asr.errors import InputError

FRONTEND = Frontend(KaldiFeatures(), Cmvn.neutral(80), FrameClock(100, 4, 3))


def listen(number: int) -> tuple[LabeledUtterance, Floats] | LeftOut:
    """Item n is n tenths of a second of noise; every tenth item cannot be heard."""
    if number % 10 == 0:
        return LeftOut(f"u{number}", "it cannot be heard")
    samples = np.random.default_rng(number).standard_normal(number * SAMPLE_RATE // 10) * 0.1
    return LabeledUtterance(f"u{number}", f"text {number}", "en", (number, 1)), samples.astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    assert build_store(tmp_path / "store", range(5, 45), listen, KaldiFeatures(), workers=1) == 36
    return FeatureStore(tmp_path / "store")


def test_a_store_keeps_features_and_labels(store: FeatureStore) -> None:
    from nim4asr.acoustics.frontend import features_of
    from nim4asr.acoustics.kaldi import KaldiFeatures

    entry = store.utterances[3]
    assert (entry.id, entry.text, entry.phonemes) == ("u8", "text 8", (8, 1))
    heard = listen(8)
    assert not isinstance(heard, LeftOut)
    np.testing.assert_allclose(store.features(entry), features_of(heard[1], KaldiFeatures()), atol=0.02)
    assert np.isfinite(store.cmvn().mean).all()


def test_a_store_lists_what_it_left_out(store: FeatureStore, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "store/left-out.jsonl").read_text().splitlines()]
    assert rows == [{"id": f"u{n}", "reason": "it cannot be heard"} for n in (10, 20, 30, 40)]


def test_a_store_is_built_once(store: FeatureStore, tmp_path: Path) -> None:
    before = (tmp_path / "store/features.f16").stat()
    assert build_store(tmp_path / "store", range(5, 45), listen, KaldiFeatures(), workers=1) == 36
    assert (tmp_path / "store/features.f16").stat().st_ino == before.st_ino


def test_a_store_of_something_else_is_built_again(store: FeatureStore, tmp_path: Path) -> None:
    def otherwise(number: int) -> tuple[LabeledUtterance, Floats] | LeftOut:
        return LeftOut(str(number), "never") if number < 40 else listen(number)

    folder = tmp_path / "store"
    # A manifest that has grown; one of which a line has changed; and another way to make features of it.
    assert build_store(folder, range(5, 47), listen, KaldiFeatures(), workers=1) == 38
    assert build_store(folder, [5, 6, 8], listen, KaldiFeatures(), workers=1) == 3
    assert build_store(folder, [5, 6, 9], listen, KaldiFeatures(), workers=1) == 3
    assert [one.id for one in FeatureStore(folder).utterances] == ["u5", "u6", "u9"]
    assert (
        build_store(
            folder, [5, 6, 9], listen, KaldiFeatures(), workers=1, key=lambda number: f"other {number}"
        )
        == 3
    )
    assert build_store(folder, [5, 6, 41], otherwise, KaldiFeatures(), workers=1) == 1
    # Whoever has it open goes on with what there was.
    assert store.features(store.utterances[3]).any()


def test_a_store_of_before_is_kept_while_its_number_is_right(store: FeatureStore, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    (folder / "made-of.txt").unlink()
    before = (folder / "features.f16").stat().st_ino
    assert build_store(folder, range(5, 45), listen, KaldiFeatures(), workers=1) == 36
    assert (folder / "features.f16").stat().st_ino == before
    assert build_store(folder, range(5, 46), listen, KaldiFeatures(), workers=1) == 37


def test_a_store_that_could_not_be_made_again_is_none(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(number: int) -> LeftOut:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(tmp_path / "store", range(3), broken, KaldiFeatures(), workers=1)
    with pytest.raises(InputError, match="no feature store"):
        FeatureStore(tmp_path / "store")


def test_processes_make_the_same_store(store: FeatureStore, tmp_path: Path) -> None:
    build_store(tmp_path / "again", range(5, 45), listen, KaldiFeatures(), workers=2)
    again = FeatureStore(tmp_path / "again")
    assert again.utterances == store.utterances
    assert all((again.features(one) == store.features(one)).all() for one in store.utterances)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature store"):
        FeatureStore(tmp_path)


def test_utterances_may_cost_more_than_they_last(store: FeatureStore) -> None:
    sampler = Sampler([WeightedCorpus(store)], batch_seconds=10.0, utterance_cost_s=2.0)
    batches = sampler.epoch(0)
    assert sum(map(len, batches)) == len(store.utterances)
    for batch in batches:
        longest = max(drawn.utterance.frames for drawn in batch) / 100
        assert len(batch) == 1 or (longest + 2.0) * len(batch) <= 10.0
    # Of words of half a second and more, four at the most; by their length alone it would be many more.
    free = Sampler([WeightedCorpus(store)], batch_seconds=10.0).epoch(0)
    assert max(map(len, batches)) <= 4 < max(map(len, free))


def test_batches_hold_their_seconds_and_everything_once(store: FeatureStore) -> None:
    sampler = Sampler([WeightedCorpus(store)], batch_seconds=10.0)
    batches = sampler.epoch(0)
    ids = [drawn.utterance.id for batch in batches for drawn in batch]
    assert sorted(ids) == sorted(entry.id for entry in store.utterances)
    for batch in batches:
        longest = max(drawn.utterance.frames for drawn in batch)
        assert len(batch) == 1 or longest * len(batch) <= 1000


def test_the_step_fixes_the_batch(store: FeatureStore) -> None:
    one, other = (Sampler([WeightedCorpus(store, 1.5)], 10.0, seed=4) for _ in range(2))
    size = len(one.epoch(0))
    steps = [0, size - 1, size, size + 3, 1]
    assert [[drawn.utterance.id for drawn in one.batch(s)] for s in steps] == [
        [drawn.utterance.id for drawn in other.batch(s)] for s in steps
    ]
    assert one.batch(0) != one.batch(len(one.epoch(0)))


def test_weights_repeat_and_thin_out(store: FeatureStore) -> None:
    for weight, expected in ((2.0, 72), (0.5, 18), (1.25, 45)):
        batches = Sampler([WeightedCorpus(store, weight)], 10.0).epoch(0)
        assert sum(map(len, batches)) == expected


def test_long_utterances_come_more_often(store: FeatureStore) -> None:
    batches = Sampler([WeightedCorpus(store)], 10.0, long_s=2.0, long_weight=2.5).epoch(0)
    counts = Counter(drawn.utterance.id for batch in batches for drawn in batch)
    frames = {entry.id: entry.frames for entry in store.utterances}
    assert {count for id_, count in counts.items() if frames[id_] < 200} == {1}
    long = [count for id_, count in counts.items() if frames[id_] >= 200]
    assert set(long) == {2, 3} and np.mean(long) == pytest.approx(2.5, abs=0.05)


def test_no_draw_of_an_utterance_repeats_its_augmentation(store: FeatureStore) -> None:
    """Over two epochs with each utterance drawn twice in both, every turn is another."""
    sampler = Sampler([WeightedCorpus(store, 2.0)], 10.0)
    turns: dict[str, list[int]] = {}
    for epoch in range(2):
        for batch in sampler.epoch(epoch):
            for drawn in batch:
                turns.setdefault(drawn.utterance.id, []).append(drawn.repetition)
    assert all(sorted(one) == [0, 1, 2, 3] for one in turns.values())


def test_augmentation_depends_on_the_sample_and_its_turn_alone(store: FeatureStore) -> None:
    collator = Collator(FRONTEND, AugmentationConfig(), [np.zeros((200, 80), np.float32)])
    one, other = store.utterances[20], store.utterances[10]
    alone = collator([SampledUtterance(store, one, 3)])
    among = collator([SampledUtterance(store, other, 1), SampledUtterance(store, one, 3)])
    length = int(alone.lengths[0])
    assert int(among.lengths[1]) == length
    assert torch.equal(alone.features[0, 0], among.features[0, 1, :length])
    again = collator([SampledUtterance(store, one, 4)])
    assert again.features.shape != alone.features.shape or not torch.equal(again.features, alone.features)


def test_lengths_bound_what_is_drawn(store: FeatureStore) -> None:
    batches = Sampler([WeightedCorpus(store)], 10.0, min_s=1.0, max_s=2.0).epoch(0)
    assert {drawn.utterance.id for batch in batches for drawn in batch} <= {f"u{i}" for i in range(10, 22)}


def test_a_batch_is_padded_and_labeled(store: FeatureStore) -> None:
    batch = Collator(FRONTEND)(
        [SampledUtterance(store, store.utterances[0]), SampledUtterance(store, store.utterances[5])]
    )
    assert batch.features.shape[:2] == (1, 2)
    assert batch.features[0, 0, batch.lengths[0] :].abs().sum() == 0
    assert batch.targets.tolist() == [5, 1, 11, 1]
    assert batch.target_lengths.tolist() == [2, 2]
    assert batch.seconds == pytest.approx(float(batch.lengths.sum()) / 100)


def test_two_views_differ_and_are_as_long(store: FeatureStore) -> None:
    collator = Collator(FRONTEND, AugmentationConfig(), views=2)
    batch = collator([SampledUtterance(store, e) for e in store.utterances[-4:]])
    assert batch.features.shape[0] == 2
    assert (batch.features[0] != batch.features[1]).any()


def test_a_share_is_noise_with_nothing_said(store: FeatureStore) -> None:
    noise = np.zeros((100, 80), np.float32)
    collator = Collator(FRONTEND, AugmentationConfig(), [noise], empty_share=0.5)
    batch = collator([SampledUtterance(store, e, turn) for e in store.utterances for turn in range(4)])
    empty = [text == "" for text in batch.texts]
    assert 0.3 < np.mean(empty) < 0.7
    assert [length == 0 for length in batch.target_lengths.tolist()] == empty


def test_noise_alone_is_played_at_many_speeds(store: FeatureStore) -> None:
    # A tone in one band: where it lies tells the speed.
    noise = np.full((4000, 80), KaldiFeatures.silence, np.float32)
    noise[:, 40] = 10.0
    drawn = [SampledUtterance(store, e, turn) for e in store.utterances for turn in range(10)]

    def bands(config: AugmentationConfig) -> set[int]:
        batch = Collator(FRONTEND, config, [noise], empty_share=1.0)(drawn)
        return {
            int(row[:length].mean(0).argmax())
            for row, length in zip(batch.features[0], batch.lengths, strict=True)
        }

    plain = AugmentationConfig(frequency_masks=0, time_masks_per_second=0.0)
    assert bands(plain) == {40}
    varied = bands(replace(plain, noise_speeds=(0.5, 2.0)))
    assert min(varied) < 28 and max(varied) > 52 and len(varied) > 15


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
        Sampler([WeightedCorpus(store)], 10.0, min_s=50.0, max_s=60.0).batch(0)


def test_a_store_keeps_texts_with_line_separators(tmp_path: Path) -> None:
    build_store(tmp_path, ["你\u2028好", "a\x85b"], labeled, KaldiFeatures(), workers=1)
    assert [entry.text for entry in FeatureStore(tmp_path).utterances] == ["你\u2028好", "a\x85b"]


def labeled(text: str) -> tuple[LabeledUtterance, Floats]:
    return LabeledUtterance(text, text, "zh", (1,)), np.zeros(1600, np.float32)
