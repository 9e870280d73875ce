"""A toy is tuned, from a manifest to a folder: better, worse, killed, and asked for what cannot be."""

import copy
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import CLIP_FOLDER
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.errors import InputError
from nim4asr.evaluation.comparison import read_rows
from nim4asr.files import locked
from nim4asr.model.checkpoint import Checkpoint, load, save, stored_dtype
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.folder import ModelFolder, bundled, check_sum
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.offline import Recognizer
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.report import Outcome
from nim4asr.training.finetuning.run import finetune
from nim4asr.training.finetuning.tuning import Tuning
from nim4asr.training.loop.states import steps_done
from nim4asr.training.stages.pretraining import ChunkSampling
from nim4asr.training.status import as_text, read_status
from training.finetuning.made import write_manifest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def toy(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that hears voices, with a card, and with a guard that silences everything short."""
    checkpoint = load(toy_model)
    network = checkpoint.network
    assert network.phoneme_head is not None
    with torch.no_grad():
        # Untrained, it hears nothing but blank.
        network.phoneme_head.net[4].bias[0] -= 5.0
    network.config = replace(network.config, decoding=DecodingConfig(max_entropy=0.01, short_frames=10_000))
    folder = tmp_path_factory.mktemp("begun") / "toy"
    save(checkpoint, folder)
    (folder / "LICENSE.txt").write_text("MIT")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# toy\n\nFor tests.\n", encoding="utf-8")
    return folder


def options(toy: Path, mine: Path, **changes: Any) -> FinetuneOptions:
    asked: dict[str, Any] = {"steps": 40, "learning_rate": 2e-2, **changes}
    return FinetuneOptions(toy, [mine], mine.parent / "model", **asked)


@dataclass(frozen=True)
class Tuned:
    asked: FinetuneOptions
    outcome: Outcome
    told: list[str]

    @property
    def model(self) -> Path:
        return self.asked.output


@pytest.fixture(scope="module")
def tuned(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """The toy, tuned."""
    folder = tmp_path_factory.mktemp("tuned")
    asked = options(toy, write_manifest(folder), report=folder / "report")
    told: list[str] = []
    return Tuned(asked, finetune(asked, tell=told.append), told)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder).network.state_dict()


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(value.equal(theirs[name]) for name, value in ours.items())


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_from_a_manifest_to_a_better_model(toy: Path, tuned: Tuned) -> None:
    asked, outcome, model = tuned.asked, tuned.outcome, tuned.model
    folder_of_mine = asked.manifests[0].parent
    assert outcome.weights == "new" and outcome.left is None and not asked.work.exists()
    assert "training for 40 steps" in tuned.told

    row = report(model)
    assert row["weights"] == "new" and not row["forced"] and row["verdict"] == outcome.verdict
    before, after = row["errors"]["before"], row["errors"]["after"]
    assert after["value"] < before["value"] and row["errors"]["difference"]["value"] < 0
    assert before["low"] <= before["value"] <= before["high"]
    # One of eight speakers is set aside, with four recordings.
    assert row["held_out_by"] == ["speakers"]
    assert (row["held_out_recordings"], row["recordings"], row["speakers"]) == (4, 28, 7)
    assert (row["held_out_speakers"], row["steps"], row["text_form"]) == (1, 40, "plain")
    assert row["hours"] > 0 and row["training_seconds"] > 0 and row["passes"] > 1
    assert {"cer", "wer", "phoneme_error_rate"} <= row["held_out"]["differences"].keys()

    folder, old = ModelFolder.open(model), ModelFolder.open(toy)
    assert (model / "LICENSE.txt").read_text() == "MIT"
    assert not same(model, toy) and folder.config.name == "toy-tuned"
    assert folder.tokenizer == old.tokenizer and folder.config.chunks == old.config.chunks

    # The guard that silenced everything lets all speech pass now; evidence had too little to go by.
    assert row["guard"]["max_entropy_before"] == 0.01 and row["guard"]["lost"] == 4
    assert folder.config.decoding.max_entropy == row["guard"]["max_entropy"] > row["guard"]["needed"] > 0.01
    assert not row["evidence"]["fitted"] and folder.config.evidence == old.config.evidence
    assert any("too few" in note for note in outcome.notes)
    assert any("silenced 4 of 4" in note for note in outcome.notes)

    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n---\n# toy, tuned") and "For tests." in card
    assert "mine.jsonl" in card and str(folder_of_mine) not in card + json.dumps(row)

    # What was set aside was never trained on, and is listed.
    judged = [
        json.loads(line) for line in (folder_of_mine / "report/held-out.jsonl").read_text().splitlines()
    ]
    assert len({one["speaker"] for one in judged}) == 1 and len(judged) == 4
    for when in ("before", "after"):
        assert read_rows(folder_of_mine / "report" / when).keys() == {one["id"] for one in judged}

    # The same again is done already; anything else is refused, and nothing is touched.
    again = finetune(asked)
    assert (again.weights, again.verdict, again.notes) == (outcome.weights, outcome.verdict, outcome.notes)
    with pytest.raises(InputError, match="this is there already"):
        finetune(replace(asked, steps=41))
    assert report(model) == row


def test_the_bundled_model_keeps_its_graphs(mine: Path) -> None:
    asked = options(bundled(), mine, steps=1, learning_rate=1e-4, force=True)
    finetune(asked)
    folder, old = ModelFolder.open(asked.output), ModelFolder.open(bundled())
    graphs = sorted(path.name for path in bundled().glob("*.onnx"))
    assert len(graphs) == 3
    for name in graphs:
        assert (folder.path / name).read_bytes() == (bundled() / name).read_bytes()
        assert folder.sums[name] == old.sums[name] == check_sum(folder.path / name)
    # Half precision as before, and other numbers in it.
    assert stored_dtype(folder.path) == stored_dtype(bundled()) == torch.float16
    assert folder.sums["model.safetensors"] != old.sums["model.safetensors"]
    recognizer = Recognizer.load(folder.path, runtime="onnx")
    assert recognizer.transcribe(CLIP_FOLDER / "zh-1.flac").text == "他是中国人"
    assert report(folder.path)["text_form"] == "plain" and folder.config.name == "nano-tuned"
    card = (folder.path / "README.md").read_text(encoding="utf-8")
    assert "language: [zh, en]" in card.splitlines() and "## nano" in card


def test_the_old_weights_stay_where_new_ones_are_worse(tuned: Tuned, tmp_path: Path) -> None:
    # Texts of something else altogether, and a dev split with the right ones.
    rows = [json.loads(line) for line in tuned.asked.manifests[0].read_text("utf-8").splitlines()]
    for row in rows:
        row["audio"] = str(tuned.asked.manifests[0].parent / row["audio"])
        row["split"] = "dev" if row["speaker"] in ("s0", "s1", "s2") else "train"
        row["text"] = row["text"] if row["split"] == "dev" else "你好世界 hello world"
    mine = write_lines(tmp_path / "wrong.jsonl", rows)
    good = tuned.model
    asked = options(good, mine)
    outcome = finetune(asked)
    model, row = asked.output, report(asked.output)
    assert outcome.weights == row["weights"] == "old"
    assert row["errors"]["difference"]["value"] > 0 and "worse by more than chance" in outcome.verdict
    # A copy to the last byte, but for what it says of itself.
    names = {path.name for path in good.iterdir()}
    assert {path.name for path in model.iterdir()} == names
    for name in names - {"README.md", "report.json"}:
        assert (model / name).read_bytes() == (good / name).read_bytes()
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "holds the old weights, unchanged" in card and "## toy, tuned" in card
    assert outcome.left == asked.work / "model" and not same(outcome.left, model)
    assert not (asked.work / "features").exists()
    assert as_text(read_status(asked.work)).startswith(
        "finetune: last begun: writing model with the old weights\n"
    )

    # The same again changes nothing; with --force the new ones are taken, without training.
    assert finetune(asked).left == outcome.left
    left = weights(outcome.left)
    forced = finetune(replace(asked, force=True))
    row = report(model)
    assert forced.weights == row["weights"] == "new" and row["forced"]
    assert all(value.equal(left[name]) for name, value in weights(model).items())
    assert not asked.work.exists()


def test_forced_weights_cannot_come_back(toy: Path, mine: Path) -> None:
    asked = options(toy, mine, steps=1, learning_rate=1e-9)
    outcome = finetune(asked)
    assert outcome.weights == "old" and "no better" in outcome.verdict
    shutil.rmtree(asked.work)
    assert finetune(asked).left is None
    with pytest.raises(InputError, match="is gone"):
        finetune(replace(asked, force=True))


SCRIPT = """
import sys; sys.path[:0] = {paths}
from pathlib import Path
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.run import finetune
toy, mine, output = map(Path, sys.argv[1:])
finetune(FinetuneOptions(toy, [mine], output, steps=40, learning_rate=2e-2))
"""


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_gives_the_same_model(toy: Path, tuned: Tuned, tmp_path: Path) -> None:
    asked = replace(tuned.asked, output=tmp_path / "model", report=None)
    script = SCRIPT.format(paths=[str(HERE.parent.parent.parent / "src")])

    def killed_when(reached: str) -> None:
        job = subprocess.Popen([sys.executable, "-c", script, toy, asked.manifests[0], asked.output])
        try:
            while not (asked.work / reached).exists() and job.poll() is None:
                time.sleep(0.01)
        finally:
            job.kill()
            job.wait()
        assert (asked.work / reached).exists() and not asked.output.exists()

    killed_when("before/own/summary.json")
    killed_when("joint-sft/state-10")
    assert 10 <= steps_done(asked.work / "joint-sft") < 40
    assert read_status(asked.work).stages[0].steps == 40
    killed_when("fitted.json")
    outcome = finetune(asked)
    assert outcome.weights == "new" and same(asked.output, tuned.model)
    ours, theirs = report(asked.output), report(tuned.model)
    for key in ("command", "verdict", "errors", "guard", "evidence", "notes", "hours", "steps"):
        assert ours[key] == theirs[key]


def test_what_fails_at_the_end_is_done_by_the_same_command(
    toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(toy, mine, steps=10)

    def fail(*arguments: object) -> None:
        raise InputError("the disk is full")

    for broken in ("_report", "_publish"):
        with monkeypatch.context() as context:
            context.setattr(Tuning, broken, fail)
            with pytest.raises(InputError, match="the disk is full"):
                finetune(asked)
    with pytest.raises(InputError, match="other settings was begun here"):
        finetune(replace(asked, steps=11))
    told: list[str] = []
    finetune(asked, tell=told.append)
    assert told == []
    assert asked.output.exists()


def test_half_of_the_time_is_for_the_fall_of_the_rate(
    toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that a step takes ten seconds of: half of two minutes are over after six.
    ticks = iter(range(0, 10**6, 10))
    monkeypatch.setattr("nim4asr.training.finetuning.weights.monotonic", lambda: next(ticks))
    asked = options(toy, mine, steps=1000, minutes=2.0)
    told: list[str] = []
    finetune(asked, tell=told.append)
    assert "training for 1000 steps, 2 minutes at most" in told
    assert report(asked.output)["steps"] == 12


def test_other_speech_is_heard_as_often_and_judged_too(toy: Path, mine: Path) -> None:
    rows = [json.loads(line) for line in mine.read_text(encoding="utf-8").splitlines()]
    own = [row for row in rows if row["language"] == "zh"]
    other = [{**row, "split": "dev" if row["speaker"] == "s0" else "train"} for row in rows if row not in own]
    asked = replace(options(toy, mine), manifests=[write_lines(mine.parent / "own.jsonl", own)])
    replay = [write_lines(mine.parent / "other.jsonl", other)]
    outcome = finetune(replace(asked, replay=replay, force=True))
    row = report(asked.output)
    assert outcome.weights == "new" and row["replayed"] == ["other.jsonl"] and row["replayed_hours"] > 0
    assert row["held_out"]["differences"].keys() == {"cer", "phoneme_error_rate"}
    assert row["elsewhere"]["differences"].keys() == {"wer", "phoneme_error_rate"}
    assert row["elsewhere"]["recordings"] == 2
    assert not any("Other speech" in note for note in outcome.notes)
    assert "| replayed: WER |" in (asked.output / "README.md").read_text(encoding="utf-8")
    # 40 steps, of batches of 16 s, over both; there is less of the other speech, and all of it is heard.
    assert row["passes"] == pytest.approx(40 * 16 / 3600 / (row["hours"] + row["replayed_hours"]), rel=0.01)


def bad(folder: Path, mine: Path, **changes: Any) -> FinetuneOptions:
    return replace(options(folder, mine), **changes)


def test_bad_input_is_one_sentence(toy: Path, mine: Path, tmp_path: Path) -> None:
    rows = mine.read_text(encoding="utf-8").splitlines(keepends=True)

    def manifest(name: str, lines: list[str]) -> list[Path]:
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
        return [tmp_path / name]

    silent = [json.dumps({**json.loads(line), "text": ""}) + "\n" for line in rows]
    gone = [json.dumps({**json.loads(line), "audio": f"gone-{n}.flac"}) + "\n" for n, line in enumerate(rows)]
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("dear")
    cases = {
        "none of 32 recordings has a text": bad(toy, mine, manifests=manifest("1.jsonl", silent)),
        "2 to judge by are too few": bad(toy, mine, manifests=manifest("2.jsonl", rows[:2])),
        "of 28 recordings to train on 28 are not where the manifest says": bad(
            toy, mine, manifests=manifest("3.jsonl", gone)
        ),
        "there is no such manifest": bad(toy, mine, manifests=[tmp_path / "none.jsonl"]),
        "no such model folder": bad(tmp_path / "none", mine),
        "the model is named first": bad(mine, mine),
        "taken: this is there already": bad(toy, mine, output=taken),
        "letter.txt: this is there already": bad(toy, mine, output=taken / "letter.txt"),
    }
    for sentence, asked in cases.items():
        with pytest.raises(InputError, match=sentence) as raised:
            finetune(asked)
        assert "\n" not in str(raised.value)
        shutil.rmtree(asked.work, ignore_errors=True)
    assert (taken / "letter.txt").read_text() == "dear" and not (tmp_path / "model").exists()
    for changes in (
        {"minutes": 0.0},
        {"steps": 0},
        {"learning_rate": 1.0},
        {"manifests": []},
        {"output": Path(".")},
    ):
        with pytest.raises(InputError):
            bad(toy, mine, **changes)


def test_recordings_that_cannot_be_read_are_left_out_and_told(toy: Path, mine: Path) -> None:
    rows = [json.loads(line) for line in mine.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["split"] = "dev" if row["speaker"] == "s0" else "train"
    for number, row in enumerate(rows[:2]):
        row["audio"] = f"damaged-{number}.flac"
        (mine.parent / row["audio"]).write_bytes(b"no sound")
    rows[2]["text"] += " 龘"
    soundfile.write(mine.parent / "short.wav", np.full(4640, 0.1), SAMPLE_RATE)
    rows[3]["audio"] = "short.wav"
    rows.append({**rows[2], "split": "test", "audio": "test.flac"})
    write_lines(mine, rows)
    told: list[str] = []
    outcome = finetune(options(toy, mine, steps=10, force=True), tell=told.append)
    assert all(any(f"damaged-{number}.flac" in line for line in told) for number in range(2))
    assert any("short.wav" in line and "s long; it takes 0.3 to 20 s" in line for line in told)
    notes = " ".join(outcome.notes)
    for sentence in (
        "2 of 28 recordings could not be trained on",
        "1 of the recordings that were set aside could not be read",
        "1 recordings of a test split",
        "1 different texts hold characters that the model cannot write",
    ):
        assert sentence in notes
    row = report(mine.parent / "model")
    assert (row["left_out"], row["recordings"], row["held_out_recordings"]) == (2, 26, 3)
    assert row["held_out_by"] == ["split"]
    # Of whole speakers, and of nothing else.
    assert "were trained on too" not in notes and "name no speakers" not in notes
    assert "Other speech was neither trained on nor judged" in notes


def test_one_speaker(toy: Path, mine: Path) -> None:
    text = mine.read_text(encoding="utf-8")
    for number in range(8):
        text = text.replace(f'"s{number}"', '"me"')
    mine.write_text(text, encoding="utf-8")
    outcome = finetune(options(toy, mine, steps=10, force=True))
    assert any("1 of the 1 speakers who were set aside were trained on too" in note for note in outcome.notes)
    assert report(mine.parent / "model")["held_out_recordings"] == 3


def test_any_encoder_in_the_chunks_that_it_knows(
    toy_whisper_checkpoint: Checkpoint, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whisper's, which was never trained in chunks, hears whole recordings in training too."""
    network = copy.deepcopy(toy_whisper_checkpoint.network)
    network.config = replace(network.config, chunks=None)
    save(replace(toy_whisper_checkpoint, network=network), mine.parent / "whisper")
    drawn: list[object] = []
    draw = ChunkSampling.draw

    def seen(sampling: ChunkSampling, random: np.random.Generator) -> ChunkScheme | None:
        drawn.append(draw(sampling, random))
        return drawn[-1]  # type: ignore[return-value]

    monkeypatch.setattr(ChunkSampling, "draw", seen)
    asked = options(mine.parent / "whisper", mine, steps=8, force=True)
    finetune(asked)
    assert drawn == [None] * 8 and ModelFolder.open(asked.output).config.chunks is None


def test_a_model_without_graphs_in_eight_bits(toy_model: Path, mine: Path) -> None:
    """It runs on torch, which has its threads back for training, and is stored as it was."""
    begun = mine.parent / "small"
    save(load(toy_model), begun, torch.int8)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    seen: list[int] = []
    try:
        asked = options(begun, mine, steps=2, force=True)
        finetune(asked, tell=lambda line: seen.append(torch.get_num_threads()))
        assert set(seen) == {3}
    finally:
        torch.set_num_threads(threads)
    assert not list(asked.output.glob("*.onnx"))
    assert stored_dtype(asked.output) == torch.int8 and not same(asked.output, begun)


def test_recordings_that_are_not_there_are_told_first(
    toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in mine.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows[:5]):
        row["audio"] = f"gone-{number}.flac"
    write_lines(mine, rows)

    def never(*arguments: object) -> None:
        raise InputError("the first evaluation begins")

    monkeypatch.setattr(Tuning, "_evaluated", never)
    told: list[str] = []
    with pytest.raises(InputError, match="the first evaluation begins"):
        finetune(options(toy, mine), tell=told.append)
    assert [line for line in told if line.endswith("there is no such file")] == told[:3]
    assert told[3:] == ["5 recordings are not where the manifests say; they are left out"]
    for number, row in enumerate(rows):
        row["audio"], row["tar"] = f"{number}.flac", "no.tar"
    with pytest.raises(InputError, match=r"28 are not where .*no\.tar: the archive cannot be read"):
        finetune(options(toy, write_lines(mine, rows)))


def test_what_is_under_way_is_told_from_the_first_step_on(
    toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(toy, mine, steps=1)

    def cut(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("nim4asr.training.finetuning.tuning.evaluate", cut)
        with pytest.raises(KeyboardInterrupt):
            finetune(asked)
    status = as_text(read_status(asked.work))
    assert status == "finetune: last begun: recognizing the recordings that were set aside, before tuning"
    (asked.work / ".0123456789ab.new").write_text("half")
    with monkeypatch.context() as context:
        context.setattr("nim4asr.training.finetuning.tuning.fitted_to", cut)
        with pytest.raises(KeyboardInterrupt):
            finetune(asked)
    lines = as_text(read_status(asked.work)).splitlines()
    assert lines[0] == "finetune: last begun: fitting the evidence of hotwords and the guards"
    assert lines[1].split()[:4] == ["joint-sft", "1", "of", "1"]
    # What the first had left half-written is gone.
    assert not list(asked.work.rglob(".*.new"))
    (asked.work / "doing.json").write_text("[")
    assert as_text(read_status(asked.work)).startswith("finetune: model written")


def test_two_do_not_tune_into_one_folder(toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = options(toy, mine)
    monkeypatch.setattr("nim4asr.files._PATIENCE_S", 0.0)
    with locked(asked.work), pytest.raises(InputError, match="another nim4 finetune is at work here"):
        finetune(asked)


def test_what_is_damaged_on_the_way_is_told_and_made_anew(
    toy: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(toy, mine, steps=1)

    def fail(*arguments: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(Tuning, "_publish", fail)
    with pytest.raises(InputError, match="the disk is full"):
        finetune(asked)
    for name in ("before/own/summary.json", "trained.json", "fitted.json"):
        path = asked.work / name
        for damage in ("{", "[]", '{"plan": 3}'):
            path.write_text(damage)
            with pytest.raises(InputError, match=r"json: this is damaged \(.*\); remove it to make it anew"):
                finetune(asked)
        path.unlink()
        with pytest.raises(InputError, match="the disk is full"):
            finetune(asked)
