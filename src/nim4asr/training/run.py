"""A programme, run: one stage after another, each from what the one before it left.

A run's folder holds the materials (``nim4asr.training.materials``), a folder a stage (log and states), and at the end
``model``, the checkpoint. Stopped at any moment, the same command goes on where the last state was saved.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from nim4asr.analysis.entropy import spectral_entropy
from nim4asr.analysis.similarity import evaluation_batches, frames_of, linear_cka
from nim4asr.data.batches import Collator, SpeechBatch
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.training.asynchronous import (
    AsynchronousIaSft,
    Look,
    Phase,
    Progress,
    State,
    leg_loop,
    look,
    next_phase,
    wait_for_snapshot,
)
from nim4asr.training.loop import Loop, LoopConfig, latest_state, load_weights, new_accelerator, steps_done
from nim4asr.training.materials import Materials, begin, gather
from nim4asr.training.objective import Learner, Objective, Stage
from nim4asr.training.pretraining import AcousticModel, phoneme_errors
from nim4asr.training.programme import Programme, Shown
from nim4asr.training.snapshots import SnapshotBoard

if TYPE_CHECKING:
    from accelerate import Accelerator

Side = Literal["pretraining", "ia-sft"]
MODEL = "model"
# Utterances of each dev corpus that phoneme errors, and gauges, are taken on during training.
_HEARD, _GAUGED = 100, 32


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

    With ``start``, the encoder and the phoneme head begin as that model's, its normalisation is kept, and the stages
    named ``first_words`` are left out; with ``first`` too, everything begins as that model's, and the stages before
    ``first`` are left out. ``side`` runs one side of an asynchronous stage, and nothing after it. Raises ``InputError``
    if data are missing or a stage's predecessor is not done.
    """
    for name in (only, first):
        if name is not None and name not in programme.stages:
            known = ", ".join(programme.stages)
            raise InputError(f"there is no stage {name!r}; the recipe has {known}")
    if first is not None and start is None:
        raise InputError(f"to begin with {first!r}, say which model to start from")
    begun = None if start is None else load(start)
    names = _stages(programme, begun is not None, first)
    if only is not None and only not in names:
        raise InputError(f"the stage {only!r} comes before what this run begins with")
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = new_accelerator(programme.precision)
    with accelerator.main_process_first():
        materials = gather(programme, folder, shown, begun)
    learner = begin(programme, materials, begun, first is not None)
    run = Run(folder, learner, materials, shown, accelerator)
    for name in names:
        stage = programme.stages[name]
        if not run.is_done(name, stage):
            if only not in (None, name):
                raise InputError(f"the stage {name!r} comes before {only!r} and is not done yet")
            run.stage(name, stage, side)
            if side is not None:
                return
        else:
            run.recall(name, stage)
        if only == name:
            break
    if accelerator.is_main_process:
        learner.network.requires_grad_(True)
        checkpoint = Checkpoint(learner.network.cpu().eval(), materials.data.cmvn, learner.tokenizer)
        save(
            checkpoint, folder / MODEL, dtype=torch.float16 if programme.precision == "no" else torch.bfloat16
        )
    accelerator.wait_for_everyone()


def _stages(programme: Programme, started: bool, first: str | None) -> list[str]:
    """The names of the stages to run."""
    names = list(programme.stages)
    if first is not None:
        return names[names.index(first) :]
    return [name for name in names if not (started and name in programme.first_words)]


@dataclass(frozen=True, eq=False)
class Run:
    """Stages trained on one learner, in ``folder``."""

    folder: Path
    learner: Learner
    materials: Materials
    shown: Shown
    accelerator: "Accelerator"

    def is_done(self, name: str, stage: Stage | AsynchronousIaSft) -> bool:
        """Whether the stage has done all its steps."""
        if isinstance(stage, AsynchronousIaSft):
            return State.load(self.folder / name / "ia-sft").phase is Phase.DONE
        return steps_done(self.folder / name) >= stage.loop.steps

    def stage(self, name: str, stage: Stage | AsynchronousIaSft, side: Side | None = None) -> None:
        """Train one stage, or one side of an asynchronous one."""
        if isinstance(stage, AsynchronousIaSft):
            _Sides(self, name, stage).run(side)
        elif side is not None:
            raise InputError(f"the stage {name!r} has no sides; it runs as one")
        else:
            self.train(name, stage)

    def recall(self, name: str, stage: Stage | AsynchronousIaSft) -> None:
        """Give the learner the weights that a stage which is done has left."""
        if isinstance(stage, AsynchronousIaSft):
            _Sides(self, name, stage).recall()
        else:
            self.recall_one(name, stage)

    def recall_one(self, name: str, stage: Stage) -> None:
        """Give the learner the weights of the newest state of a stage, if there is one."""
        state = latest_state(self.folder / name)
        if state is not None:
            load_weights(state, _trained(stage.objective(self.learner)))

    def train(
        self,
        name: str,
        stage: Stage,
        loop: LoopConfig | None = None,
        pause: Callable[[int], bool] | None = None,
    ) -> int:
        """Train one stage with its own loop, or with ``loop``; returns the steps done."""
        settings = loop or stage.loop

        def counted(steps: Iterator[int], done: int) -> Iterator[int]:
            if not self.accelerator.is_local_main_process:
                return steps
            return self.shown(steps, name, settings.steps, done)

        objective: Objective[object] = stage.objective(self.learner)
        return Loop(
            self.folder / name,
            objective,
            settings,
            stage.batches(self.materials.data, self.learner),
            self._gauges(),
            counted,
            self.accelerator,
        ).run(pause)

    @cached_property
    def fixed(self) -> list[SpeechBatch]:
        """The fixed evaluation set of the gauges; empty where the programme has no dev corpus."""
        return evaluation_batches(
            list(self.materials.dev.values()), Collator(self.materials.data.cmvn), _GAUGED
        )

    def _gauges(self) -> Callable[[], Mapping[str, float]] | None:
        """Phoneme errors of the dev corpora, and the encoder's drift from what it was when the stage began."""
        if not self.materials.dev:
            return None
        encoder = self.learner.network.encoder
        before = frames_of(encoder, self.fixed)

        def measure() -> Mapping[str, float]:
            acoustic, clean = self.acoustic(), Collator(self.materials.data.cmvn)
            rates = {
                corpus: phoneme_errors(acoustic, store, clean, _HEARD).rate
                for corpus, store in self.materials.dev.items()
            }
            now = frames_of(encoder, self.fixed)
            gauges = {"cka": linear_cka(before, now), "nse": spectral_entropy(now)}
            return {**{name: rate for name, rate in rates.items() if rate is not None}, **gauges}

        return measure

    def acoustic(self) -> AcousticModel:
        """The learner's encoder and phoneme head."""
        network = self.learner.network
        assert network.phoneme_head is not None
        return AcousticModel(network.encoder, network.phoneme_head)


