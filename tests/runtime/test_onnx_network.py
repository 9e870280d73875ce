"""onnxruntime's network against torch's, of a toy model and of nano, and what is wrong with graphs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import CLIP_FOLDER

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, save
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.folder import bundled
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.events import Event, Final
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.streaming import Stream
from nim4asr.runtime import onnx_network
from nim4asr.runtime.export import export
from nim4asr.runtime.loading import load
from nim4asr.runtime.network import ChunkInput, Model
from nim4asr.runtime.onnx_network import onnx_model
from nim4asr.runtime.torch_network import torch_model


@pytest.fixture(scope="session")
def exported(toy_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with its graphs."""
    folder = tmp_path_factory.mktemp("exported") / "toy"
    save(toy_checkpoint, folder)
    export(toy_checkpoint.network, folder)
    return folder


@pytest.fixture(scope="session", params=["conformer", "whisper"])
def pair(
    request: pytest.FixtureRequest,
    toy_checkpoint: Checkpoint,
    toy_whisper_checkpoint: Checkpoint,
    exported: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Model, Model]:
    if request.param == "conformer":
        return torch_model(toy_checkpoint), onnx_model(exported)
    folder = tmp_path_factory.mktemp("exported") / "toy-whisper"
    save(toy_whisper_checkpoint, folder)
    export(toy_whisper_checkpoint.network, folder)
    return torch_model(toy_whisper_checkpoint), onnx_model(folder)


def test_whole_segments_of_any_length(pair: tuple[Model, Model]) -> None:
    random = np.random.default_rng(0)
    features = [random.standard_normal((frames, 80), np.float32) for frames in (3, 7, 10, 11, 64, 301)]
    for one in features:
        (expected,), (found,) = (model.network.encode([one], None) for model in pair)
        assert len(found.log_probs) == pair[0].frontend.clock.output_length(len(one))
        assert found.speech.shape == expected.speech.shape
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
        np.testing.assert_allclose(found.speech, expected.speech, atol=1e-4)
    together = pair[1].network.encode(features, None)
    np.testing.assert_array_equal(
        together[-1].log_probs, pair[1].network.encode(features[-1:], None)[0].log_probs
    )


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_chunks_of_any_size(pair: tuple[Model, Model], size: int) -> None:
    """One graph serves them all, from state to state, the last chunk shorter."""
    chunks = ChunkScheme(size, 64 // size)
    random = np.random.default_rng(size)
    states = [model.network.initial_state(chunks) for model in pair]
    for number in range(5):
        clock = pair[0].frontend.clock
        features = random.standard_normal((clock.window(size), 80), np.float32)
        frames = size if number < 4 else size - 1
        if number == 4:
            features[clock.window(frames) :] = 0
        found = []
        for place, model in enumerate(pair):
            ((encoded, states[place]),) = model.network.encode_chunks(
                [ChunkInput(features, frames, states[place])]
            )
            found.append(encoded)
        expected, own = found
        assert own.log_probs.shape == expected.log_probs.shape == (frames, 256)
        np.testing.assert_allclose(own.log_probs, expected.log_probs, atol=1e-4)
        np.testing.assert_allclose(own.speech, expected.speech, atol=1e-4)


@pytest.mark.parametrize("chunks", [ChunkScheme(4, 1), ChunkScheme(16, 4), ChunkScheme(5, 0)])
def test_a_whole_segment_as_a_live_stream_hears_it(pair: tuple[Model, Model], chunks: ChunkScheme) -> None:
    features = np.random.default_rng(1).standard_normal((333, 80), np.float32)
    (expected,), (found,) = (model.network.encode([features], chunks) for model in pair)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
    if chunks.size % 4 == 0:
        np.testing.assert_allclose(found.speech, expected.speech, atol=1e-4)


def test_slots_hold_what_torch_s_hold(pair: tuple[Model, Model]) -> None:
    """Appended to, forked, cut back, freed and taken again, alone and together."""
    random = np.random.default_rng(2)
    width = pair[0].network.embed([1]).shape[1]
    caches = [model.network.open_cache() for model in pair]
    # Each entry is a slot of either cache: their numbers are their own affair.
    held = {name: [cache.allocate() for cache in caches] for name in "ab"}

    def append(names: str, lengths: list[int]) -> None:
        inputs = [random.standard_normal((length, width), np.float32) for length in lengths]
        expected, found = (
            cache.append([held[name][place] for name in names], inputs) for place, cache in enumerate(caches)
        )
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)

    append("ab", [5, 3])
    append("ab", [1, 1])
    held["c"] = [cache.fork(slot) for cache, slot in zip(caches, held["a"], strict=True)]
    append("acb", [1, 1, 2])
    for cache, slot in zip(caches, held["c"], strict=True):
        assert cache.length(slot) == 7
        cache.truncate(slot, 4)
        with pytest.raises(ValueError, match="holds 4 positions, not 9"):
            cache.truncate(slot, 9)
    append("ca", [3, 3])
    for place, cache in enumerate(caches):
        prefix = cache.export(held["a"][place])
        cache.free(held["b"][place])
        held["b"][place] = cache.allocate()
        assert cache.length(held["b"][place]) == 0
        cache.load(held["b"][place], prefix)
    append("bc", [1, 4])


