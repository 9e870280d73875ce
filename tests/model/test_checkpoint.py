import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4


def same(one: Checkpoint, other: Checkpoint, tolerance: float = 0.0) -> None:
    theirs = other.network.state_dict()
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(theirs[name].float(), value.float(), atol=tolerance, rtol=tolerance)


def test_round_trip(toy_checkpoint: Checkpoint, toy_model: Path) -> None:
    loaded = load(toy_model)
    same(toy_checkpoint, loaded)
    assert loaded.config == toy_checkpoint.config
    assert loaded.tokenizer is not None and toy_checkpoint.tokenizer is not None
    assert loaded.tokenizer.encode("今天 how") == toy_checkpoint.tokenizer.encode("今天 how")
    assert (loaded.normalization.mean == toy_checkpoint.normalization.mean).all()
    assert not loaded.network.training


@torch.no_grad()
def test_a_loaded_model_computes_the_same(toy_checkpoint: Checkpoint, toy_model: Path) -> None:
    # Buffers that no file holds, such as rotary rates, must come back too.
    ids = torch.arange(12)[None]
    expected = toy_checkpoint.network.llm(ids).logits
    torch.testing.assert_close(load(toy_model).network.llm(ids).logits, expected)
    assert not any(b.is_meta for b in load(toy_model).network.buffers())


def test_no_pickle_and_tied_weights_once(toy_model: Path) -> None:
    assert {p.suffix for p in toy_model.iterdir()} <= {".json", ".safetensors", ".jinja"}
    names = load_file(toy_model / "model.safetensors").keys()
    assert sum("embed_tokens" in name or "lm_head" in name for name in names) == 1


def test_every_file_is_as_readable_as_the_others(toy_model: Path) -> None:
    assert len({path.stat().st_mode for path in toy_model.iterdir()}) == 1


def test_shards(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(toy_checkpoint, tmp_path / "sharded", largest_shard=20_000)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    same(toy_checkpoint, load(tmp_path / "sharded"))


def test_stored_in_half_precision(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(toy_checkpoint, tmp_path / "half", dtype=torch.float16)
    stored = load_file(tmp_path / "half/model.safetensors")
    assert {v.dtype for v in stored.values()} == {torch.float16}
    loaded = load(tmp_path / "half")
    assert next(loaded.network.parameters()).dtype == torch.float32
    same(toy_checkpoint, loaded, tolerance=2e-3)


def test_the_caller_chooses_the_precision(toy_model: Path) -> None:
    network = load(toy_model, dtype=torch.bfloat16).network
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


def test_saving_replaces_a_checkpoint_whole(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save(toy_checkpoint, folder)
    (folder / "stale.json").write_text("{}")
    save(toy_checkpoint, folder)
    assert not (folder / "stale.json").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_save_leaves_the_old_one(
    toy_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    save(toy_checkpoint, folder)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    with pytest.raises(InputError, match="no space"):
        save(toy_checkpoint, folder)
    same(toy_checkpoint, load(folder))
    assert list(tmp_path.iterdir()) == [folder]


def test_other_folders_are_not_overwritten(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="other files"):
        save(toy_checkpoint, tmp_path)
    assert (tmp_path / "letter.txt").exists()


@pytest.fixture
def broken(toy_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_model, tmp_path / "broken"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model here"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such model folder"):
        load(tmp_path / "missing" / "deep")


def test_no_weights(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        load(broken)


def test_truncated_weights(broken: Path) -> None:
    data = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load(broken)


def test_weights_of_another_shape(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config["encoder"]["model_dim"] = config["adaptor"]["encoder_dim"] = 32
    config["phoneme_head"]["encoder_dim"] = 32
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="has the shape"):
        load(broken)


def test_weights_of_another_model(broken: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="do not belong together"):
        load(broken)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "name": "x"}'])
def test_a_bad_configuration(broken: Path, text: str) -> None:
    (broken / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load(broken)


@pytest.mark.parametrize("text", ["", "{}", '{"mean": [1], "scale": [1]}'])
def test_a_bad_normalization(broken: Path, text: str) -> None:
    (broken / "cmvn.json").write_text(text)
    with pytest.raises(InputError, match=r"cmvn\.json"):
        load(broken)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON tree, its root left out."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [one for key, inner in below for one in ((*path, key), *places(inner, (*path, key)))]


WEIRD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        3,
        10**9,
        10**30,
        0.5,
        1e300,
        "",
        "qwen3",
        "\ud800",
        "3",
        [],
        [[]],
        {},
        {"a": 1},
        [None],
    ]
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_configuration_is_a_model_or_one_sentence(toy_model: Path, data: st.DataObject) -> None:
    row = json.loads((toy_model / "config.json").read_text())
    path = data.draw(st.sampled_from(places({**row, "phonemes": row["phonemes"][:2]})))
    inner = row
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[path[-1]] = data.draw(WEIRD)
    else:
        del inner[path[-1]]
    # Anything else that is raised is a traceback for the user.
    with suppress(InputError), torch.device("meta"):
        Nim4(Nim4Config.from_json(json.dumps(row), "config.json"))


@pytest.mark.parametrize(
    ("language", "fits"), [(None, True), ("zh", True), ("fr", False), (1, False), ([], False)]
)
def test_a_language_of_its_own(toy_model: Path, language: object, fits: bool) -> None:
    row = json.loads((toy_model / "config.json").read_text())
    row["decoding"]["language"] = language
    if fits:
        assert Nim4Config.from_json(json.dumps(row), "config.json").decoding.language == language
    else:
        with pytest.raises(InputError, match=r"config\.json.*decoding\.language must not be"):
            Nim4Config.from_json(json.dumps(row), "config.json")


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "3", '"a"', "{}", '{"format": [1]}'])
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        Nim4Config.from_json(text, "config.json")


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "no numbers"), (float("inf"), "no numbers"), (0.0, "all zero")]
)
def test_weights_that_hear_nothing_are_refused(broken: Path, value: float, said: str) -> None:
    weights = load_file(broken / "model.safetensors")
    weights["encoder.input_preprocessor.out.weight"].fill_(value)
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    (broken / "checksums.json").unlink()
    with pytest.raises(InputError, match=said):
        load(broken)


def test_a_flipped_bit_in_the_weights_is_noticed(broken: Path) -> None:
    data = bytearray((broken / "model.safetensors").read_bytes())
    data[-1000] ^= 1
    (broken / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(InputError, match="not what was saved"):
        load(broken)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", [float("nan")] * 80),
        ("mean", [float("inf")] * 80),
        ("scale", [0.0] * 80),
        ("mean", [[0.0]] * 79),
        ("mean", [1e300] * 80),
        ("mean", {"a": 1}),
        ("mean", None),
        ("scale", ["x"] * 80),
    ],
)
def test_a_normalization_that_is_none(broken: Path, key: str, value: Any) -> None:
    row = json.loads((broken / "cmvn.json").read_text())
    (broken / "cmvn.json").write_text(json.dumps({**row, key: value}))
    with pytest.raises(InputError, match=r"cmvn\.json"):
        load(broken)


def test_the_bundled_model_is_known_by_its_name() -> None:
    from nim4asr.model.folder import bundled, locate

    assert locate("nano") == bundled()
    with pytest.raises(InputError, match="no such model folder"):
        locate("nanno")
