import copy
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator

from nim4asr.acoustics.frontend import Frontend
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data import frames
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import Collator, SampledUtterance
from nim4asr.data.corpus import CorpusUtterance
from nim4asr.data.frames import FrameCollator, FrameSource, FrameStore, build_frames, drop_frames
from nim4asr.data.store import FeatureStore, LabeledUtterance, build_store
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.shapes import ChunkScheme

CPU = torch.device("cpu")
NOISE = np.random.default_rng(9).standard_normal((300, 80)).astype(np.float32)


def listen(number: int) -> tuple[LabeledUtterance, Floats]:
    """Item n is n fifths of a second of noise."""
    samples = np.random.default_rng(number).standard_normal(number * SAMPLE_RATE // 5) * 0.1
    labels = LabeledUtterance(f"u{number}", f"Text {number}", "en", (number, 1))
    return labels, samples.astype(np.float32)


@pytest.fixture
def corpora(tmp_path: Path) -> list[FeatureStore]:
    for name, items in (("one", range(4, 12)), ("other", range(3, 7))):
        build_store(tmp_path / name, items, listen, KaldiFeatures(), workers=1)
    return [FeatureStore(tmp_path / name) for name in ("one", "other")]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_SHARD", 5)


@pytest.fixture
def source(toy_checkpoint: Checkpoint, corpora: list[FeatureStore]) -> FrameSource:
    network = copy.deepcopy(toy_checkpoint.network)
    frontend = network.config.frontend(toy_checkpoint.normalization)
    collator = Collator(frontend, AugmentationConfig(), [NOISE], seed=3)
    return FrameSource(network.encoder, collator, corpora, (None, ChunkScheme(4, 2)), 0.7, 2.0)


def everything(source: FrameSource) -> list[SampledUtterance]:
    """Each utterance that is stored, in each view."""
    return [
        SampledUtterance(corpus, one, view)
        for corpus in source.corpora
        for one in corpus.utterances
        for view in range(2)
        if 70 <= one.frames <= 200
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_stored_is_what_the_encoder_makes_of_each_augmentation(
    source: FrameSource, tmp_path: Path
) -> None:
    store = build_frames(tmp_path / "frames", source, CPU)
    drawn = everything(source)
    # Shorter and longer ones are left out: 3 fifths, and none over 2 s but one.
    assert len(drawn) == 2 * (7 + 3)
    for one in drawn:
        batch = source.collator([one])
        with torch.no_grad():
            expected, _ = source.encoder(batch.features[0], batch.lengths, source.chunks[one.repetition])
        found = store.frames(one)
        assert found is not None and not found[1]
        count = source.collator.frontend.clock.output_length(int(batch.lengths[0]))
        np.testing.assert_allclose(found[0], expected[0, :count], atol=2e-3)
    # A third time it is the first's turn.
    again = store.frames(drawn[0]._replace(repetition=2))
    assert again is not None
    np.testing.assert_array_equal(again[0], store.frames(drawn[0])[0])  # type: ignore[index]
    left_out = next(one for one in source.corpora[0].utterances if one.frames > 200)
    assert store.frames(SampledUtterance(source.corpora[0], left_out)) is None


def test_work_that_was_cut_goes_on_with_the_first_shard_that_is_missing(
    source: FrameSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_frames(tmp_path / "whole", source, CPU)
    heard = count_calls(source, monkeypatch, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        build_frames(tmp_path / "cut", source, CPU)
    with pytest.raises(InputError, match="no such store of frames"):
        FrameStore(tmp_path / "cut" / source.key, source.corpora)
    kept = files(tmp_path / "cut")
    assert sorted(Path(name).name for name in kept) == [
        "00000.f16",
        "00000.jsonl",
        "00001.f16",
        "00001.jsonl",
    ]
    heard.clear()
    monkeypatch.undo()
    monkeypatch.setattr(frames, "_SHARD", 5)
    heard = count_calls(source, monkeypatch)
    build_frames(tmp_path / "cut", source, CPU)
    # Two corpora, of seven and three utterances, twice: shards of 5, 2 and 3.
    assert len(heard) == 4 and files(tmp_path / "cut") == files(tmp_path / "whole")
    heard.clear()
    build_frames(tmp_path / "cut", source, CPU)
    assert not heard


def count_calls(
    source: FrameSource, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None
) -> list[int]:
    """The sizes of the batches that the encoder hears from now on; the run is cut in one of them."""
    heard: list[int] = []
    forward = source.encoder.forward

    def listening(features: torch.Tensor, *rest: Any) -> Any:
        heard.append(len(features))
        if len(heard) == stop_at:
            raise KeyboardInterrupt
        return forward(features, *rest)

    monkeypatch.setattr(source.encoder, "forward", listening)
    return heard


def test_a_full_disk_leaves_what_is_whole(
    source: FrameSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = frames.write_json_lines

    def full(path: Path, rows: Any) -> None:
        if path.name == "00001.jsonl":
            raise InputError(f"{path}: cannot be written (No space left on device)")
        write(path, rows)

    monkeypatch.setattr(frames, "write_json_lines", full)
    with pytest.raises(InputError, match="No space left"):
        build_frames(tmp_path / "frames", source, CPU)
    monkeypatch.setattr(frames, "write_json_lines", write)
    build_frames(tmp_path / "frames", source, CPU)
    build_frames(tmp_path / "whole", source, CPU)
    assert files(tmp_path / "frames") == files(tmp_path / "whole")


def with_collator(**changes: Any) -> Callable[[FrameSource], FrameSource]:
    return lambda source: replace(source, collator=replace(source.collator, **changes))


def other_weights(source: FrameSource) -> FrameSource:
    encoder = copy.deepcopy(source.encoder)
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] += 1e-6
    return replace(source, encoder=encoder)


def other_normalization(source: FrameSource) -> FrameSource:
    given = source.collator.frontend
    cmvn = Cmvn(np.full(80, 8.01, np.float32), np.full(80, 0.2, np.float32))
    frontend = Frontend(given.features, cmvn, given.clock)
    return replace(source, collator=replace(source.collator, frontend=frontend))


def other_corpus(**changes: Any) -> Callable[[FrameSource], FrameSource]:
    def change(source: FrameSource) -> FrameSource:
        first = copy.copy(source.corpora[0])
        vars(first).update({name: make(first) for name, make in changes.items()})
        return replace(source, corpora=[first, *source.corpora[1:]])

    return change


class Varied(FeatureStore):
    """A corpus that varies its features by settings of its own."""

    variation = {"speed": 1.1}  # noqa: RUF012


def other_variation(source: FrameSource) -> FrameSource:
    varied = copy.copy(source.corpora[0])
    varied.__class__ = Varied
    return replace(source, corpora=[varied, *source.corpora[1:]])


def other_shape(source: FrameSource) -> FrameSource:
    """The same weights, which attend in fewer heads."""
    encoder = copy.deepcopy(source.encoder)
    encoder.config = replace(encoder.config, heads=1)
    return replace(source, encoder=encoder)


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        other_shape,
        other_variation,
        other_corpus(utterances=lambda corpus: [corpus.utterances[0]]),
        other_corpus(utterances=lambda corpus: [replace(one, phonemes=(9,)) for one in corpus.utterances]),
        other_corpus(utterances=lambda corpus: [replace(one, id="x" + one.id) for one in corpus.utterances]),
        other_normalization,
        with_collator(seed=4),
        with_collator(augmentation=None),
        with_collator(augmentation=AugmentationConfig(level_db=5.0)),
        with_collator(noises=[NOISE[1:]]),
        with_collator(empty_share=0.1),
        with_collator(more_time_masks=2.0),
        lambda source: replace(source, chunks=(None, ChunkScheme(4, 3))),
        lambda source: replace(source, chunks=(None,)),
        lambda source: replace(source, corpora=source.corpora[:1]),
        lambda source: replace(source, max_s=1.9),
        lambda source: replace(source, min_s=0.8),
    ],
)
def test_frames_of_anything_else_have_another_key(
    source: FrameSource, change: Callable[[FrameSource], FrameSource]
) -> None:
    assert change(source).key != source.key


def test_frames_of_another_key_are_never_read(source: FrameSource, tmp_path: Path) -> None:
    other = other_weights(source)
    build_frames(tmp_path / "frames", source, CPU)
    with pytest.raises(InputError, match="no such store of frames"):
        FrameStore(tmp_path / "frames" / other.key, other.corpora)
    build_frames(tmp_path / "frames", other, CPU)
    # The stale ones would only fill the disk.
    assert [path.name for path in (tmp_path / "frames").iterdir()] == [other.key]


def test_the_key_is_of_what_was_computed_and_nothing_else(source: FrameSource) -> None:
    again = replace(source, encoder=copy.deepcopy(source.encoder).train())
    assert again.key == source.key
    assert with_collator(text=str.lower, skipped=Path("elsewhere"))(source).key == source.key


@pytest.mark.parametrize("damage", ["cut", "index", "row", "done"])
def test_damage_is_told(source: FrameSource, tmp_path: Path, damage: str) -> None:
    build_frames(tmp_path, source, CPU)
    own = tmp_path / source.key
    if damage == "cut":
        data = (own / "00001.f16").read_bytes()
        (own / "00001.f16").write_bytes(data[:-2])
    elif damage == "index":
        (own / "00001.jsonl").write_text("{")
    elif damage == "row":
        row = {"corpus": 7, "row": 0, "view": 0, "frames": 1, "empty": False}
        (own / "00001.jsonl").write_text(json.dumps(row) + "\n")
    else:
        (own / "frames.json").write_text('{"dim": 16}')
    with pytest.raises(InputError, match=r"damaged .*; delete the folder"):
        FrameStore(own, source.corpora)


def test_noise_takes_the_place_of_some(source: FrameSource, tmp_path: Path) -> None:
    noisy = with_collator(empty_share=0.5)(source)
    collate = FrameCollator(build_frames(tmp_path, noisy, CPU), str.lower)
    for one in everything(noisy):
        expected, batch = noisy.collator([one]), collate([one])
        assert batch.texts == tuple(map(str.lower, expected.texts))
        assert batch.targets.tolist() == expected.targets.tolist()
    texts = [collate([one]).texts[0] for one in everything(noisy)]
    assert "" in texts and any(texts)


def test_a_batch_is_padded_and_labeled(source: FrameSource, tmp_path: Path) -> None:
    store = build_frames(tmp_path, source, CPU)
    drawn = everything(source)[:6:2]
    # As data workers get it: nothing mapped is sent along.
    store.frames(drawn[0])
    collate, drawn = pickle.loads(pickle.dumps((FrameCollator(store, str.upper), drawn)))
    batch = collate(drawn)
    found = [collate.store.frames(one)[0] for one in drawn]
    assert batch.lengths.tolist() == [len(rows) for rows in found] and batch.frames.dtype == torch.float32
    for row, rows in zip(batch.frames, found, strict=True):
        np.testing.assert_array_equal(row[: len(rows)], rows.astype(np.float32))
        assert not row[len(rows) :].any()
    assert batch.ids == ("u4", "u5", "u6") and batch.texts == ("TEXT 4", "TEXT 5", "TEXT 6")
    assert batch.targets.tolist() == [4, 1, 5, 1, 6, 1] and batch.target_lengths.tolist() == [2, 2, 2]
    frames_, lengths = batch.to(CPU).encoded(source.encoder)
    assert frames_ is batch.frames and lengths is batch.lengths


class Unreadable(FeatureStore):
    """A corpus of which some cannot be read any more."""

    def augmented(
        self,
        utterance: CorpusUtterance,
        config: AugmentationConfig,
        noises: Sequence[Floats],
        random: Generator,
    ) -> Floats:
        if utterance.id in ("u5", "u6"):
            raise InputError(f"{utterance.id}: gone")
        return super().augmented(utterance, config, noises, random)


def test_what_cannot_be_read_is_left_out_and_noted(
    source: FrameSource, corpora: list[FeatureStore], tmp_path: Path
) -> None:
    corpus = Unreadable(tmp_path / "one")
    some = replace(with_collator(skipped=tmp_path / "skipped.jsonl")(source), corpora=[corpus])
    collate = FrameCollator(build_frames(tmp_path / "frames", some, CPU))
    drawn = [SampledUtterance(corpus, one) for one in corpus.utterances[:4]]
    assert collate(drawn).ids == ("u4", "u7")
    with pytest.raises(InputError, match="no utterance of a whole batch can be read, among them u5"):
        collate(drawn[1:3])
    noted = [json.loads(line)["id"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert set(noted) == {"u5", "u6"}


def test_stores_that_have_served_are_taken_away(source: FrameSource, tmp_path: Path) -> None:
    drop_frames(tmp_path / "none")
    build_frames(tmp_path, source, CPU)
    drop_frames(tmp_path)
    # And what else lies there is not.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


@pytest.mark.parametrize("damage", ["cut", "gone", "index", "end"])
def test_damaged_shards_are_computed_anew(
    source: FrameSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    build_frames(tmp_path / "frames", source, CPU)
    whole = files(tmp_path / "frames")
    shard = tmp_path / "frames" / source.key / "00001.f16"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-3])
    elif damage == "gone":
        shard.unlink()
    elif damage == "index":
        shard.with_suffix(".jsonl").write_text('{"frames": "many"}')
    else:
        (shard.parent / "frames.json").write_text("{")
    heard = count_calls(source, monkeypatch)
    build_frames(tmp_path / "frames", source, CPU)
    # That shard alone.
    assert len(heard) == (0 if damage == "end" else 1) and files(tmp_path / "frames") == whole
