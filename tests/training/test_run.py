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
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.batches import SpeechBatch
from nim4asr.data.keywords import KeywordConfig
from nim4asr.errors import InputError
from nim4asr.files import locked
from nim4asr.model.checkpoint import load
from nim4asr.model.nim4 import Nim4
from nim4asr.recipes import nano, training_recipe
from nim4asr.recipes.nim4_2b3 import steps_for
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.torch_network import torch_model
from nim4asr.training import prepare
from nim4asr.training.async_sft.schedule import Phase, State, SwapConfig
from nim4asr.training.async_sft.snapshots import SnapshotStore
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.loop.states import steps_done
from nim4asr.training.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.plots import plot_run
from nim4asr.training.prepare import prepare_data
from nim4asr.training.recipe import CorpusConfig, KeywordFilter, Recipe
from nim4asr.training.run import RunOptions, run_recipe
from nim4asr.training.speech import SpeechData, TextForm, in_form
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import Worker
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.text_pretraining import TextPretraining
from nim4asr.training.status import as_text, read_status, write_recipe

LOOP = LoopConfig(2, OptimizerConfig(1e-3), warmup_steps=1, log_every=1, evaluate_every=2)
SPEECH = SpeechData(10.0)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    write_corpus(tmp_path)
    return toy_recipe(tmp_path)


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


def toy_recipe(tmp_path: Path) -> Recipe:
    """A whole recipe on the corpus that was written into ``tmp_path``."""
    return Recipe(
        network=toy_config,
        vocabulary=80,
        corpora={"toy": CorpusConfig(tmp_path / "toy.jsonl", 2.0)},
        texts=[tmp_path / "text.txt"],
        noises=tmp_path / "noise.tar",
        synthetic=None,
        keywords=KeywordConfig(max_text_share=1.0),
        stages={
            "words": Pretraining(LOOP, SPEECH, views=1),
            "text-pretraining": TextPretraining(LOOP, 200, hints=HintSampling()),
            "ia-sft": AsyncIaSft(
                Pretraining(replace(LOOP, steps=8, optimizer=OptimizerConfig(2e-2)), SPEECH),
                Alignment(LOOP, SPEECH, imitate=True),
                IaSft(LOOP, SPEECH),
                steps_per_snapshot=1,
                # So strict that every look but the first publishes.
                swaps=SwapConfig(cka_threshold=1.0, check_every_share=0.25),
                poll_s=0.05,
            ),
            "joint-sft": JointSft(LOOP, SPEECH, hints=HintSampling()),
            "context-sft": ContextSft(LOOP, SPEECH),
            "rl": Rl(LOOP, SpeechData(10.0, augmentation=None), group_size=2),
            "phoneme-head": PhonemeHeadTuning(LOOP, SPEECH),
        },
        dev=("toy",),
        bootstrap_stages=("words",),
    )


def test_from_corpora_to_a_model_that_transcribes(recipe: Recipe, tmp_path: Path, speech: Floats) -> None:
    folder = tmp_path / "run"
    write_recipe(folder, "toy", recipe, list(recipe.stages))
    run_recipe(recipe, folder)
    checkpoint = load(folder / "model")
    Recognizer(torch_model(checkpoint)).transcribe(speech, sample_rate=SAMPLE_RATE)
    for name, stage in recipe.stages.items():
        if not isinstance(stage, AsyncIaSft):
            assert steps_done(folder / name) == 2
    # Looked at after 2, 4 and 6 of 8 steps: a reference, two snapshots, and the last one.
    snapshots = SnapshotStore(folder / "ia-sft/snapshots").snapshots()
    assert [one.step for one in snapshots] == [4, 6, 8]
    assert [one.reference_step for one in snapshots] == [2, 4, 6]
    assert [one.final for one in snapshots] == [False, False, True]
    # Two rounds of a step and a final one of two.
    assert steps_done(folder / "ia-sft/ia-sft") == 4
    (row,) = [row for row in read_log(folder / "joint-sft") if "toy" in row]
    assert {"cka", "nse", "toy_text"} <= row.keys() and row["cka"] == pytest.approx(1.0, abs=0.1)
    assert not any("toy_text" in row for row in read_log(folder / "ia-sft/pretraining"))
    assert "reward" in next(iter(read_log(folder / "rl")))

    status = read_status(folder)
    assert status.model and status.phase == "done" and len(status.snapshots) == 3
    assert {stage.name: stage.done for stage in status.stages}["ia-sft/pretraining"] == 8
    rounds = next(stage for stage in status.stages if stage.name == "ia-sft/ia-sft")
    assert (rounds.done, rounds.steps) == (4, 4)
    assert "snapshot 3 of step 8" in as_text(status)
    pictures = {path.name for path in plot_run(folder)}
    assert {"joint-sft.png", "ia-sft-cka.png", "rl.png"} <= pictures

    # Started again, it trains nothing anew and gives the same model.
    run_recipe(recipe, folder)
    again = load(folder / "model").network.state_dict()
    assert all(value.equal(again[name]) for name, value in checkpoint.network.state_dict().items())


