import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.cli.main import main
from nim4asr.data.manifest import read_manifest
from nim4asr.model.checkpoint import Checkpoint, load
from nim4asr.recipes import nano
from nim4asr.training.status import write_recipe


@pytest.fixture
def clip(speech: Floats, tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, speech, SAMPLE_RATE)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_transcribe_json(capsys: pytest.CaptureFixture[str], clip: Path, toy_model: Path) -> None:
    status, out, err = run(capsys, "transcribe", clip, clip, "--model", toy_model, "--format", "json")
    # The toy hears no word.
    silent = f"nim4: {clip}: no speech was found (level -19 dBFS)\n"
    assert (status, err) == (0, silent * 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["audio"] for row in rows] == [str(clip)] * 2
    assert rows[0]["duration"] > 0


def test_transcribe_names_the_file_where_there_are_several(
    capsys: pytest.CaptureFixture[str], clip: Path, toy_model: Path
) -> None:
    _, one, _ = run(capsys, "transcribe", clip, "--model", toy_model)
    _, two, _ = run(capsys, "transcribe", clip, clip, "--model", toy_model)
    assert two == f"{clip}\t{one}" * 2


@pytest.mark.parametrize("format", ["txt", "json", "srt", "vtt"])
def test_output_files(
    capsys: pytest.CaptureFixture[str], clip: Path, toy_model: Path, tmp_path: Path, format: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "clip.wav").write_bytes(clip.read_bytes())
    out_dir = tmp_path / "out"
    arguments = ["--model", toy_model, "--format", format, "--output-dir", out_dir]
    status, out, _ = run(capsys, "transcribe", clip, other / "clip.wav", *arguments)
    assert (status, out) == (0, "")
    assert sorted(p.name for p in out_dir.glob(f"*.{format}")) == [f"clip-2.{format}", f"clip.{format}"]


