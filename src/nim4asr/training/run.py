"""A programme, run: one stage after another, each from what the one before it left.

A run's folder holds the materials (``nim4asr.training.prepare``), a folder a stage (log and states), and at
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
from nim4asr.training.async_sft.runner import Side, Sides
from nim4asr.training.async_sft.schedule import AsynchronousIaSft
from nim4asr.training.loop.loop import is_sharded, new_accelerator
from nim4asr.training.loop.precision import precision_of
from nim4asr.training.prepare import begin, gather
from nim4asr.training.recipe import Programme, Shown
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.mixed_text import WithText
from nim4asr.training.stages.speech import SpeechData, TrainingData
from nim4asr.training.stages.text_pretraining import TextPretraining
from nim4asr.training.trainer import Trainer

MODEL = "model"
# Stages that read E, or do so with some of their settings.
_READ_E = (TextPretraining, Alignment, AsynchronousIaSft, WithText)


def run_programme(
    programme: Programme,
    folder: Path,
    only: str | None,
    shown: Shown,
    start: str | Path | None = None,
    first: str | None = None,
    side: Side | None = None,
) -> None:
    """Train the stages of ``programme`` (or the one named ``only``) and save the model.

    With ``start``, the encoder and the phoneme head begin as that model's, its normalization is kept, and the
    stages named ``first_words`` are left out; with ``first`` too, everything begins as that model's, and the
    stages before ``first`` are left out. ``side`` runs one side of an asynchronous stage, and nothing after
    it. A sharded run trains one stage; the model is written by the next that is not. Raises ``InputError`` if
    data are missing or a stage's predecessor is not done.
    """
    names = programme.stages_from(start is not None, first)
    if only is not None and only not in names:
        if only in programme.stages:
            raise InputError(f"the stage {only!r} comes before what this run begins with")
        raise InputError(f"there is no stage {only!r}; the recipe has {', '.join(programme.stages)}")
    begun = None if start is None else load(start)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = new_accelerator(precision_of(programme.precision, folder, _device()))
    if is_sharded(accelerator) and only is None:
        raise InputError("under FSDP and DeepSpeed a command trains one stage; name it with --stage")
    with accelerator.main_process_first():
        materials = gather(programme, folder, shown, begun)
    learner = begin(programme, materials, begun, first is not None)
    reads = any(isinstance(programme.stages[name], _READ_E) for name in names)
    if first is not None and reads and learner.phonemes is not None:
        learner.phonemes.fit(learner.network, _heard_plainly(materials.data))
    trainer = Trainer(folder, learner, materials, shown, accelerator)
    for name in names:
        stage = programme.stages[name]
        train: Callable[[], object]
        if isinstance(stage, AsynchronousIaSft):
            sides = Sides(trainer, name, stage)
            done, train, recall = sides.is_done(), partial(sides.run, side), sides.recall
        else:
            done = trainer.is_done(name, stage)
            train, recall = partial(trainer.train, name, stage), partial(trainer.recall, name, stage)
        if done:
            recall()
        elif only not in (None, name):
            raise InputError(f"the stage {name!r} comes before {only!r} and is not done yet")
        elif side is not None and not isinstance(stage, AsynchronousIaSft):
            raise InputError(f"the stage {name!r} has no sides; it runs as one")
        else:
            train()
            if side is not None:
                return
        if only == name:
            break
    if accelerator.is_main_process and not is_sharded(accelerator):
        learner.network.requires_grad_(True)
        checkpoint = Checkpoint(learner.network.cpu().eval(), materials.data.cmvn, learner.tokenizer)
        save(checkpoint, folder / MODEL, dtype=getattr(torch, programme.saved_dtype))
    accelerator.wait_for_everyone()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _heard_plainly(data: TrainingData) -> Iterator[SpeechBatch]:
    """Some twenty minutes of the training data, as they are."""
    make = SpeechData(augmentation=None).batches(data)
    return (make(number, default_rng(number)) for number in range(20))