def test_stages_one_by_one_are_the_whole(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, tmp_path / "whole")
    with pytest.raises(InputError, match="'words' comes before 'joint-sft'"):
        run_recipe(recipe, tmp_path / "steps", RunOptions(only_stage="joint-sft"))
    for stage in recipe.stages:
        run_recipe(recipe, tmp_path / "steps", RunOptions(only_stage=stage))
    whole, steps = (load(tmp_path / name / "model").network.state_dict() for name in ("whole", "steps"))
    assert all(value.equal(steps[name]) for name, value in whole.items())


def test_two_sides_as_two_jobs_one_after_the_other(recipe: Recipe, tmp_path: Path) -> None:
    """All of pre-training first, as if the other job had been down; then that one takes the newest
    snapshot.
    """
    folder = tmp_path / "run"
    for name in ("words", "text-pretraining"):
        run_recipe(recipe, folder, RunOptions(only_stage=name))
    run_recipe(recipe, folder, RunOptions(worker="pretraining"))
    assert SnapshotStore(folder / "ia-sft/snapshots").snapshots()[-1].final
    assert not (folder / "ia-sft/alignment").exists()
    run_recipe(recipe, folder, RunOptions(worker="ia-sft"))
    # One round, the final one.
    assert steps_done(folder / "ia-sft/ia-sft") == 2
    run_recipe(recipe, folder)
    assert (folder / "model").exists()
    with pytest.raises(InputError, match="has no workers"):
        run_recipe(
            replace(recipe, stages={"words": recipe.stages["words"]}),
            tmp_path / "no sides",
            RunOptions(worker="ia-sft"),
        )


def test_two_sides_at_the_same_time(recipe: Recipe, tmp_path: Path) -> None:
    """As two processes, which share the run's folder and nothing else, and one of them killed on the way."""
    folder = tmp_path / "run"
    for name in ("words", "text-pretraining"):
        run_recipe(recipe, folder, RunOptions(only_stage=name))
    here = Path(__file__).parent

    def job(worker: Worker) -> subprocess.Popen[bytes]:
        script = f"""
import sys; sys.path[:0] = [{str(here.parent)!r}, {str(here)!r}]
from pathlib import Path
from test_run import RunOptions, run_recipe, toy_recipe
run_recipe(toy_recipe(Path({str(tmp_path)!r})), Path({str(folder)!r}), RunOptions(worker={worker!r}))
"""
        return subprocess.Popen([sys.executable, "-c", script])

    jobs = language_model, pretraining = [job("ia-sft"), job("pretraining")]
    try:
        for _ in range(1200):
            if SnapshotStore(folder / "ia-sft/snapshots").snapshots():
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
    assert status.snapshot == SnapshotStore(folder / "ia-sft/snapshots").snapshots()[-1].number


def test_beginning_from_another_model(recipe: Recipe, toy_model: Path, tmp_path: Path) -> None:
    short = replace(recipe, stages={k: recipe.stages[k] for k in ("words", "text-pretraining")})
    run_recipe(short, tmp_path / "run", RunOptions(toy_model))
    assert not (tmp_path / "run/words").exists()
    begun, ended = load(toy_model), load(tmp_path / "run/model")
    assert (begun.normalization.mean == ended.normalization.mean).all()
    weights = ended.network.encoder.state_dict()
    for name, value in begun.network.encoder.state_dict().items():
        np.testing.assert_allclose(weights[name], value, atol=1e-3)
    other = replace(short, network=lambda size: nano.network(size))
    with pytest.raises(InputError, match="cannot begin this recipe"):
        run_recipe(other, tmp_path / "other", RunOptions(toy_model))


def test_going_on_with_a_whole_model(recipe: Recipe, toy_model: Path, tmp_path: Path) -> None:
    run_recipe(recipe, tmp_path / "run", RunOptions(toy_model, "phoneme-head", "phoneme-head"))
    begun, ended = load(toy_model).network.state_dict(), load(tmp_path / "run/model").network.state_dict()
    for name, value in begun.items():
        if not name.startswith("phoneme_head."):
            np.testing.assert_allclose(ended[name], value, atol=2e-3)
    with pytest.raises(InputError, match="name a model"):
        run_recipe(recipe, tmp_path / "run", RunOptions(start_stage="rl"))
    with pytest.raises(InputError, match="before what this run begins with"):
        run_recipe(recipe, tmp_path / "run", RunOptions(toy_model, "rl", "words"))


