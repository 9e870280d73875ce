from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from nim4asr.model.adaptor import Adaptor
from nim4asr.model.encoder import Encoder, output_lengths, relative_positions
from nim4asr.model.shapes import AdaptorConfig, ChunkScheme, EncoderConfig

PARITY = Path(__file__).parent.parent / "fixtures/firered_parity.safetensors"


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@torch.no_grad()
def test_encoder_and_adaptor_reproduce_the_reference() -> None:
    reference = load_file(PARITY)
    encoder = Encoder(EncoderConfig(model_dim=32, blocks=2, heads=4)).eval()
    encoder.load_state_dict(under("encoder.", reference))
    adaptor = Adaptor(AdaptorConfig(encoder_dim=32, llm_dim=48, stack=2)).eval()
    adaptor.load_state_dict(under("encoder_projector.", reference))
    frames, lengths = encoder(reference["io.features"], reference["io.lengths"])
    speech, speech_lengths = adaptor(frames, lengths)
    assert lengths.tolist() == reference["io.encoder_lengths"].tolist()
    assert speech_lengths.tolist() == reference["io.adaptor_lengths"].tolist()
    assert frames.shape == reference["io.encoder_output"].shape
    for row in range(2):
        for ours, theirs, length in (
            (frames, reference["io.encoder_output"], lengths[row]),
            (speech, reference["io.adaptor_output"], speech_lengths[row]),
        ):
            torch.testing.assert_close(ours[row, :length], theirs[row, :length], atol=1e-5, rtol=0)


def toy(kernel_size: int = 7) -> Encoder:
    torch.manual_seed(0)
    config = EncoderConfig(model_dim=16, blocks=3, heads=2, kernel_size=kernel_size, subsampling_channels=4)
    encoder = Encoder(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            # Fresh biases are zero and fresh scales one: neither would show that it is used.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return encoder


def in_chunks(
    encoder: Encoder, features: torch.Tensor, lengths: torch.Tensor, chunks: ChunkScheme
) -> torch.Tensor:
    """The batch as live streams: one chunk at a time with caches."""
    features = features.clone()
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 0
    frames = output_lengths(lengths)
    state = encoder.initial_state(len(features), chunks)
    step = 4 * chunks.size
    features = functional.pad(features, (0, 0, 0, step + 8))
    outputs = []
    for start in range(0, max(1, int(frames.max())), chunks.size):
        window = features[:, 4 * start : 4 * start + step + 3]
        window = functional.pad(window, (0, 0, 0, step + 3 - window.shape[1]))
        out, state = encoder.forward_chunk(window, (frames - start).clamp(0, chunks.size), state)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 20),
    left=st.integers(0, 5),
    lengths=st.lists(st.integers(7, 260), min_size=1, max_size=4),
    kernel=st.sampled_from([3, 7, 15]),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_chunk_by_chunk_equals_the_masked_full_pass(
    size: int, left: int, lengths: list[int], kernel: int, seed: int
) -> None:
    encoder, chunks = toy(kernel), ChunkScheme(size, left)
    features = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor(lengths)
    whole, frames = encoder(features, counts, chunks)
    streamed = in_chunks(encoder, features, counts, chunks)
    for row, length in enumerate(frames.tolist()):
        torch.testing.assert_close(streamed[row, :length], whole[row, :length], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_deployed_chunks_at_the_deployed_kernel() -> None:
    encoder, chunks = toy(33), ChunkScheme()
    features, counts = torch.randn(2, 1000, 80), torch.tensor([1000, 433])
    whole, frames = encoder(features, counts, chunks)
    streamed = in_chunks(encoder, features, counts, chunks)
    for row, length in enumerate(frames.tolist()):
        torch.testing.assert_close(streamed[row, :length], whole[row, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunks", [None, ChunkScheme(5, 2)])
@torch.no_grad()
def test_padding_and_batch_change_nothing(chunks: ChunkScheme | None) -> None:
    encoder = toy()
    one, other = torch.randn(1, 90, 80), torch.randn(1, 200, 80)
    alone, lengths = encoder(one, torch.tensor([90]), chunks)
    batch = torch.cat([functional.pad(one, (0, 0, 0, 110), value=7.0), other])
    together, _ = encoder(batch, torch.tensor([90, 200]), chunks)
    length = int(lengths[0])
    torch.testing.assert_close(together[0, :length], alone[0, :length], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_chunk_does_not_hear_the_next_one() -> None:
    encoder, chunks = toy(), ChunkScheme(8, 1)
    features = torch.randn(1, 300, 80)
    changed = features.clone()
    changed[:, 4 * 16 + 3 :] += 1.0
    before, _ = encoder(features, torch.tensor([300]), chunks)
    after, _ = encoder(changed, torch.tensor([300]), chunks)
    torch.testing.assert_close(before[:, :16], after[:, :16], atol=1e-6, rtol=0)
    assert (before[:, 16:] - after[:, 16:]).abs().max() > 0.01


@pytest.mark.parametrize(("length", "frames"), [(0, 0), (3, 0), (6, 0), (7, 1), (96, 23), (143, 35)])
def test_output_lengths(length: int, frames: int) -> None:
    assert output_lengths(torch.tensor([length])).tolist() == [frames]


@torch.no_grad()
def test_shorter_than_a_frame_is_no_frame_and_no_nan() -> None:
    frames, lengths = toy()(torch.randn(2, 40, 80), torch.tensor([2, 40]))
    assert lengths.tolist() == [0, 9]
    assert torch.isfinite(frames).all()


def test_relative_positions_are_symmetric_about_zero() -> None:
    table = relative_positions(4, 4, torch.zeros(1, 8))
    assert table.shape == (7, 8)
    torch.testing.assert_close(table[3, 0::2], torch.zeros(4))
    torch.testing.assert_close(table[3 - 2, 0::2], -table[3 + 2, 0::2])


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"kernel_size": 8}])
def test_shapes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        EncoderConfig(**{"model_dim": 16, "blocks": 1, "heads": 2, **wrong})
    with pytest.raises(ValueError, match="impossible chunks"):
        ChunkScheme(size=0)
