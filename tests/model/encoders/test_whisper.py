import numpy as np
import pytest
import torch

from nim4asr.model.encoders.whisper import WhisperEncoder, positions
from nim4asr.model.shapes import WhisperConfig

CONFIG = WhisperConfig(model_dim=24, blocks=2, heads=3, feedforward_dim=40, input_dim=16)


@pytest.mark.parametrize("frames", [200, 600, 3000])
@torch.no_grad()
def test_it_is_the_encoder_of_transformers(frames: int) -> None:
    from transformers import WhisperConfig as TheirConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

    torch.manual_seed(0)
    theirs = TheirEncoder(
        TheirConfig(
            num_mel_bins=16,
            d_model=24,
            encoder_layers=2,
            encoder_attention_heads=3,
            encoder_ffn_dim=40,
            max_source_positions=frames // 2,
        )
    ).eval()
    for name, parameter in theirs.named_parameters():
        if name != "embed_positions.weight":
            parameter.add_(torch.randn_like(parameter) * 0.05)
    state = theirs.state_dict()
    ours = WhisperEncoder(CONFIG).eval()
    stored = state.pop("embed_positions.weight")
    ours.load_state_dict(state)
    torch.testing.assert_close(positions(torch.zeros(1).long(), stored[None])[0], stored, atol=1e-5, rtol=0)
    features = torch.randn(2, frames, 16)
    reference = theirs(features.transpose(1, 2)).last_hidden_state
    found, lengths = ours(features, torch.tensor([frames, frames]))
    # Pairs of their frames.
    pairs = reference.reshape(2, frames // 4, 48)
    assert lengths.tolist() == [frames // 4] * 2
    torch.testing.assert_close(found[:, : frames // 4], pairs, atol=1e-5, rtol=0)


def test_positions_count_from_the_start_of_each_stream() -> None:
    table = positions(torch.tensor([0, 3]), torch.zeros(2, 5, 8))
    torch.testing.assert_close(table[0, 3:], table[1, :2])
    # sin(p / 10000^(i / 3)), then its cosines.
    rates = 10_000.0 ** -(np.arange(4) / 3)
    expected = np.concatenate([np.sin(4 * rates), np.cos(4 * rates)])
    np.testing.assert_allclose(table[0, 4].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"heads": 3}, {"feedforward_dim": 0}, {"input_dim": 1}, {"joined": 101}, {"model_dim": 15, "heads": 1}],
)
def test_shapes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        WhisperConfig(**{"model_dim": 16, "blocks": 1, "heads": 2, "feedforward_dim": 8, **wrong})