@pytest.mark.parametrize("seed", range(4))
def test_slots_after_any_history(pair: tuple[Model, Model], seed: int) -> None:
    """Whatever shares a call, and however the slots came to hold what they hold, the answer is that of a slot
    to which all was appended at once.
    """
    random = np.random.default_rng(seed)
    network = pair[1].network
    width = network.embed([1]).shape[1]
    cache, fresh = network.open_cache(), network.open_cache()
    held: dict[int, Floats] = {cache.allocate(): np.zeros((0, width), np.float32)}
    for _ in range(30):
        act, slot = (
            random.choice(["append", "append", "fork", "truncate", "free"]),
            int(random.choice([*held])),
        )
        if act == "fork" and len(held) < 6:
            held[cache.fork(slot)] = held[slot]
        elif act == "truncate":
            length = int(random.integers(len(held[slot]) + 1))
            cache.truncate(slot, length)
            held[slot] = held[slot][:length]
        elif act == "free" and len(held) > 1:
            cache.free(slot)
            del held[slot]
        elif act == "append":
            some = [int(one) for one in random.permutation([*held])[: random.integers(1, len(held) + 1)]]
            new = [random.standard_normal((random.choice([1, 1, 1, 3, 5]), width), np.float32) for _ in some]
            found = cache.append(some, new)
            for one, more, log_probs in zip(some, new, found, strict=True):
                held[one] = np.concatenate([held[one], more])
                alone = fresh.allocate()
                np.testing.assert_allclose(log_probs, fresh.append([alone], [held[one]])[0], atol=1e-4)
                fresh.free(alone)
        assert {one: cache.length(one) for one in held} == {one: len(inputs) for one, inputs in held.items()}
    assert cache.slots_in_use == len(held)


