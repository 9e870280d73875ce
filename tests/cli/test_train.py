"""``nim4 train``: what a plan prints, and what is refused before anything begins."""

from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.model.checkpoint import Checkpoint, save
from recipes.parts import write_corpora


@pytest.fixture
def model(toy_whisper_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save(toy_whisper_checkpoint, tmp_path / "model")
    return tmp_path / "model"


def test_a_plan_is_printed_and_nothing_begun(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpora(Path("corpora"), clips=10, noise=False)
    command = ["train", "from-public-parts", "--data", "corpora", "--init-model", str(model), "--plan"]
    assert main([*command, "--memory", "6"]) == 0
    told = capsys.readouterr().out
    assert "6.0 GB of memory to take" in told and "not measured" in told
    stages = [line.split()[0] for line in told.splitlines() if " x " in line]
    assert stages[0] == "head" and stages[-1] == "phoneme-head" and len(stages) == 8
    assert main([*command, "--memory", "6", "--start-stage", "rl"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if " x " in line] == stages[-2:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpora", "model"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano", "--plan"], "--plan, --memory and --whole-llm are for from-public-parts"),
        (["nano", "--whole-llm"], "are for from-public-parts"),
        (["nim4-2.3b", "--memory", "8"], "those of nim4-2.3b are fixed"),
        (["from-public-parts"], "name its folder with --init-model"),
        (["from-public-parts", "--plan"], "name its folder with --init-model"),
        (["from-public-parts", "--init-model", "MODEL", "--plan", "--memory", "-1"], "needs some memory"),
        (["from-public-parts", "--init-model", "MODEL", "--memory", "0.5"], "GB for one utterance of 20 s"),
        (["from-public-parts", "--init-model", "nowhere"], "there is no such model folder"),
    ],
)
def test_what_is_refused_in_one_sentence(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write_corpora(tmp_path / "corpora", clips=8, noise=False)
    asked = [str(model) if one == "MODEL" else one for one in arguments]
    output = tmp_path / "run"
    assert main(["train", *asked, "--data", str(tmp_path / "corpora"), "--output", str(output)]) == 1
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (output / "recipe.json").exists()
