from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.model.checkpoint import stored_dtype
from nim4asr.runtime.onnx_network import onnx_model


@pytest.mark.slow
def test_a_model_in_8_bits_of_its_own(
    toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    assert main(["export", str(toy_model), "--int8", "-o", str(small)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(small)
    assert str(stored_dtype(small)) == "torch.int8"
    assert onnx_model(small).config.name == "toy"


def test_a_model_is_not_made_smaller_in_its_own_place(
    toy_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["-o", str(toy_model)]):
        assert main(["export", str(toy_model), "--int8", *arguments]) != 0
        assert "name its folder with -o" in capsys.readouterr().err