def test_texts_share_one_call_and_what_went_before_them(
    pair: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two texts of three beams each are one call, in which the speech of each lies once and is not copied
    between its tokens.
    """
    network = pair[1].network
    calls: list[dict[str, NDArray[Any]]] = []
    run = network._run  # type: ignore[attr-defined]
    monkeypatch.setattr(network, "_run", lambda name, inputs: calls.append(inputs) or run(name, inputs))
    width = network.embed([1]).shape[1]
    random = np.random.default_rng(5)

    def inputs(*lengths: int) -> list[Floats]:
        return [random.standard_normal((length, width), np.float32) for length in lengths]

    cache = network.open_cache()
    texts = [cache.allocate(), cache.allocate()]
    cache.append(texts, inputs(9, 7))
    beams = [slot for text in texts for slot in (text, cache.fork(text), cache.fork(text))]
    del calls[:]
    cache.append(beams, inputs(*[1] * 6))
    cache.append(beams, inputs(*[1] * 6))
    first, second = calls
    assert first["shared_keys"].shape[1] == 2 and first["shared_lengths"].tolist() == [9, 7]
    assert second["shared_keys"] is first["shared_keys"]
    assert second["keys"].shape[1:3] == (2, 3) and second["lengths"].tolist() == [[1] * 3] * 2


def rounded(events: list[Event]) -> list[object]:
    return [
        (event.time, event.segment.text, event.segment.phonemes) if isinstance(event, Final) else event
        for event in events
    ]


@pytest.mark.parametrize("milliseconds", [160, 640, 1280])
@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_nano_says_the_same_live(milliseconds: int, mode: str) -> None:
    samples = np.concatenate([read_audio(path) for path in sorted(CLIP_FOLDER.glob("*.flac"))])
    config = StreamingConfig(mode, milliseconds / 1000)  # type: ignore[arg-type]
    said = []
    for runtime in ("torch", "onnx"):
        stream = Stream(load(runtime=runtime), config)  # type: ignore[arg-type]
        said.append(rounded([*stream.feed(samples), *stream.finish()]))
    assert said[0] == said[1] and len(said[0]) > 8


@pytest.mark.parametrize("beams", [1, 4])
def test_nano_writes_the_same_of_recordings(beams: int) -> None:
    config = RecognitionConfig(decoding=DecodingConfig(beam_size=beams))
    by_torch, by_onnx = (
        Recognizer.load(runtime=runtime, config=config)  # type: ignore[arg-type]
        for runtime in ("torch", "onnx")
    )
    for path in sorted(CLIP_FOLDER.glob("*.flac")):
        for expected, found in zip(
            by_torch.transcribe(path).segments, by_onnx.transcribe(path).segments, strict=True
        ):
            assert found.text == expected.text and found.phonemes == expected.phonemes
            assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)
            assert [token.log_prob for token in found.tokens] == pytest.approx(
                [token.log_prob for token in expected.tokens], abs=1e-3
            )


def test_a_graph_of_another_version(exported: Path, tmp_path: Path, speech: Floats) -> None:
    old = tmp_path / "old"
    shutil.copytree(exported, old)
    (old / "checksums.json").unlink()
    data = (old / "language_model.onnx").read_bytes()
    (old / "language_model.onnx").write_bytes(data.replace(b"shared_keys", b"former_keys"))
    with pytest.raises(InputError, match=r"language_model.onnx: another version.*nim4 export"):
        Recognizer(onnx_model(old)).transcribe(speech, sample_rate=SAMPLE_RATE)


def test_graphs_that_cannot_be_used(exported: Path, tmp_path: Path, speech: Floats) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(exported, tmp_path / name)
        return tmp_path / name

    def hears(folder: Path) -> None:
        Recognizer(onnx_model(folder)).transcribe(speech, sample_rate=SAMPLE_RATE)

    hears(exported)
    missing = broken("missing")
    (missing / "encoder_chunk.onnx").unlink()
    with pytest.raises(
        InputError, match=r"encoder_chunk.onnx: this graph of the model is missing.*nim4 export"
    ):
        hears(missing)
    flipped = broken("flipped")
    data = bytearray((flipped / "encoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (flipped / "encoder.onnx").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"encoder.onnx: the graph is damaged; write all again"):
        hears(flipped)
    # What another program has written has no check sums: then onnxruntime says what it cannot run.
    (exported / "checksums.json").rename(tmp_path / "sums")
    cut = broken("cut")
    data = (cut / "language_model.onnx").read_bytes()
    (cut / "language_model.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"language_model.onnx: onnxruntime cannot run this graph"):
        hears(cut)
    other = broken("other")
    shutil.copy(bundled() / "encoder.onnx", other)
    with pytest.raises(InputError, match=r"encoder.onnx: onnxruntime cannot run this graph with the model's"):
        hears(other)
    unknown = broken("unknown")
    data = (unknown / "encoder.onnx").read_bytes()
    (unknown / "encoder.onnx").write_bytes(data.replace(b"Softmax", b"Hardmux"))
    with pytest.raises(InputError, match=r"encoder.onnx: onnxruntime cannot run this graph"):
        hears(unknown)
    (tmp_path / "sums").rename(exported / "checksums.json")
    damaged = broken("damaged")
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1000] ^= 1
    (damaged / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(InputError, match="the weights are damaged"):
        hears(damaged)


def test_a_model_for_which_there_is_no_memory_is_not_damaged(
    exported: Path, speech: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")

    monkeypatch.setattr("onnxruntime.InferenceSession", full)
    with pytest.raises(InputError, match="there is not enough memory for the model") as error:
        Recognizer(onnx_model(exported)).transcribe(speech, sample_rate=SAMPLE_RATE)
    assert "nim4 export" not in str(error.value)


def test_freed_memory_is_given_back_where_that_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []

    class GnuLibrary:
        def malloc_trim(self, padding: int) -> None:
            given.append(padding)

    def on_windows(name: None) -> None:
        raise TypeError("argument of type 'NoneType' is not iterable")

    monkeypatch.setattr(onnx_network.ctypes, "CDLL", lambda name: GnuLibrary())
    load(runtime="onnx").network.encode([np.zeros((80, 80), np.float32)], None)
    assert given == [0]
    for library in (lambda name: object(), on_windows):
        monkeypatch.setattr(onnx_network.ctypes, "CDLL", library)
        load(runtime="onnx").network.encode([np.zeros((80, 80), np.float32)], None)


def test_only_qwen3_can_be_exported(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from nim4asr.model.nim4 import Nim4

    network = Nim4(toy_checkpoint.config)
    network.llm = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=24, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="qwen3"):
        export(network, tmp_path)
