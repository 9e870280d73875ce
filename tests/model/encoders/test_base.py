"""What holds for every encoder."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nim4asr.model.encoders import Encoder, build_encoder
from nim4asr.model.encoders.base import output_lengths, visible_frames
from nim4asr.model.shapes import ChunkScheme, ConformerConfig, EncoderConfig, WhisperConfig

BINS = 20


def conformer(kernel_size: int = 7) -> EncoderConfig:
    return ConformerConfig(
        model_dim=16, blocks=3, heads=2, kernel_size=kernel_size, subsampling_channels=4, input_dim=BINS
    )


def whisper(joined: int = 2) -> EncoderConfig:
    return WhisperConfig(model_dim=16, blocks=3, heads=2, feedforward_dim=24, joined=joined, input_dim=BINS)


def toy(config: EncoderConfig) -> Encoder:
    torch.manual_seed(0)
    encoder = build_encoder(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            # Fresh biases are zero and fresh scales one: neither would show that it is used.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return encoder


def in_chunks(
    encoder: Encoder, features: torch.Tensor, lengths: torch.Tensor, chunks: ChunkScheme
) -> torch.Tensor:
    """The batch as live streams: one chunk at a time with its state."""
    config = encoder.config
    features = features.clone()
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 0
    frames = output_lengths(lengths, config)
    state = encoder.initial_state(len(features), chunks)
    step = config.stride * chunks.size
    features = functional.pad(features, (0, 0, 0, step + 8))
    outputs = []
    for start in range(0, max(1, int(frames.max())), chunks.size):
        window = features[:, config.stride * start :][:, : step + config.lookahead]
        window = functional.pad(window, (0, 0, 0, step + config.lookahead - window.shape[1]))
        out, state = encoder.forward_chunk(window, (frames - start).clamp(0, chunks.size), state)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


def assert_rows_equal(one: torch.Tensor, other: torch.Tensor, lengths: torch.Tensor) -> None:
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(one[row, :length], other[row, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [conformer, whisper])
@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 20),
    left=st.integers(0, 5),
    lengths=st.lists(st.integers(7, 260), min_size=1, max_size=4),
    shape=st.sampled_from([1, 3, 7]),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_chunk_by_chunk_equals_the_masked_full_pass(
    make: Callable[[int], EncoderConfig], size: int, left: int, lengths: list[int], shape: int, seed: int
) -> None:
    encoder, chunks = toy(make(shape)), ChunkScheme(size, left)
    features = torch.randn(len(lengths), max(lengths), BINS, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor(lengths)
    whole, frames = encoder(features, counts, chunks)
    assert_rows_equal(in_chunks(encoder, features, counts, chunks), whole, frames)


@pytest.mark.parametrize("config", [conformer(33), whisper()])
@torch.no_grad()
def test_the_deployed_chunks(config: EncoderConfig) -> None:
    encoder, chunks = toy(config), ChunkScheme()
    features, counts = torch.randn(2, 1000, BINS), torch.tensor([1000, 433])
    whole, frames = encoder(features, counts, chunks)
    assert_rows_equal(in_chunks(encoder, features, counts, chunks), whole, frames)


@pytest.mark.parametrize("config", [conformer(), whisper()])
@torch.no_grad()
def test_one_chunk_of_everything_is_the_whole_pass(config: EncoderConfig) -> None:
    # But for the convolution of a Conformer, which sees nothing beyond its chunk: here there is nothing.
    encoder, counts = toy(config), torch.tensor([163, 90])
    features = torch.randn(2, 163, BINS)
    whole, frames = encoder(features, counts)
    assert_rows_equal(in_chunks(encoder, features, counts, ChunkScheme(60, 0)), whole, frames)


@pytest.mark.parametrize("config", [conformer(), whisper()])
@pytest.mark.parametrize("chunks", [None, ChunkScheme(5, 2)])
@torch.no_grad()
def test_padding_and_batch_change_nothing(config: EncoderConfig, chunks: ChunkScheme | None) -> None:
    encoder = toy(config)
    one, other = torch.randn(1, 90, BINS), torch.randn(1, 200, BINS)
    alone, lengths = encoder(one, torch.tensor([90]), chunks)
    batch = torch.cat([functional.pad(one, (0, 0, 0, 110), value=7.0), other])
    together, _ = encoder(batch, torch.tensor([90, 200]), chunks)
    assert_rows_equal(together[:1], alone, lengths)


@pytest.mark.parametrize("config", [conformer(), whisper()])
@torch.no_grad()
def test_a_chunk_does_not_hear_the_next_one_beyond_its_look_ahead(config: EncoderConfig) -> None:
    encoder, chunks = toy(config), ChunkScheme(8, 1)
    features = torch.randn(1, 300, BINS)
    changed = features.clone()
    changed[:, 4 * 16 + config.lookahead :] += 1.0
    before, _ = encoder(features, torch.tensor([300]), chunks)
    after, _ = encoder(changed, torch.tensor([300]), chunks)
    torch.testing.assert_close(before[:, :16], after[:, :16], atol=1e-6, rtol=0)
    assert (before[:, 16:] - after[:, 16:]).abs().max() > 0.01
    changed[:, 4 * 16 + config.lookahead - 1] += 1.0
    heard, _ = encoder(changed, torch.tensor([300]), chunks)
    assert (before[:, :16] - heard[:, :16]).abs().max() > 1e-4


@pytest.mark.parametrize("config", [conformer(), whisper()])
@torch.no_grad()
def test_states_of_streams_are_put_together_and_taken_apart(config: EncoderConfig) -> None:
    encoder, chunks = toy(config), ChunkScheme(4, 2)
    window = torch.randn(2, config.stride * 4 + config.lookahead, BINS)
    lengths = torch.tensor([4, 4])
    _, both = encoder.forward_chunk(window, lengths, encoder.initial_state(2, chunks))
    for row in range(2):
        mine = slice(row, row + 1)
        _, alone = encoder.forward_chunk(window[mine], lengths[mine], encoder.initial_state(1, chunks))
        for name, tensor in encoder.of_row(both, row).items():
            torch.testing.assert_close(tensor, alone[name], atol=1e-5, rtol=0)
    again = encoder.joined([encoder.of_row(both, 0), encoder.of_row(both, 1)])
    assert all(torch.equal(again[name], tensor) for name, tensor in both.items())


def test_output_lengths() -> None:
    for length, frames in [(0, 0), (3, 0), (6, 0), (7, 1), (96, 23), (143, 35)]:
        assert output_lengths(torch.tensor([length]), conformer()).tolist() == [frames]
    for length, frames in [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (99, 24), (100, 25)]:
        assert output_lengths(torch.tensor([length]), whisper()).tolist() == [frames]


@pytest.mark.parametrize("config", [conformer(), whisper()])
@torch.no_grad()
def test_shorter_than_a_frame_is_no_frame_and_no_nan(config: EncoderConfig) -> None:
    frames, lengths = toy(config)(torch.randn(2, 40, BINS), torch.tensor([2, 40]))
    assert lengths.tolist() == [0, 10 if config.pads_end else 9]
    assert torch.isfinite(frames).all()


def test_who_sees_whom() -> None:
    seen = visible_frames(6, torch.tensor([6, 4]), ChunkScheme(1, 1), joined=2)
    assert seen[0].int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
    ]
    assert seen[1, 5].int().tolist() == [0, 0, 1, 1, 0, 0]
    assert visible_frames(3, torch.tensor([2]), None).int().tolist() == [[[1, 1, 0]]]


def test_impossible_chunks() -> None:
    with pytest.raises(ValueError, match="impossible chunks"):
        ChunkScheme(size=0)
