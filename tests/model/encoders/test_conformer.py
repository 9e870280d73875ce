from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nim4asr.model.adaptor import Adaptor
from nim4asr.model.encoders.conformer import Conformer, relative_positions
from nim4asr.model.shapes import AdaptorConfig, ConformerConfig

PARITY = Path(__file__).parents[2] / "fixtures/firered_parity.safetensors"


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@torch.no_grad()
def test_encoder_and_adaptor_reproduce_the_reference() -> None:
    reference = load_file(PARITY)
    encoder = Conformer(ConformerConfig(model_dim=32, blocks=2, heads=4)).eval()
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


def test_relative_positions_are_symmetric_about_zero() -> None:
    table = relative_positions(4, 4, torch.zeros(1, 8))
    assert table.shape == (7, 8)
    torch.testing.assert_close(table[3, 0::2], torch.zeros(4))
    torch.testing.assert_close(table[3 - 2, 0::2], -table[3 + 2, 0::2])


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"kernel_size": 8}, {"input_dim": 6}, {"dropout": 1.0}])
def test_shapes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ConformerConfig(**{"model_dim": 16, "blocks": 1, "heads": 2, **wrong})
