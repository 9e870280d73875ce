import argparse
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.model.importers.firered import import_firered, merge_lora, read_kaldi_cmvn

PARITY = Path(__file__).parents[2] / "fixtures/firered_parity.safetensors"
COUNT = 1000.0


def kaldi_matrix(rows: np.ndarray, kind: str = "DM ") -> bytes:
    dtype = "<f8" if kind == "DM " else "<f4"
    head = b"\0B" + kind.encode() + struct.pack("<bibi", 4, rows.shape[0], 4, rows.shape[1])
    return head + rows.astype(dtype).tobytes()


def statistics() -> np.ndarray:
    """1000 frames of mean 0..79 and variance 4."""
    mean = np.arange(80.0)
    return np.stack([np.append(mean * COUNT, COUNT), np.append((4 + mean**2) * COUNT, 0)])


def weights(prefix: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_file(PARITY).items() if k.startswith(prefix)}


@pytest.fixture
def aed(tmp_path: Path) -> Path:
    """A FireRedASR-AED folder as published: a pickle with the arguments and all weights."""
    folder = tmp_path / "aed"
    folder.mkdir()
    state = {
        **weights("encoder."),
        "encoder.positional_encoding.pe": torch.zeros(1, 99, 32),
        "decoder.tgt_word_emb.weight": torch.zeros(7, 32),
    }
    package = {"args": argparse.Namespace(d_model=32), "model_state_dict": state}
    torch.save(package, folder / "model.pth.tar")
    (folder / "cmvn.ark").write_bytes(kaldi_matrix(statistics()))
    return folder


@pytest.fixture
def llm(tmp_path: Path, toy_checkpoint: Checkpoint, aed: Path) -> Path:
    """A FireRedASR-LLM folder: projector and LoRA beside an encoder and a language model."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path / "llm"
    qwen = folder / "Qwen2-7B-Instruct"
    assert toy_checkpoint.tokenizer is not None
    toy_checkpoint.tokenizer.save(qwen)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(toy_checkpoint.tokenizer),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    Qwen2ForCausalLM(config).save_pretrained(qwen)
    lora = "llm.base_model.model.model.layers.0.self_attn.q_proj"
    state = {
        **weights("encoder_projector."),
        f"{lora}.lora_A.default.weight": torch.randn(4, 48),
        f"{lora}.lora_B.default.weight": torch.randn(48, 4),
    }
    torch.save({"args": argparse.Namespace(), "model_state_dict": state}, folder / "model.pth.tar")
    (folder / "asr_encoder.pth.tar").write_bytes((aed / "model.pth.tar").read_bytes())
    (folder / "cmvn.ark").write_bytes(kaldi_matrix(statistics(), "FM "))
    return folder


@torch.no_grad()
def test_an_aed_folder_gives_the_reference_encoder(aed: Path, tmp_path: Path) -> None:
    save(import_firered(aed), tmp_path / "model")
    checkpoint = load(tmp_path / "model")
    io = load_file(PARITY)
    frames, lengths = checkpoint.network.encoder(io["io.features"], io["io.lengths"])
    torch.testing.assert_close(
        frames[0, : lengths[0]], io["io.encoder_output"][0, : lengths[0]], atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(checkpoint.normalization.mean, np.arange(80), atol=1e-3)
    np.testing.assert_allclose(checkpoint.normalization.scale, 0.5, atol=1e-3)
    assert checkpoint.tokenizer is None


@torch.no_grad()
def test_an_llm_folder_gives_everything(llm: Path, tmp_path: Path) -> None:
    save(import_firered(llm), tmp_path / "model")
    checkpoint = load(tmp_path / "model")
    io = load_file(PARITY)
    network = checkpoint.network
    assert network.adaptor is not None
    frames, lengths = network.encoder(io["io.features"], io["io.lengths"])
    speech, counts = network.adaptor(frames, lengths)
    torch.testing.assert_close(
        speech[0, : counts[0]], io["io.adaptor_output"][0, : counts[0]], atol=1e-5, rtol=0
    )
    base = load_file(next((llm / "Qwen2-7B-Instruct").glob("*.safetensors")))
    package = torch.load(llm / "model.pth.tar", weights_only=False)["model_state_dict"]
    lora = "llm.base_model.model.model.layers.0.self_attn.q_proj"
    a, b = (package[f"{lora}.lora_{x}.default.weight"] for x in "AB")
    expected = base["model.layers.0.self_attn.q_proj.weight"] + 16 / 4 * b @ a
    torch.testing.assert_close(network.llm.model.layers[0].self_attn.q_proj.weight, expected)
    assert checkpoint.tokenizer is not None


def test_lora_needs_both_halves() -> None:
    with pytest.raises(InputError, match="no counterpart"):
        merge_lora({"w.weight": torch.zeros(2, 2)}, {"w.lora_A.weight": torch.zeros(1, 2)}, 16)


def test_text_matrices_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cmvn.ark"
    rows = "\n".join("  " + " ".join(map(str, row)) for row in statistics())
    path.write_text(f"stats  [\n{rows} ]\n")
    np.testing.assert_allclose(read_kaldi_cmvn(path).mean, np.arange(80), atol=1e-3)


@pytest.mark.parametrize(
    "data", [b"", b"\0BXX ", b"\0BDM \4", kaldi_matrix(np.zeros((2, 5))), kaldi_matrix(np.zeros((2, 81)))]
)
def test_bad_statistics(aed: Path, data: bytes) -> None:
    (aed / "cmvn.ark").write_bytes(data)
    with pytest.raises(InputError, match=r"cmvn\.ark"):
        import_firered(aed)


def test_bad_folders(aed: Path, llm: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        import_firered(tmp_path / "missing")
    with pytest.raises(InputError, match="is missing"):
        import_firered(tmp_path)
    (aed / "model.pth.tar").write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be read"):
        import_firered(aed)
    for file in (llm / "Qwen2-7B-Instruct").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(InputError, match="no safetensors"):
        import_firered(llm)


class Payload:
    """What a hostile pickle would do: run something when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle ran')",))


def test_a_hostile_pickle_does_not_run(aed: Path) -> None:
    torch.save({"model_state_dict": {}, "args": Payload()}, aed / "model.pth.tar")
    with pytest.raises(InputError, match="cannot be read"):
        import_firered(aed)