def bad_files(folder: Path) -> dict[str, bytes]:
    soundfile.write(folder / "x.wav", np.zeros(0, np.int16), SAMPLE_RATE)
    soundfile.write(folder / "n.wav", np.full(99, np.nan, np.float32), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(folder / "f.flac", np.random.default_rng(0).uniform(-1, 1, 90_000), SAMPLE_RATE)
    flac = (folder / "f.flac").read_bytes()
    return {
        "empty.wav": b"",
        "text.wav": b"not a sound at all, but a letter",
        "zero.wav": (folder / "x.wav").read_bytes(),
        "nan.wav": (folder / "n.wav").read_bytes(),
        "truncated.flac": flac[: len(flac) // 2],
    }


def test_bad_files_are_named_and_the_others_done(
    capsys: pytest.CaptureFixture[str], clip: Path, toy_model: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / "missing.wav", tmp_path]
    for name, data in bad_files(tmp_path).items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    status, out, err = run(
        capsys, "transcribe", *paths[:3], clip, *paths[3:], "--model", toy_model, "--format", "json"
    )
    assert status == 1
    rows = [json.loads(line) for line in out.splitlines()]
    # Of a file that was cut short, what is there is heard.
    assert [row["audio"] for row in rows] == [str(clip), str(tmp_path / "truncated.flac")]
    (silent,), (cut, silent_too) = (row["warnings"] for row in rows)
    assert "cut short" in cut and "no speech was found" in silent and "no speech was found" in silent_too
    lines = [line for line in err.splitlines() if "no speech was found" not in line]
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"nim4: {path}: ")


def test_eight_channels_at_192_khz(
    capsys: pytest.CaptureFixture[str], speech: Floats, toy_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "studio.wav"
    soundfile.write(path, np.tile(speech.repeat(12)[:, None], (1, 8)), 192_000)
    status, out, _ = run(capsys, "transcribe", path, "--model", toy_model, "--format", "json")
    assert status == 0
    assert json.loads(out)["duration"] == pytest.approx(len(speech) / SAMPLE_RATE, abs=0.01)


@pytest.mark.slow
def test_three_hours(capsys: pytest.CaptureFixture[str], toy_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * SAMPLE_RATE, np.int16))
    status, out, _ = run(capsys, "transcribe", path, "--model", toy_model, "--format", "json")
    assert status == 0
    assert json.loads(out)["duration"] == 10_800


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "/no/such/folder"], "no such model folder"),
        (["--device", "warp"], "not available"),
        (["--beams", "0"], "--beams must be from 1 to 100, not 0"),
        (["--chunk-frames", "0"], "--chunk-frames: impossible chunks"),
        (["--vad-threshold", "2"], "--vad-threshold: threshold must lie between 0 and 1, not 2"),
        (["--highlight-words"], "add --format vtt"),
    ],
)
def test_bad_options_are_one_sentence(
    capsys: pytest.CaptureFixture[str], clip: Path, arguments: list[str], message: str
) -> None:
    status, out, err = run(capsys, "transcribe", clip, *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_evaluate(capsys: pytest.CaptureFixture[str], clip: Path, toy_model: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    rows = [
        {"audio": "clip.wav", "text": "你好", "language": "zh", "split": "dev"},
        {"audio": str(clip), "text": "hello there", "language": "en", "split": "dev"},
        {"audio": "clip.wav", "text": "x", "language": "en", "split": "train"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = tmp_path / "report"
    status, out, _ = run(
        capsys, "evaluate", manifest, "--model", toy_model, "--report", report, "--split", "dev"
    )
    summary = json.loads(out)
    assert status == 0
    figures = {"cer", "wer", "phoneme_error_rate", "hallucination_rate", "real_time_factor", "utterances"}
    figures |= {"cer_written", "wer_written"}
    assert set(summary["total"]) == figures
    assert set(summary["languages"]) == {"en", "zh"}
    assert len((report / "alignments.jsonl").read_text().splitlines()) == 2
    manifest.write_text(json.dumps({**rows[0], "audio": "gone.wav"}) + "\n")
    status, out, err = run(capsys, "evaluate", manifest, "--model", toy_model)
    assert status == 1
    assert "gone.wav" in err
    assert json.loads(out)["skipped"]


def test_evaluate_without_a_manifest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = run(capsys, "evaluate", tmp_path / "none.jsonl")
    assert status == 1
    assert "no such manifest" in err


def test_info_of_the_paper_shape(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info", "nim4-2.3b", "--json")
    counts = json.loads(out)
    assert status == 0
    assert set(counts) == {"encoder", "adaptor", "phoneme_head", "llm", "total"}
    assert counts["encoder"] == pytest.approx(600e6, rel=0.05)
    assert counts["total"] == pytest.approx(2.3e9, rel=0.03)
    assert counts["total"] == sum(v for k, v in counts.items() if k != "total")


def test_info_of_a_folder_and_of_nothing(
    capsys: pytest.CaptureFixture[str], toy_model: Path, toy_checkpoint: Checkpoint
) -> None:
    _, out, _ = run(capsys, "info", toy_model)
    assert out.startswith("toy\n")
    assert "phoneme head" in out
    status, _, err = run(capsys, "info", "nothing")
    assert status == 1
    assert "no recipe" in err


def test_import_firered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    fixture = Path(__file__).parent.parent / "fixtures/firered_parity.safetensors"
    aed = tmp_path / "aed"
    aed.mkdir()
    state = {k: v for k, v in load_file(fixture).items() if k.startswith("encoder.")}
    torch.save({"model_state_dict": state}, aed / "model.pth.tar")
    rows = np.ones((2, 81)) * [[1.0], [5.0]]
    (aed / "cmvn.ark").write_text("[ " + "\n".join(" ".join(map(str, r)) for r in rows) + " ]")
    status, out, _ = run(capsys, "import", "firered", aed, "-o", tmp_path / "model")
    assert status == 0
    assert "encoder" in out
    assert load(tmp_path / "model").config.encoder.model_dim == 32
    status, _, err = run(capsys, "import", "firered", tmp_path / "none", "-o", tmp_path / "x")
    assert status == 1
    assert "no such folder" in err


def test_train_needs_its_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = run(capsys, "train", "nano", "--data", tmp_path, "--output", tmp_path / "run")
    assert status == 1
    assert err.startswith("nim4: ")
    status, _, err = run(
        capsys, "train", "nano", "--data", tmp_path, "--output", tmp_path / "run", "--only-stage", "magic"
    )
    assert status == 1
    assert "no stage 'magic'" in err


def test_help_and_start_are_quick_and_quiet() -> None:
    code = "import sys, nim4asr; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    done = subprocess.run(
        [sys.executable, "-m", "nim4asr", "--help"], capture_output=True, text=True, check=True
    )
    assert "transcribe" in done.stdout
    assert done.stderr == ""


def test_runs_tells_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["train"])
    assert "required: recipe, --data" in capsys.readouterr().err
    status, _, err = run(capsys, "runs", "status", tmp_path)
    assert status == 1 and "no run has begun" in err
    (tmp_path / "README.md").touch()
    for place in (tmp_path / "nowhere", tmp_path / "README.md"):
        status, _, err = run(capsys, "runs", "plot", place)
        assert status == 1 and "no run has begun" in err
    recipe = nano.recipe(tmp_path)
    write_recipe(tmp_path, "nano", recipe, list(recipe.stages))
    status, out, _ = run(capsys, "runs", "status", tmp_path)
    assert status == 0 and "nano: in training" in out and "asynchronous IA-SFT: waiting" in out
    status, out, _ = run(capsys, "runs", "status", tmp_path, "--json")
    steps = {stage["name"]: stage["steps"] for stage in json.loads(out)["stages"]}
    assert steps["flat-start"] == 150 and steps["ia-sft/ia-sft"] == 200
    whole = (tmp_path / "recipe.json").read_text()
    for stages in (
        [1],
        {"rl": None},
        {"rl": "x"},
        {"ia-sft/ia-sft": {"round": 1}},
        {"a/ia-sft": {"round": "x", "final": 1}},
    ):
        damaged = json.dumps({"recipe": "nano", "stages": stages})
        (tmp_path / "recipe.json").write_text(damaged)
        status, _, err = run(capsys, "runs", "status", tmp_path)
        assert status == 1 and "missing or damaged" in err
    (tmp_path / "recipe.json").write_text("[]")
    assert run(capsys, "runs", "status", tmp_path)[0] == 1
    (tmp_path / "recipe.json").write_text(whole)
    status, out, err = run(capsys, "runs", "plot", tmp_path)
    assert status == 0 and "nothing has been logged" in err


@pytest.mark.slow
def test_metrics_of_two_checkpoints(
    capsys: pytest.CaptureFixture[str], toy_model: Path, tmp_path: Path
) -> None:
    rows = [
        {"audio": str(path), "text": text, "language": "en"}
        for path, text in zip(
            sorted(CLIP_FOLDER.glob("*.flac")),
            ["what do you want", "where are you going", "他是中国人", "我不知道"],
            strict=True,
        )
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows * 24))
    arguments = ("analyze", "entropy", "nano", toy_model, "--manifest", manifest)
    status, out, err = run(capsys, *arguments, "--plot", tmp_path / "metrics.png", "--json")
    assert status == 0, err
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["cka"] == 1.0 > second["cka"]
    assert first["pai"] > second["pai"]
    assert (tmp_path / "metrics.png").stat().st_size > 1000
    status, out, _ = run(capsys, *arguments)
    assert [line.split()[0] for line in out.splitlines()] == ["checkpoint", "nano", str(toy_model)]
    manifest.write_text(json.dumps(rows[0]) + "\n")
    status, _, err = run(capsys, *arguments)
    assert status == 1 and "too few" in err


def test_convert(capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    row = {"audio": clip.name, "text": "what do you want", "language": "en"}
    manifest.write_text(json.dumps(row) + "\n" + json.dumps({**row, "audio": "gone.wav"}) + "\n")
    status, out, err = run(capsys, "convert", manifest, tmp_path / "cuts.jsonl.gz")
    assert status == 0 and out == "1 utterances\n" and "left out gone.wav" in err
    status, out, err = run(capsys, "convert", tmp_path / "cuts.jsonl.gz", tmp_path / "back.jsonl")
    assert (status, out) == (0, "1 utterances\n")
    clip.unlink()
    status, _, err = run(capsys, "convert", manifest, tmp_path / "again.jsonl.gz")
    assert status == 1 and "nothing in it could be converted" in err


def test_average(capsys: pytest.CaptureFixture[str], toy_model: Path, tmp_path: Path) -> None:
    status, out, _ = run(capsys, "average", toy_model, toy_model, "-o", tmp_path / "mean")
    assert (status, out) == (0, f"{tmp_path / 'mean'}\n")
    assert load(tmp_path / "mean").config == load(toy_model).config
    status, out, err = run(capsys, "average", toy_model, "-o", tmp_path / "one")
    assert (status, out) == (1, "") and "two models" in err and not (tmp_path / "one").exists()


def test_synthesize(
    capsys: pytest.CaptureFixture[str], speech: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts.txt").write_text("how are you\nfine\n", encoding="utf-8")
    manifest = tmp_path / "made/voices.jsonl"
    arguments = ["synthesize", tmp_path / "texts.txt", "-o", manifest, "--language", "en"]
    monkeypatch.setattr("nim4asr.data.synthesis.programs.synthesize", lambda text, voice: speech)
    monkeypatch.setattr("nim4asr.data.synthesis.programs.available", lambda: True)
    status, out, _ = run(capsys, *arguments, "--count", 1)
    assert (status, out) == (0, "1 utterances, 0.00 hours\n")
    status, out, _ = run(capsys, *arguments)
    assert (status, out) == (0, "2 utterances, 0.00 hours\n")
    assert sorted(one.text for one in read_manifest(manifest)) == ["fine", "how are you"]
    status, out, err = run(capsys, *arguments, "--seed", 2)
    assert (status, out) == (1, "") and "another name" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "made.json"], "ends with .jsonl"),
        (["-o", "made.jsonl", "--count", "0"], "1 or more"),
        (["-o", "made.jsonl", "--kokoro", "/no/such/folder"], "no Kokoro is here"),
    ],
)
def test_what_synthesize_refuses(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("fine\n", encoding="utf-8")
    status, out, err = run(capsys, "synthesize", "texts.txt", "--language", "en", *arguments)
    assert (status, out) == (1, "") and message in err and err.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["texts.txt"]