class _Sides:
    """The two sides of an asynchronous stage, each alone or both in turns."""

    def __init__(self, run: Run, name: str, config: AsynchronousIaSft) -> None:
        self._run, self._name, self._config = run, name, config
        self._own = run.folder / name
        self._board = SnapshotBoard(self._own / "snapshots")

    def run(self, side: Side | None) -> None:
        if side == "pretraining":
            while not self._pretrain(in_turns=False):
                pass
        elif side == "ia-sft":
            while (state := self._train_language_model()).phase is not Phase.DONE:
                wait_for_snapshot(self._board, state.snapshot, self._config.patience)
        else:
            while self._train_language_model().phase is not Phase.DONE:
                self._pretrain(in_turns=True)

    def recall(self) -> None:
        """Give the learner the last encoder and the language model that was trained on it."""
        state = State.load(self._own / "ia-sft")
        if state.snapshot:
            self._board.load(state.snapshot, self._run.acoustic())
        self._run.recall_one(f"{self._name}/alignment", self._config.alignment)
        self._run.recall_one(f"{self._name}/ia-sft", self._config.ia_sft)

    def _pretrain(self, in_turns: bool) -> bool:
        """Pre-train to the end, or to the next snapshot; whether it is the end."""
        stage, name = self._config.pretraining, f"{self._name}/pretraining"
        steps = stage.loop.steps
        # The other side may have put a snapshot's encoder in the learner's.
        self._run.recall_one(name, stage)
        published: list[int] = []

        def pause(done: int) -> bool:
            if self._look(done, steps):
                published.append(done)
            return bool(published)

        done = self._run.train(name, stage, pause=pause)
        if done >= steps:
            # After the last step no pause is asked for.
            self._look(done, steps)
        return done >= steps

    def _look(self, step: int, steps: int) -> bool:
        """Look at the encoder as the schedule says; whether a snapshot was published."""
        run, board = self._run, self._board
        if not run.accelerator.is_main_process:
            return False
        reference = board.reference(step)
        due = look(self._config.swaps, step, steps, reference is not None)
        if due is Look.NOTHING:
            return False
        acoustic = run.acoustic()
        if due is Look.REFER:
            board.begin(acoustic, step)
            return False
        cka = 1.0 if reference is None else self._similarity(reference.number)
        with (self._own / "cka.jsonl").open("a", encoding="utf-8") as file:
            against = 0 if reference is None else reference.step
            file.write(json.dumps({"step": step, "cka": round(cka, 5), "reference": against}) + "\n")
        if due is Look.COMPARE and cka >= self._config.swaps.threshold:
            return False
        board.publish(acoustic, step, cka, final=due is Look.PUBLISH)
        return True

    def _similarity(self, number: int) -> float:
        run = self._run
        live = frames_of(run.learner.network.encoder, run.fixed)
        kept = copy.deepcopy(run.acoustic())
        self._board.load(number, kept)
        return linear_cka(frames_of(kept.encoder, run.fixed), live)

    def _train_language_model(self) -> State:
        """Train until there is nothing to do but to wait; the state then."""
        folder, config, run = self._own / "ia-sft", self._config, self._run
        state = State.load(folder)
        while True:
            progress = Progress(self._aligned(), steps_done(folder), self._board.latest())
            following = next_phase(state, progress, config)
            if following != state:
                state = following
                state.save(folder)
                continue
            if state.phase is Phase.ALIGNING:
                self._board.load(state.snapshot, run.acoustic())
                run.train(f"{self._name}/alignment", config.alignment)
            elif (
                state.phase in (Phase.TRAINING, Phase.FINAL_LEG)
                and progress.steps < leg_loop(state, config).steps
            ):
                self._board.load(state.snapshot, run.acoustic())
                run.recall_one(f"{self._name}/alignment", config.alignment)
                run.train(
                    f"{self._name}/ia-sft", config.ia_sft, leg_loop(state, config), self._swap_is_due(state)
                )
            else:
                return state

    def _aligned(self) -> bool:
        return steps_done(self._own / "alignment") >= self._config.alignment.loop.steps

    def _swap_is_due(self, state: State) -> Callable[[int], bool]:
        def pause(done: int) -> bool:
            if done % self._config.ia_sft.loop.log_every:
                return False
            newest = self._board.latest()
            return newest is not None and newest.number > state.snapshot

        return pause


def _trained(objective: Objective[object]) -> dict[str, torch.Tensor]:
    return {name: p for name, p in objective.named_parameters() if p.requires_grad}
