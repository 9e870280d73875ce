"""Every command of docs/finetuning.md is run, on a toy called nano."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.cli.main import main, parser
from nim4asr.errors import InputError
from nim4asr.training.finetuning import tuning
from nim4asr.training.finetuning.plan import Plan, plan_for
from training.finetuning.made import write_manifest

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = (ROOT / "docs/finetuning.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    # What is a promise is a command, and no command hides in a block of another kind.
    assert all(line.startswith("nim4 ") for line in lines)
    assert len(lines) == len(re.findall(r"^nim4 ", PAGE, re.MULTILINE))
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.slow
def test_every_command_of_the_page_runs(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_model, "nano")
    for number, name in enumerate(("mine.jsonl", "more.jsonl", "general.jsonl")):
        write_manifest(tmp_path, name, copies=3, first=3 * number)
    soundfile.write("talk.mp3", read_audio(CLIP_FOLDER / "en-1.flac"), SAMPLE_RATE, format="MP3")
    asked = commands()
    (status,) = [command for command in asked if command[0] == "runs"]
    tunings = [command for command in asked if command[0] == "finetune"]
    assert len(tunings) == 5

    # What is planned is one thing, and that it is done another: a toy need not train for so long.
    planned: list[int] = []

    def short(*arguments: object) -> Plan:
        plan = plan_for(*arguments)  # type: ignore[arg-type]
        planned.append(plan.steps)
        return replace(plan, steps=4)

    monkeypatch.setattr("nim4asr.training.finetuning.weights.plan_for", short)

    # The first is stopped on the way, looked at, and given again.
    with monkeypatch.context() as context:

        def fail(*arguments: object) -> None:
            raise InputError("the disk is full")

        context.setattr(tuning.Tuning, "_fitted", fail)
        assert main(tunings[0]) == 1
    assert main(status) == 0
    assert "joint-sft" in capsys.readouterr().out
    for command in asked:
        if command == status:
            continue
        capsys.readouterr()
        assert main(command) == 0, command
        if command[0] == "finetune":
            printed = capsys.readouterr().out
            output = Path(command[command.index("-o") + 1])
            row = json.loads((output / "report.json").read_text(encoding="utf-8"))
            assert printed.startswith(f"{output}: ") and row["verdict"] in printed
            assert ("the old weights" in printed) == (row["weights"] == "old")
            assert "--minutes" not in command or row["training_seconds"] < 30 * 60
            assert "--force" not in command or (row["weights"], planned[-1]) == ("new", 300)
    assert {path.name for path in Path("alignments").iterdir()} == {"before", "after", "held-out.jsonl"}


def test_help_leads_to_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = parser().format_help()
    assert "docs/finetuning.md" in text and "(docs/finetuning.md)" in (ROOT / "README.md").read_text()
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    assert "--replay" in capsys.readouterr().out
