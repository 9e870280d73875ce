"""What the recipe makes of its machine and its hours; tests/test_public_parts.py runs it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import toy_config, toy_whisper_config
from nim4asr.data.amount import Amount
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.recipes import training_recipe
from nim4asr.recipes.from_public_parts import recipe, speech_in
from nim4asr.training.lora import LoraConfig
from nim4asr.training.machine import Machine
from nim4asr.training.prepare import build_model, prepare_data
from nim4asr.training.recipe import Recipe
from nim4asr.training.run import run_recipe
from nim4asr.training.stages.base import SpeechStage
from recipes.parts import write_corpora

ORDER = ["head", "pretraining", "alignment", "ia-sft", "joint-sft", "context-sft", "rl", "phoneme-head"]
MACHINE = Machine("toy", "cpu", 8 * 10**9, 10**12, 1e11, "no")
CONFIG = replace(toy_whisper_config(200), chunks=None)
DECLARED = Amount(60_000, 300_000.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_corpora(tmp_path / "corpora", clips=12)


def stage_of(recipe: Recipe, name: str) -> SpeechStage:
    stage = recipe.stages[name]
    assert isinstance(stage, SpeechStage)
    return stage


def test_stages_come_in_the_paper_s_order_with_the_encoder_before_alignment(data: Path) -> None:
    whole = recipe(data, CONFIG, MACHINE)
    assert list(whole.stages) == ORDER and whole.stages_from(True, None) == ORDER
    assert [name for name in ORDER if stage_of(whole, name).data.frames is not None] == [
        "head",
        "alignment",
        "ia-sft",
    ]
    trained = {name: set(stage_of(whole, name).work().trained) for name in ORDER}
    assert trained["head"] == trained["phoneme-head"] == {"phoneme_head"}
    assert trained["pretraining"] == {"encoder", "phoneme_head"} and trained["alignment"] == {"adaptor"}
    assert trained["rl"] == {"encoder", "adaptor"}
    assert whole.text_form == "written" and whole.noises == data / "noise/noise.tar"
    assert list(whole.corpora) == ["mine"] == list(whole.dev)


def test_frames_of_alignment_and_ia_sft_are_the_same(data: Path) -> None:
    stages = recipe(data, CONFIG, MACHINE).stages
    one, other = stages["alignment"], stages["ia-sft"]
    assert isinstance(one, SpeechStage) and isinstance(other, SpeechStage)
    assert replace(one.data, batch_seconds=1.0) == replace(other.data, batch_seconds=1.0)


@pytest.mark.parametrize("lora", [None, LoraConfig(4)])
def test_corrections_or_all_of_the_language_model(data: Path, lora: LoraConfig | None) -> None:
    chosen = recipe(data, CONFIG, MACHINE, lora=lora)
    for name in ("ia-sft", "joint-sft", "context-sft", "rl"):
        work = stage_of(chosen, name).work()
        assert work.lora == lora and ("llm" in work.trained) == (lora is None)
        # The paper's rates are for all of it.
        rate = stage_of(chosen, name).loop.optimizer.peak_lr
        assert (rate in (1e-5, 1e-6, 2e-6)) == (lora is None) or name == "context-sft"


def test_batches_follow_from_the_memory_and_steps_do_not(data: Path) -> None:
    large = recipe(data, CONFIG, MACHINE, DECLARED)
    small = recipe(data, CONFIG, replace(MACHINE, memory_bytes=int(1.1e9)), DECLARED)
    for name in ORDER:
        one, other = stage_of(large, name), stage_of(small, name)
        assert one.loop.steps == other.loop.steps and one.loop.accumulation_steps == 1
        step_s = [s.data.batch_seconds * s.loop.accumulation_steps for s in (one, other)]
        assert step_s[0] == pytest.approx(step_s[1])
    assert stage_of(small, "pretraining").loop.accumulation_steps > 1
    with pytest.raises(
        InputError, match=r"'head' needs 1\.0 GB for one utterance of 20 s, and there are 0\.1"
    ):
        recipe(data, CONFIG, replace(MACHINE, memory_bytes=10**8), DECLARED)


def test_steps_follow_from_the_hours(data: Path) -> None:
    hours = {h: recipe(data, CONFIG, MACHINE, Amount(720 * h, 3600.0 * h)) for h in (100, 400)}
    for name in ORDER:
        few, many = (stage_of(hours[h], name).loop.steps for h in (100, 400))
        # RL hears a tenth of the utterances, and no more than the paper's 20,000: of 400 hours, fewer.
        assert many == pytest.approx((20_000 / 7_200 if name == "rl" else 4) * few, rel=0.01)
    # Six times 100 hours, in steps of 120 s.
    assert stage_of(hours[100], "pretraining").loop.steps == 6 * 100 * 30
    rl = stage_of(recipe(data, CONFIG, MACHINE, Amount(720_000, 3.6e6)), "rl")
    heard_s = rl.loop.steps * rl.data.batch_seconds
    assert heard_s == pytest.approx(20_000 * (5.0 + rl.data.utterance_cost_s), rel=0.01)


def test_frames_are_stored_where_the_disk_has_room(data: Path) -> None:
    # 25 frames of 32 numbers a second, in half precision, twice.
    needed = DECLARED.seconds * 25 * 32 * 2 * 2
    for disk, stored in ((2.1 * needed, True), (1.9 * needed, False)):
        chosen = recipe(data, CONFIG, replace(MACHINE, disk_bytes=int(disk)), DECLARED)
        for name in ("head", "alignment", "ia-sft"):
            assert (stage_of(chosen, name).data.frames is not None) == stored


def test_many_hours_are_read_at_every_pass(data: Path) -> None:
    for hours, stored in ((499, True), (501, False)):
        chosen = recipe(data, CONFIG, MACHINE, Amount(hours * 720, hours * 3600.0))
        assert {corpus.stored for corpus in chosen.corpora.values()} == {stored}
        assert (stage_of(chosen, "head").loop.data_workers == 0) == stored


def test_all_of_the_model_is_where_it_starts(
    data: Path, toy_whisper_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    start = toy_whisper_checkpoint
    whole = recipe(data, start.config, MACHINE)
    prepared = prepare_data(whole, tmp_path / "run", start=start)
    model = build_model(whole, prepared, start, whole=True)
    assert model.network is start.network and model.tokenizer is start.tokenizer
    assert model.phoneme_embedding is None and len(model.keywords or ())
    with pytest.raises(InputError, match="begins with a whole model"):
        run_recipe(whole, tmp_path / "other")


def test_what_it_cannot_start_from(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name its folder with --init-model"):
        training_recipe("from-public-parts", data)
    alone = replace(toy_config(100), adaptor=None, phoneme_head=None, llm=None)
    with pytest.raises(InputError, match="an encoder alone; make a model around it with nim4 new"):
        training_recipe("from-public-parts", data, alone)
    with pytest.raises(InputError, match="no manifest"):
        recipe(tmp_path, CONFIG, MACHINE)
    lines = (data / "speech/mine.jsonl").read_text().splitlines()
    dev = [json.dumps({**json.loads(line), "split": "dev"}) + "\n" for line in lines]
    (data / "speech/mine.jsonl").write_text("".join(dev))
    with pytest.raises(InputError, match="none to train on"):
        speech_in(data)


def test_the_machine_is_measured_where_none_is_given(data: Path) -> None:
    measured = training_recipe("from-public-parts", data, CONFIG)
    assert list(measured.stages) == ORDER
    less = replace(MACHINE, memory_bytes=10**8)
    with pytest.raises(InputError, match=r"there are 0\.1"):
        training_recipe("from-public-parts", data, CONFIG, lambda: less)
    # By low-rank corrections, unless all of the language model is asked for.
    for asked in (False, True):
        chosen = training_recipe("from-public-parts", data, CONFIG, lambda: MACHINE, asked)
        assert ("llm" in stage_of(chosen, "joint-sft").work().trained) == asked


def test_how_much_speech_there_is(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "speech/mine.jsonl").read_text().splitlines()]
    train = [row["duration"] for row in rows if row["split"] == "train"]
    assert speech_in(data) == Amount(len(train), pytest.approx(sum(train)))
