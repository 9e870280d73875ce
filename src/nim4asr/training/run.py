"""Runs a recipe: one stage after another, each from what the one before it left.

A run's folder holds what was prepared (``nim4asr.training.prepare``), a folder a stage (log and states), and
at the end ``model``, the checkpoint. A run that was stopped at any moment continues from the last saved state
when the same command is given again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy.random import default_rng

from nim4asr.data.batches import SpeechBatch
from nim4asr.errors import InputError
from nim4asr.files import locked, remove_half_written, writing
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.model.folder import ModelFolder
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.training.begun import check_begun
from nim4asr.training.loop.distributed import is_sharded, new_accelerator
from nim4asr.training.loop.precision import precision_of, training_device
from nim4asr.training.lora import require_peft
from nim4asr.training.model import TrainableModel
from nim4asr.training.prepare import build_model, prepare_data
from nim4asr.training.recipe import MODEL, Recipe
from nim4asr.training.speech import SpeechData, TrainingData
from nim4asr.training.stages.base import Worker
from nim4asr.training.status import write_recipe
from nim4asr.training.trainer import Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator

# Other processes of a launch may be writing; of another worker's, a whole model.
_ABANDONED_S, _ABANDONED_BY_WORKERS_S = 60.0, 3600.0


@dataclass(frozen=True)
class RunOptions:
    """What of a recipe is run, and from where."""

    init_model: str | Path | None = None
    """Start with this model's encoder, phoneme head and normalization, without the bootstrap stages; with all
    of it where the recipe ``starts_whole``.
    """
    start_stage: str | None = None
    """With ``init_model``: start with all of that model, at this stage."""
    only_stage: str | None = None
    """Train this stage alone; those before it must be done."""
    worker: Worker | None = None
    """Run one worker of an asynchronous stage, and nothing after it."""
    name: str | None = None
    """The recipe's name, under which the run's settings are kept in its folder; None keeps none."""


def run_recipe(
    recipe: Recipe,
    folder: Path,
    options: RunOptions = RunOptions(),
    progress: ProgressReporter = no_progress,
) -> None:
    """Train the stages of ``recipe`` and save the model.

    A sharded run trains one stage; the model is written by the next run that is not sharded. Raises
    ``InputError`` if data are missing, an option does not fit the recipe, an earlier stage is not done, the
    run has begun with other data or another model, or another process trains there.
    """
    names = _stages_to_run(recipe, options)
    if any(recipe.stages[name].needs_peft for name in names):
        # Told before a run of days begins.
        require_peft()
    begins = None if options.init_model is None else ModelFolder.open(options.init_model)
    start = None if begins is None else load(begins)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    accelerator = new_accelerator(precision_of(recipe.precision, folder, training_device()))
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(_own(folder, options.worker))
            check_begun(folder, recipe, begins)
            if options.name is not None:
                write_recipe(folder, options.name, recipe, names)
        _run(recipe, folder, options, names, start, accelerator, progress)


@contextmanager
def _own(folder: Path, worker: Worker | None) -> Iterator[None]:
    """The run's folder as this process's own, or its worker's, without what a killed one has left
    half-written.
    """
    name = "run" if worker is None else f"run-{worker}"
    with locked(
        folder / name, f"{folder}: another process trains here; wait for it, or choose another --output"
    ):
        remove_half_written(folder, _ABANDONED_S if worker is None else _ABANDONED_BY_WORKERS_S)
        yield


def _run(
    recipe: Recipe,
    folder: Path,
    options: RunOptions,
    names: Sequence[str],
    start: Checkpoint | None,
    accelerator: "Accelerator",
    progress: ProgressReporter,
) -> None:
    if is_sharded(accelerator) and options.only_stage is None:
        raise InputError("under FSDP and DeepSpeed a command trains one stage; name it with --only-stage")
    with accelerator.main_process_first():
        prepared = prepare_data(recipe, folder, progress, start)
    whole = recipe.starts_whole or options.start_stage is not None
    model = build_model(recipe, prepared, start, whole)
    if options.start_stage is not None and any(recipe.stages[name].needs_phoneme_embedding for name in names):
        _fit_phoneme_embedding(model, prepared.data)
    trainer = Trainer(folder, model, prepared.data, prepared.dev, progress, accelerator)
    for name in names:
        runner = recipe.stages[name].runner(trainer, name)
        if runner.is_done():
            runner.load_latest_state()
        elif options.only_stage not in (None, name):
            raise InputError(f"the stage {name!r} comes before {options.only_stage!r} and is not done yet")
        else:
            runner.run(options.worker)
            if options.worker is not None:
                return
        if options.only_stage == name:
            break
    if accelerator.is_main_process and not is_sharded(accelerator):
        model.network.requires_grad_(True)
        checkpoint = Checkpoint(
            model.network.cpu().eval(), prepared.data.frontend.normalization, model.tokenizer
        )
        save(checkpoint, folder / MODEL, dtype=getattr(torch, recipe.saved_dtype))
    accelerator.wait_for_everyone()


def _stages_to_run(recipe: Recipe, options: RunOptions) -> Sequence[str]:
    names = recipe.stages_from(options.init_model is not None, options.start_stage)
    only = options.only_stage
    if only is not None and only not in names:
        if only in recipe.stages:
            raise InputError(f"the stage {only!r} comes before what this run begins with")
        raise InputError(f"there is no stage {only!r}; the recipe has {', '.join(recipe.stages)}")
    return names


def _fit_phoneme_embedding(model: TrainableModel, data: TrainingData) -> None:
    """Fit it to the model's adaptor, on some twenty minutes of the training data without augmentation."""
    if model.phoneme_embedding is not None:
        make = SpeechData(augmentation=None).batches(data)
        batches: Iterator[SpeechBatch] = (make(number, default_rng(number)) for number in range(20))
        model.phoneme_embedding.fit(model.network, batches)
