import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.model.importers.test_ctranslate2 import ct2_file

from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import load, save
from nim4asr.model.importers import open_encoder, open_whisper
from nim4asr.model.importers.whisper import import_whisper
from nim4asr.model.shapes import WhisperConfig


def whisper(bins: int = 80) -> Any:
    """A whole Whisper, small, of transformers."""
    from transformers import WhisperConfig as TheirConfig
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(0)
    return WhisperForConditionalGeneration(
        TheirConfig(
            num_mel_bins=bins,
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=16,
            vocab_size=60,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
        )
    ).eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    return whisper()


@pytest.fixture
def folder(theirs: Any, tmp_path: Path) -> Path:
    theirs.save_pretrained(tmp_path / "whisper-toy")
    return tmp_path / "whisper-toy"


def as_ct2(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The encoder's variables as CTranslate2's converter writes them."""
    encoder = model.model.encoder
    rows: dict[str, Any] = {
        "encoder/num_heads": np.array(2, np.int16),
        "encoder/position_encodings/encodings": encoder.embed_positions.weight,
        "decoder/embeddings/weight": torch.zeros(3, 3),
    }

    def norm(name: str, module: Any) -> None:
        rows[f"encoder/{name}/gamma"], rows[f"encoder/{name}/beta"] = module.weight, module.bias

    def linear(name: str, *modules: Any) -> None:
        biases = [torch.zeros(len(m.weight)) if m.bias is None else m.bias for m in modules]
        rows[f"encoder/{name}/weight"] = torch.cat([m.weight for m in modules])
        rows[f"encoder/{name}/bias"] = torch.cat(biases)

    linear("conv1", encoder.conv1)
    linear("conv2", encoder.conv2)
    norm("layer_norm", encoder.layer_norm)
    for number, layer in enumerate(encoder.layers):
        at = layer.self_attn
        norm(f"layer_{number}/self_attention/layer_norm", layer.self_attn_layer_norm)
        linear(f"layer_{number}/self_attention/linear_0", at.q_proj, at.k_proj, at.v_proj)
        linear(f"layer_{number}/self_attention/linear_1", at.out_proj)
        norm(f"layer_{number}/ffn/layer_norm", layer.final_layer_norm)
        linear(f"layer_{number}/ffn/linear_0", layer.fc1)
        linear(f"layer_{number}/ffn/linear_1", layer.fc2)
    return {
        name: value.detach().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in rows.items()
    }


@pytest.mark.parametrize("kind", ["transformers", "sharded", "ctranslate2"])
@torch.no_grad()
def test_the_imported_encoder_hears_what_the_public_one_hears(
    theirs: Any, folder: Path, kind: str, tmp_path: Path
) -> None:
    if kind == "sharded":
        theirs.save_pretrained(tmp_path / "sharded", max_shard_size="8KB")
        folder = tmp_path / "sharded"
        assert len(list(folder.glob("*.safetensors"))) > 2
    elif kind == "ctranslate2":
        folder = tmp_path / "ct2"
        folder.mkdir()
        (folder / "model.bin").write_bytes(ct2_file(as_ct2(theirs)))
    checkpoint = import_whisper(folder)
    assert checkpoint.config.encoder == WhisperConfig(16, 2, 2, 32)
    assert checkpoint.config.chunks is None and checkpoint.config.features == WhisperFeatures(80)
    features = torch.randn(1, 3000, 80)
    reference = theirs.model.encoder(features.transpose(1, 2)).last_hidden_state.reshape(1, 750, 32)
    frames, _ = checkpoint.network.encoder(features, torch.tensor([3000]))
    torch.testing.assert_close(frames[:, :750], reference, atol=1e-5, rtol=0)
    save(checkpoint, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.config == checkpoint.config and again.frontend.clock.output_length(100) == 25
    assert not (tmp_path / "model/cmvn.json").exists()


def test_128_bins(tmp_path: Path) -> None:
    whisper(128).save_pretrained(tmp_path / "large")
    assert import_whisper(tmp_path / "large").config.features == WhisperFeatures(128)


def test_an_encoder_is_known_by_its_folder(folder: Path, toy_model: Path) -> None:
    assert open_encoder(str(folder)).config.name == "whisper-toy encoder"
    assert open_whisper(f"{folder}/").config.name == "whisper-toy encoder"
    assert open_encoder(str(toy_model)).config.name == "toy"
    with pytest.raises(InputError, match="no such model folder"):
        open_encoder("./nowhere")


def test_folders_that_hold_no_whisper(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no encoder that can be used"):
        open_encoder(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="no Whisper model"):
        import_whisper(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        import_whisper(tmp_path / "none")
    (tmp_path / "empty/model.bin").write_bytes(ct2_file({}, "TransformerSpec"))
    with pytest.raises(InputError, match="a model of the kind 'TransformerSpec'"):
        import_whisper(tmp_path / "empty")
    (tmp_path / "empty/model.bin").write_bytes(
        ct2_file({"encoder/conv1/weight": np.zeros((16, 80, 3), np.float32)})
    )
    with pytest.raises(InputError, match="the weights lack 'encoder/conv1/bias'"):
        import_whisper(tmp_path / "empty")


@pytest.mark.parametrize(
    "change", [{"d_model": 17}, {"d_model": "x"}, {"encoder_layers": 3}, {"d_model": None}]
)
def test_a_configuration_that_does_not_fit(folder: Path, change: dict[str, Any]) -> None:
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, **change}))
    with pytest.raises(InputError, match="whisper-toy"):
        import_whisper(folder)


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="the weights cannot be read"):
        import_whisper(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        import_whisper(folder)
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"model.encoder.conv1.bias": "../x"}}'
    )
    with pytest.raises(InputError, match="no index of weights"):
        import_whisper(folder)


def _nothing(value: torch.Tensor) -> torch.Tensor:
    return value * float("nan")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_nothing, "'encoder.layers.0.fc1.weight' are no numbers"),
        (torch.zeros_like, "'encoder.layers.0.fc1.weight' are all zero"),
        (torch.Tensor.int, "'encoder.layers.0.fc1.weight' are no numbers"),
    ],
)
def test_weights_that_are_none(
    folder: Path, change: Callable[[torch.Tensor], torch.Tensor], told: str
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    save_file({**weights, name: change(weights[name])}, folder / "model.safetensors")
    with pytest.raises(InputError, match=told):
        import_whisper(folder)


def test_half_of_the_blocks_is_not_taken_for_all(folder: Path) -> None:
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, "encoder_layers": 1}))
    with pytest.raises(InputError, match=r"config\.json says 1 blocks, and the weights have more"):
        import_whisper(folder)


@pytest.mark.parametrize("value", ["16", 16.0, None, True, [16]])
def test_sizes_are_whole_numbers(folder: Path, value: object) -> None:
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, "d_model": value}))
    with pytest.raises(InputError, match=r"config\.json: no configuration of a Whisper \(d_model is "):
        import_whisper(folder)


def _in_8_bits(rows: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, value in rows.items():
        if name.endswith("weight") and "linear" in name:
            scale = 127 / np.abs(value).max(1)
            found |= {name: np.round(value * scale[:, None]).astype(np.int8), f"{name}_scale": scale}
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("scale", ["none", "zero", "no number", "short", "empty"])
def test_8_bits_without_their_scale_are_not_taken_as_they_stand(
    theirs: Any, tmp_path: Path, scale: str
) -> None:
    rows = _in_8_bits(as_ct2(theirs))
    (tmp_path / "model.bin").write_bytes(ct2_file(rows))
    import_whisper(tmp_path)
    name = "encoder/layer_1/ffn/linear_0/weight_scale"
    value = rows.pop(name)
    others = {"zero": value * 0, "no number": value * np.nan, "short": value[1:], "empty": value[:0]}
    damaged = {name: others[scale]} if scale in others else {}
    (tmp_path / "model.bin").write_bytes(ct2_file(rows | damaged))
    with pytest.raises(
        InputError, match="lack their scale" if scale == "none" else "the scale of .* is damaged"
    ):
        import_whisper(tmp_path)


@pytest.mark.parametrize(
    "name", ["self_attention/linear_0/weight", "self_attention/linear_0/bias", "ffn/linear_0/weight"]
)
def test_a_single_number_is_no_matrix(theirs: Any, tmp_path: Path, name: str) -> None:
    rows = as_ct2(theirs) | {f"encoder/layer_0/{name}": np.array(1.0, np.float32)}
    (tmp_path / "model.bin").write_bytes(ct2_file(rows))
    with pytest.raises(InputError, match="no encoder of a Whisper"):
        import_whisper(tmp_path)
