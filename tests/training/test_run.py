"""A whole recipe in seconds: a toy network on a toy corpus, through every stage, stopped and gone on with."""

import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import toy_config
from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.data.batches import SpeechBatch
from nim4asr.data.keywords import KeywordConfig
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import load
from nim4asr.model.nim4 import Nim4
from nim4asr.recipes import nano, training_programme
from nim4asr.recipes.nim4_2b3 import steps_for
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.torch_network import torch_model
from nim4asr.training import prepare
from nim4asr.training.async_sft.runner import Side
from nim4asr.training.async_sft.schedule import AsynchronousIaSft, Phase, State, SwapConfig
from nim4asr.training.async_sft.snapshots import SnapshotBoard
from nim4asr.training.loop.loop import LoopConfig, steps_done
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.plots import plot_run
from nim4asr.training.recipe import Corpus, KeywordFilter, Programme
from nim4asr.training.run import run_programme
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.phoneme_embedding import PhonemeSpeech
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.speech import SpeechData, TextForm, in_form
from nim4asr.training.stages.text_pretraining import TextPretraining
from nim4asr.training.status import as_text, read_status, write_recipe

LOOP = LoopConfig(2, OptimizerConfig(1e-3), warmup_steps=1, log_every=1, evaluate_every=2)
SPEECH = SpeechData(10.0)


def shown(items, what, total, done=0):  # type: ignore[no-untyped-def]
    return iter(items)


@pytest.fixture
def programme(tmp_path: Path) -> Programme:
    write_corpus(tmp_path)
    return toy_programme(tmp_path)