def test_recordings_are_read_at_every_pass_and_skipped_if_they_cannot_be(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "0.wav").write_bytes(b"no sound")
    corpora = {"toy": replace(recipe.corpora["toy"], stored=False)}
    short = replace(recipe, corpora=corpora, stages={"words": recipe.stages["words"]})
    run_recipe(short, tmp_path / "run")
    assert steps_done(tmp_path / "run/words") == 2
    skipped = [json.loads(line) for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    assert {row["id"] for row in skipped} == {"0.wav"}
    write_recipe(tmp_path / "run", "toy", short, list(short.stages))
    assert read_status(tmp_path / "run").left_out == {"skipped.jsonl": len(skipped)}


def test_data_that_hold_nothing(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no stage"):
        run_recipe(recipe, tmp_path / "run", RunOptions(only_stage="magic"))
    empty = replace(recipe, corpora={"toy": CorpusConfig(tmp_path / "none.jsonl")})
    with pytest.raises(InputError, match="no such manifest"):
        run_recipe(empty, tmp_path / "run")
    with pytest.raises(InputError, match="no corpus"):
        run_recipe(replace(recipe, corpora={}), tmp_path / "run")
    with pytest.raises(InputError, match="no run has begun"):
        read_status(tmp_path / "nowhere")


@pytest.mark.parametrize(("first", "fitted"), [("text-pretraining", True), ("phoneme-head", False)])
def test_e_is_fitted_to_a_model_where_a_stage_reads_it(
    recipe: Recipe,
    tmp_path: Path,
    toy_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    fitted: bool,
) -> None:
    seconds: list[float] = []

    def fit(e: PhonemeEmbedding, network: Nim4, batches: Iterable[SpeechBatch]) -> None:
        seconds.extend(one.seconds for one in batches)

    monkeypatch.setattr(PhonemeEmbedding, "fit", fit)
    run_recipe(recipe, tmp_path / "run", RunOptions(toy_model, first, first))
    assert (sum(seconds) > 0) == fitted


@pytest.mark.parametrize("name", ["nano", "nim4-2.3b"])
def test_recipes_are_whole_programmes(name: str, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech/some.jsonl").write_text("")
    recipe = training_recipe(name, tmp_path)
    assert list(recipe.stages)[-4:] == ["joint-sft", "context-sft", "rl", "phoneme-head"]
    write_recipe(tmp_path / "run", name, recipe, recipe.stages_from(True, "rl"))
    status = read_status(tmp_path / "run")
    assert status.recipe == name and [one.name for one in status.stages] == ["rl", "phoneme-head"]


def test_more_hours_for_a_model_that_is_trained(tmp_path: Path) -> None:
    longer, whole = training_recipe("nano-longer", tmp_path), training_recipe("nano", tmp_path)
    assert longer.stages_from(True, "pretraining") == ["pretraining", "joint-sft"]
    assert longer.corpora.keys() == whole.corpora.keys() and longer.dev == whole.dev
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech/cv_en_labeled.jsonl").write_text("")
    labeled = training_recipe("nano-longer", tmp_path).corpora
    assert labeled.keys() - whole.corpora.keys() == {"cv_en_labeled"}
    (tmp_path / "text").mkdir()
    (tmp_path / "text/en_articles.txt.gz").write_bytes(b"")
    more = training_recipe("nano-longer", tmp_path).texts
    assert [path.name for path in more if path not in whole.texts] == ["en_articles.txt.gz"]
    assert longer.corpora["fsdd"].dev_speakers == ("lucas",)
    stage = longer.stages["pretraining"]
    assert isinstance(stage, Pretraining) and stage.views == 2


def test_speakers_and_noises_can_be_set_aside(recipe: Recipe, tmp_path: Path) -> None:
    (name,) = recipe.corpora
    corpus = recipe.corpora[name]
    rows = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"speaker": f"s{number % 2}", "split": ""}
    corpus.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    aside = replace(recipe, corpora={name: replace(corpus, dev_speakers=("s1",))}, dev=(name,))
    gathered = prepare_data(aside, tmp_path / "run")
    trained = {entry.id for source in gathered.data.sources for entry in source.corpus.utterances}
    judged = {entry.id for entry in gathered.dev[name].utterances}
    assert judged and trained and not judged & trained


def test_a_recipe_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        training_recipe("nim4-2.3b", tmp_path)
    with pytest.raises(InputError, match="no recipe"):
        training_recipe("magic", tmp_path)


def test_comparing_encoders_needs_dev_utterances(recipe: Recipe, tmp_path: Path) -> None:
    alone = replace(recipe, dev=(), stages={"ia-sft": recipe.stages["ia-sft"]})
    with pytest.raises(InputError, match="compares encoders on dev utterances"):
        run_recipe(alone, tmp_path / "run")


def test_a_sharded_run_trains_one_stage(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("run", "async_sft.runner", "trainer"):
        monkeypatch.setattr(f"nim4asr.training.{module}.is_sharded", lambda _: True)
    with pytest.raises(InputError, match="name it with --only-stage"):
        run_recipe(recipe, tmp_path / "run")
    for stage, problem in (("ia-sft", "whole encoders"), ("rl", "'rl' needs whole weights")):
        alone = replace(recipe, stages={stage: recipe.stages[stage]})
        with pytest.raises(InputError, match=problem):
            run_recipe(alone, tmp_path / stage, RunOptions(only_stage=stage))


def test_a_key_is_never_written_and_comes_from_the_environment(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-SECRET")
    judge = KeywordFilter("http://localhost:9/v1", "some-model", "MY_KEY")
    asked: list[str] = []

    def keeping(found: list[str], endpoint: str, model: str, key: str) -> list[str]:
        asked.append(key)
        return found

    monkeypatch.setattr(prepare, "filtered", keeping)
    given = replace(recipe, keywords=KeywordConfig(max_text_share=1.0), keyword_filter=judge)
    folder = tmp_path / "run"
    write_recipe(folder, "toy", given, list(given.stages))
    prepare_data(given, folder)
    assert asked == ["sk-SECRET"]
    kept = [one for one in folder.rglob("*") if one.is_file()]
    assert len(kept) > 3 and not any(b"sk-SECRET" in one.read_bytes() for one in kept)


@pytest.mark.parametrize(
    ("form", "wanted"), [("plain", "hello mister three"), ("written", "Hello, Mister 3!")]
)
def test_the_form_of_the_text_is_the_recipe_s_choice(form: TextForm, wanted: str) -> None:
    assert in_form("Hello,  Mister 3!", form) == wanted


def test_a_recipe_of_written_texts_learns_case_and_punctuation(recipe: Recipe, tmp_path: Path) -> None:
    given = prepare_data(replace(recipe, text_form="written"), tmp_path / "run")
    batches = SPEECH.batches(given.data)
    texts = {text for number in range(3) for text in batches(number, np.random.default_rng(0)).texts}
    originals = {entry.text for source in given.data.sources for entry in source.corpus.utterances}
    assert texts <= {"", *originals} and set(given.data.texts) >= originals


def test_the_steps_of_the_large_recipe_follow_from_the_paper_s_hours(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech/a.jsonl").write_text("")
    stages = training_recipe("nim4-2.3b", tmp_path).stages
    heard = {name: stage.data.batch_seconds * 8 / 3600 for name, stage in stages.items() if name != "ia-sft"}
    hours = {name: heard[name] * stages[name].loop.steps for name in heard}
    assert hours["joint-sft"] == hours["phoneme-head"] == pytest.approx(560_000)
    assert hours["context-sft"] == pytest.approx(50_000)
    assert hours["rl"] * 3600 / 8.0 == pytest.approx(20_000)
    whole = stages["ia-sft"]
    assert isinstance(whole, AsyncIaSft)
    # What the paper states itself; its hours, once heard, would make 2.1 M.
    assert whole.pretraining.loop.steps == 2_000_000 == pytest.approx(steps_for(560_000, 120.0), rel=0.06)
    assert whole.alignment.loop.steps == 1_300_000


def test_one_process_trains_in_a_folder(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nim4asr.files._PATIENCE_S", 0.0)
    with (
        locked(tmp_path / "run/run"),
        pytest.raises(InputError, match="another process trains here; wait for it"),
    ):
        run_recipe(recipe, tmp_path / "run")
    # A worker of asynchronous IA-SFT is beside the other.
    with locked(tmp_path / "run/run-ia-sft"), pytest.raises(InputError, match="comes before"):
        run_recipe(recipe, tmp_path / "run", RunOptions(only_stage="rl"))


def test_other_recordings_are_refused_before_anything_is_written(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="comes before"):
        run_recipe(recipe, tmp_path / "run", RunOptions(only_stage="rl", name="toy"))
    kept = (tmp_path / "run/recipe.json").read_text()
    manifest = tmp_path / "toy.jsonl"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("how are", "who are"), encoding="utf-8")
    other = replace(recipe, seed=7)
    with pytest.raises(InputError, match="the manifest of toy has changed"):
        run_recipe(other, tmp_path / "run", RunOptions(name="other"))
    assert (tmp_path / "run/recipe.json").read_text() == kept
