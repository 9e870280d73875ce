"""A recipe, run: one stage after another, each from what the one before it left.

A run's folder holds the prepared (``nim4asr.training.prepare``), a folder a stage (log and states), and at
the end ``model``, the checkpoint. Stopped at any moment, the same command goes on where the last state was
saved.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from numpy.random import default_rng

from nim4asr.data.batches import SpeechBatch
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.training.async_sft.runner import AsyncIaSftRunner, Worker
from nim4asr.training.async_sft.schedule import AsyncIaSft
from nim4asr.training.loop.loop import is_sharded, new_accelerator
from nim4asr.training.loop.precision import precision_of
from nim4asr.training.prepare import begin, gather
from nim4asr.training.recipe import ProgressReporter, Recipe
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.speech import SpeechData, TrainingData
from nim4asr.training.stages.text_pretraining import TextPretraining
from nim4asr.training.trainer import Trainer

MODEL = "model"
# Stages that read E, or do so with some of their settings.
_READ_E = (TextPretraining, Alignment, AsyncIaSft, MixedText)


def run_recipe(
    recipe: Recipe,
    folder: Path,
    only: str | None,
    progress: ProgressReporter,
    start: str | Path | None = None,
    first: str | None = None,
    worker: Worker | None = None,
) -> None:
    """Train the stages of ``recipe`` (or the one named ``only``) and save the model.

    With ``start``, the encoder and the phoneme head begin as that model's, its normalization is kept, and the
    stages named ``bootstrap_stages`` are left out; with ``first`` too, everything begins as that model's, and
    the stages before ``first`` are left out. ``worker`` runs one worker of an asynchronous stage, and nothing
    after it. A sharded run trains one stage; the model is written by the next that is not. Raises
    ``InputError`` if data are missing or a stage's predecessor is not done.
    """
    names = recipe.stages_from(start is not None, first)
    if only is not None and only not in names:
        if only in recipe.stages:
            raise InputError(f"the stage {only!r} comes before what this run begins with")
        raise InputError(f"there is no stage {only!r}; the recipe has {', '.join(recipe.stages)}")
    begun = None if start is None else load(start)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = new_accelerator(precision_of(recipe.precision, folder, _device()))
    if is_sharded(accelerator) and only is None:
        raise InputError("under FSDP and DeepSpeed a command trains one stage; name it with --stage")
    with accelerator.main_process_first():
        prepared = gather(recipe, folder, progress, begun)
    model = begin(recipe, prepared, begun, first is not None)
    reads = any(isinstance(recipe.stages[name], _READ_E) for name in names)
    if first is not None and reads and model.phonemes is not None:
        model.phonemes.fit(model.network, _heard_plainly(prepared.data))
    trainer = Trainer(folder, model, prepared, progress, accelerator)
    for name in names:
        stage = recipe.stages[name]
        train: Callable[[], object]
        if isinstance(stage, AsyncIaSft):
            runner = AsyncIaSftRunner(trainer, name, stage)
            done, train, load_latest_state = (
                runner.is_done(),
                partial(runner.run, worker),
                runner.load_latest_state,
            )
        else:
            done = trainer.is_done(name, stage)
            train, load_latest_state = (
                partial(trainer.train, name, stage),
                partial(trainer.load_latest_state, name, stage),
            )
        if done:
            load_latest_state()
        elif only not in (None, name):
            raise InputError(f"the stage {name!r} comes before {only!r} and is not done yet")
        elif worker is not None and not isinstance(stage, AsyncIaSft):
            raise InputError(f"the stage {name!r} has no workers; it runs as one")
        else:
            train()
            if worker is not None:
                return
        if only == name:
            break
    if accelerator.is_main_process and not is_sharded(accelerator):
        model.network.requires_grad_(True)
        checkpoint = Checkpoint(model.network.cpu().eval(), prepared.data.cmvn, model.tokenizer)
        save(checkpoint, folder / MODEL, dtype=getattr(torch, recipe.saved_dtype))
    accelerator.wait_for_everyone()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _heard_plainly(data: TrainingData) -> Iterator[SpeechBatch]:
    """Some twenty minutes of the training data, as they are."""
    make = SpeechData(augmentation=None).batches(data)
    return (make(number, default_rng(number)) for number in range(20))