def write_corpus(tmp_path: Path) -> None:
    """Six utterances of noise, texts, and noise."""
    random = np.random.default_rng(0)
    rows = []
    for number, text in enumerate(
        ["今天天气很好", "how are you", "你好", "hello world", "天气", "the weather"]
    ):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, random.standard_normal(SAMPLE_RATE * 2) * 0.1, SAMPLE_RATE)
        split = "dev" if number > 3 else "train"
        rows.append({"audio": path.name, "text": text, "language": "zh", "split": split, "duration": 2.0})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (tmp_path / "toy.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "text.txt").write_text("今天很好\nthe wind is fine\n" * 5, encoding="utf-8")
    with tarfile.open(tmp_path / "noise.tar", "w") as archive:
        for number in range(9):
            buffer = io.BytesIO()
            soundfile.write(buffer, random.standard_normal(SAMPLE_RATE * 2) * 0.1, SAMPLE_RATE, format="WAV")
            info = tarfile.TarInfo(f"{'babble_sources' if number else 'hum'}/{number}.wav")
            info.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(info, buffer)


def toy_programme(tmp_path: Path) -> Programme:
    """A whole programme on the corpus that was written into ``tmp_path``."""
    return Programme(
        network=toy_config,
        vocabulary=80,
        corpora={"toy": Corpus(tmp_path / "toy.jsonl", 2.0)},
        texts=[tmp_path / "text.txt"],
        noises=tmp_path / "noise.tar",
        synthetic=None,
        keywords=KeywordConfig(common=1.0),
        stages={
            "words": Pretraining(LOOP, SPEECH, views=1),
            "text-pretraining": TextPretraining(LOOP, 200, hints=HintSampling()),
            "ia-sft": AsynchronousIaSft(
                Pretraining(replace(LOOP, steps=8, optimizer=OptimizerConfig(2e-2)), SPEECH),
                Alignment(LOOP, SPEECH, imitate=True),
                IaSft(LOOP, SPEECH),
                leg_steps=1,
                # So strict that every look but the first publishes.
                swaps=SwapConfig(threshold=1.0, every=0.25),
                patience=0.05,
            ),
            "joint-sft": JointSft(LOOP, SPEECH, hints=HintSampling()),
            "context-sft": ContextSft(LOOP, SPEECH),
            "rl": Rl(LOOP, SpeechData(10.0, augmentation=None), samples=2),
            "phoneme-head": PhonemeHeadTuning(LOOP, SPEECH),
        },
        dev=("toy",),
        first_words=("words",),
    )


def test_from_corpora_to_a_model_that_transcribes(
    programme: Programme, tmp_path: Path, speech: Floats
) -> None:
    folder = tmp_path / "run"
    write_recipe(folder, "toy", programme, list(programme.stages))
    run_programme(programme, folder, None, shown)
    checkpoint = load(folder / "model")
    Recognizer(torch_model(checkpoint)).transcribe(speech, sample_rate=SAMPLE_RATE)
    for name, stage in programme.stages.items():
        if not isinstance(stage, AsynchronousIaSft):
            assert steps_done(folder / name) == 2
    # Looked at after 2, 4 and 6 of 8 steps: a reference, two snapshots, and the last one.
    snapshots = SnapshotBoard(folder / "ia-sft/snapshots").snapshots()
    assert [one.step for one in snapshots] == [4, 6, 8]
    assert [one.reference_step for one in snapshots] == [2, 4, 6]
    assert [one.final for one in snapshots] == [False, False, True]
    # Two legs of a step and a final one of two.
    assert steps_done(folder / "ia-sft/ia-sft") == 4
    (row,) = [row for row in read_log(folder / "joint-sft") if "toy" in row]
    assert {"cka", "nse", "toy_text"} <= row.keys() and row["cka"] == pytest.approx(1.0, abs=0.1)
    assert not any("toy_text" in row for row in read_log(folder / "ia-sft/pretraining"))
    assert "reward" in next(iter(read_log(folder / "rl")))

    status = read_status(folder)
    assert status.model and status.phase == "done" and len(status.snapshots) == 3
    assert {stage.name: stage.done for stage in status.stages}["ia-sft/pretraining"] == 8
    legs = next(stage for stage in status.stages if stage.name == "ia-sft/ia-sft")
    assert (legs.done, legs.steps) == (4, 4)
    assert "snapshot 3 of step 8" in as_text(status)
    pictures = {path.name for path in plot_run(folder)}
    assert {"joint-sft.png", "ia-sft-cka.png", "rl.png"} <= pictures

    # Started again, it trains nothing anew and gives the same model.
    run_programme(programme, folder, None, shown)
    again = load(folder / "model").network.state_dict()
    assert all(value.equal(again[name]) for name, value in checkpoint.network.state_dict().items())


def test_stages_one_by_one_are_the_whole(programme: Programme, tmp_path: Path) -> None:
    run_programme(programme, tmp_path / "whole", None, shown)
    with pytest.raises(InputError, match="'words' comes before 'joint-sft'"):
        run_programme(programme, tmp_path / "steps", "joint-sft", shown)
    for stage in programme.stages:
        run_programme(programme, tmp_path / "steps", stage, shown)
    whole, steps = (load(tmp_path / name / "model").network.state_dict() for name in ("whole", "steps"))
    assert all(value.equal(steps[name]) for name, value in whole.items())


def test_two_sides_as_two_jobs_one_after_the_other(programme: Programme, tmp_path: Path) -> None:
    """All of pre-training first, as if the other job had been down; then that one takes the newest snapshot."""
    folder = tmp_path / "run"
    for name in ("words", "text-pretraining"):
        run_programme(programme, folder, name, shown)
    run_programme(programme, folder, None, shown, side="pretraining")
    assert SnapshotBoard(folder / "ia-sft/snapshots").snapshots()[-1].final
    assert not (folder / "ia-sft/alignment").exists()
    run_programme(programme, folder, None, shown, side="ia-sft")
    # One leg, the final one.
    assert steps_done(folder / "ia-sft/ia-sft") == 2
    run_programme(programme, folder, None, shown)
    assert (folder / "model").exists()
    with pytest.raises(InputError, match="has no sides"):
        run_programme(
            replace(programme, stages={"words": programme.stages["words"]}),
            tmp_path / "no sides",
            None,
            shown,
            side="ia-sft",
        )


def test_two_sides_at_the_same_time(programme: Programme, tmp_path: Path) -> None:
    """As two processes, which share the run's folder and nothing else, and one of them killed on the way."""
    folder = tmp_path / "run"
    for name in ("words", "text-pretraining"):
        run_programme(programme, folder, name, shown)
    here = Path(__file__).parent

    def job(side: Side) -> subprocess.Popen[bytes]:
        script = f"""
import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]
from pathlib import Path
from test_run import run_programme, shown, toy_programme
run_programme(toy_programme(Path({str(tmp_path)!r})), Path({str(folder)!r}), None, shown, side={side!r})
"""
        return subprocess.Popen([sys.executable, "-c", script])

    jobs = language_model, pretraining = [job("ia-sft"), job("pretraining")]
    try:
        for _ in range(1200):
            if SnapshotBoard(folder / "ia-sft/snapshots").snapshots():
                break
            time.sleep(0.05)
        language_model.kill()
        language_model.wait()
        language_model = job("ia-sft")
        jobs.append(language_model)
        assert [one.wait(120) for one in (pretraining, language_model)] == [0, 0]
    finally:
        for one in jobs:
            one.kill()
            one.wait()
    status = State.load(folder / "ia-sft/ia-sft")
    assert status.phase is Phase.DONE
    assert status.snapshot == SnapshotBoard(folder / "ia-sft/snapshots").snapshots()[-1].number


def test_beginning_from_another_model(programme: Programme, toy_model: Path, tmp_path: Path) -> None:
    short = replace(programme, stages={k: programme.stages[k] for k in ("words", "text-pretraining")})
    run_programme(short, tmp_path / "run", None, shown, toy_model)
    assert not (tmp_path / "run/words").exists()
    begun, ended = load(toy_model), load(tmp_path / "run/model")
    assert (begun.cmvn.mean == ended.cmvn.mean).all()
    weights = ended.network.encoder.state_dict()
    for name, value in begun.network.encoder.state_dict().items():
        np.testing.assert_allclose(weights[name], value, atol=1e-3)
    other = replace(short, network=lambda size: nano.network(size))
    with pytest.raises(InputError, match="cannot begin this recipe"):
        run_programme(other, tmp_path / "other", None, shown, toy_model)


def test_going_on_with_a_whole_model(programme: Programme, toy_model: Path, tmp_path: Path) -> None:
    run_programme(programme, tmp_path / "run", "phoneme-head", shown, toy_model, first="phoneme-head")
    begun, ended = load(toy_model).network.state_dict(), load(tmp_path / "run/model").network.state_dict()
    for name, value in begun.items():
        if not name.startswith("phoneme_head."):
            np.testing.assert_allclose(ended[name], value, atol=2e-3)
    with pytest.raises(InputError, match="which model to start from"):
        run_programme(programme, tmp_path / "run", None, shown, first="rl")
    with pytest.raises(InputError, match="before what this run begins with"):
        run_programme(programme, tmp_path / "run", "words", shown, toy_model, first="rl")


def test_recordings_are_read_at_every_pass_and_skipped_if_they_cannot_be(
    programme: Programme, tmp_path: Path
) -> None:
    (tmp_path / "0.wav").write_bytes(b"no sound")
    corpora = {"toy": replace(programme.corpora["toy"], stored=False)}
    short = replace(programme, corpora=corpora, stages={"words": programme.stages["words"]})
    run_programme(short, tmp_path / "run", None, shown)
    assert steps_done(tmp_path / "run/words") == 2
    skipped = [json.loads(line) for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    assert {row["id"] for row in skipped} == {"0.wav"}
    write_recipe(tmp_path / "run", "toy", short, list(short.stages))
    assert read_status(tmp_path / "run").left_out == {"skipped.jsonl": len(skipped)}


def test_data_that_hold_nothing(programme: Programme, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no stage"):
        run_programme(programme, tmp_path / "run", "magic", shown)
    empty = replace(programme, corpora={"toy": Corpus(tmp_path / "none.jsonl")})
    with pytest.raises(InputError, match="no such manifest"):
        run_programme(empty, tmp_path / "run", None, shown)
    with pytest.raises(InputError, match="no corpus"):
        run_programme(replace(programme, corpora={}), tmp_path / "run", None, shown)
    with pytest.raises(InputError, match="no run has begun"):
        read_status(tmp_path / "nowhere")


@pytest.mark.parametrize(("first", "fitted"), [("text-pretraining", True), ("phoneme-head", False)])
def test_e_is_fitted_to_a_model_where_a_stage_reads_it(
    programme: Programme,
    tmp_path: Path,
    toy_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    fitted: bool,
) -> None:
    seconds: list[float] = []

    def fit(e: PhonemeSpeech, network: Nim4, batches: Iterable[SpeechBatch]) -> None:
        seconds.extend(one.seconds for one in batches)

    monkeypatch.setattr(PhonemeSpeech, "fit", fit)
    run_programme(programme, tmp_path / "run", first, shown, toy_model, first=first)
    assert (sum(seconds) > 0) == fitted


@pytest.mark.parametrize("name", ["nano", "nim4-2.3b"])
def test_recipes_are_whole_programmes(name: str, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech/some.jsonl").write_text("")
    programme = training_programme(name, tmp_path)
    assert list(programme.stages)[-4:] == ["joint-sft", "context-sft", "rl", "phoneme-head"]
    write_recipe(tmp_path / "run", name, programme, programme.stages_from(True, "rl"))
    status = read_status(tmp_path / "run")
    assert status.recipe == name and [one.name for one in status.stages] == ["rl", "phoneme-head"]


def test_more_hours_for_a_model_that_is_trained(tmp_path: Path) -> None:
    longer, whole = training_programme("nano-longer", tmp_path), training_programme("nano", tmp_path)
    assert longer.stages_from(True, "pretraining") == ["pretraining", "joint-sft"]
    assert longer.corpora.keys() == whole.corpora.keys() and longer.dev == whole.dev
    assert longer.corpora["fsdd"].dev_speakers == ("lucas",)
    stage = longer.stages["pretraining"]
    assert isinstance(stage, Pretraining) and stage.views == 2


def test_speakers_and_noises_can_be_set_aside(programme: Programme, tmp_path: Path) -> None:
    (name,) = programme.corpora
    corpus = programme.corpora[name]
    rows = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"speaker": f"s{number % 2}", "split": ""}
    corpus.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    aside = replace(programme, corpora={name: replace(corpus, dev_speakers=("s1",))}, dev=(name,))
    gathered = prepare.gather(aside, tmp_path / "run", shown, None)
    trained = {entry.id for source in gathered.data.sources for entry in source.corpus.entries}
    judged = {entry.id for entry in gathered.dev[name].entries}
    assert judged and trained and not judged & trained


def test_a_recipe_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        training_programme("nim4-2.3b", tmp_path)
    with pytest.raises(InputError, match="no recipe"):
        training_programme("magic", tmp_path)


def test_comparing_encoders_needs_dev_utterances(programme: Programme, tmp_path: Path) -> None:
    alone = replace(programme, dev=(), stages={"ia-sft": programme.stages["ia-sft"]})
    with pytest.raises(InputError, match="compares encoders on dev utterances"):
        run_programme(alone, tmp_path / "run", None, shown)


def test_a_sharded_run_trains_one_stage(
    programme: Programme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("run", "async_sft.runner", "trainer"):
        monkeypatch.setattr(f"nim4asr.training.{module}.is_sharded", lambda _: True)
    with pytest.raises(InputError, match="name it with --stage"):
        run_programme(programme, tmp_path / "run", None, shown)
    for stage, problem in (("ia-sft", "whole encoders"), ("rl", "roll-outs need whole weights")):
        alone = replace(programme, stages={stage: programme.stages[stage]})
        with pytest.raises(InputError, match=problem):
            run_programme(alone, tmp_path / stage, stage, shown)


def test_a_key_is_never_written_and_comes_from_the_environment(
    programme: Programme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-SECRET")
    judge = KeywordFilter("http://localhost:9/v1", "some-model", "MY_KEY")
    asked: list[str] = []

    def keeping(found: list[str], endpoint: str, model: str, key: str) -> list[str]:
        asked.append(key)
        return found

    monkeypatch.setattr(prepare, "filtered", keeping)
    given = replace(programme, keywords=KeywordConfig(common=1.0), keyword_filter=judge)
    folder = tmp_path / "run"
    write_recipe(folder, "toy", given, list(given.stages))
    prepare.gather(given, folder, shown, None)
    assert asked == ["sk-SECRET"]
    kept = [one for one in folder.rglob("*") if one.is_file()]
    assert len(kept) > 3 and not any(b"sk-SECRET" in one.read_bytes() for one in kept)


@pytest.mark.parametrize(
    ("form", "wanted"), [("plain", "hello mister three"), ("written", "Hello, Mister 3!")]
)
def test_the_form_of_the_text_is_the_recipe_s_choice(form: TextForm, wanted: str) -> None:
    assert in_form("Hello,  Mister 3!", form) == wanted


def test_a_recipe_of_written_texts_learns_case_and_punctuation(programme: Programme, tmp_path: Path) -> None:
    given = prepare.gather(replace(programme, text_form="written"), tmp_path / "run", shown, None)
    batches = SPEECH.batches(given.data)
    texts = {text for number in range(3) for text in batches(number, np.random.default_rng(0)).texts}
    originals = {entry.text for source in given.data.sources for entry in source.corpus.entries}
    assert texts <= {"", *originals} and set(given.data.texts) >= originals


def test_the_steps_of_the_large_recipe_follow_from_the_paper_s_hours(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech/a.jsonl").write_text("")
    stages = training_programme("nim4-2.3b", tmp_path).stages
    heard = {name: stage.data.batch_seconds * 8 / 3600 for name, stage in stages.items() if name != "ia-sft"}
    hours = {name: heard[name] * stages[name].loop.steps for name in heard}
    assert hours["joint-sft"] == hours["phoneme-head"] == pytest.approx(560_000)
    assert hours["context-sft"] == pytest.approx(50_000)
    assert hours["rl"] * 3600 / 8.0 == pytest.approx(20_000)
    whole = stages["ia-sft"]
    assert isinstance(whole, AsynchronousIaSft)
    # What the paper states itself; its hours, once heard, would make 2.1 M.
    assert whole.pretraining.loop.steps == 2_000_000 == pytest.approx(steps_for(560_000, 120.0), rel=0.06)
    assert whole.alignment.loop.steps == 1_300_000
