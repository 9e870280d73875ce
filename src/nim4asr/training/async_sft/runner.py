"""Asynchronous IA-SFT, run: each worker alone, as a job that meets the other at the snapshot store, or both
in turns.
"""

import copy
import json
from collections.abc import Callable

from nim4asr.analysis.similarity import frames_of, linear_cka
from nim4asr.errors import InputError
from nim4asr.files import append_line
from nim4asr.training.async_sft.schedule import (
    AsyncSchedule,
    DriftAction,
    Phase,
    Progress,
    State,
    drift_action,
    next_phase,
    round_loop,
    wait_for_snapshot,
)
from nim4asr.training.async_sft.snapshots import SnapshotStore
from nim4asr.training.loop.distributed import agreed, is_sharded
from nim4asr.training.loop.states import steps_done
from nim4asr.training.stages.base import Worker
from nim4asr.training.trainer import Trainer


class AsyncIaSftRunner:
    """The two workers of an asynchronous stage, each alone or both in turns."""

    def __init__(self, trainer: Trainer, name: str, config: AsyncSchedule) -> None:
        self._trainer, self._name, self._config = trainer, name, config
        self._own = trainer.folder / name
        self._snapshots = SnapshotStore(self._own / "snapshots")
        if is_sharded(trainer.accelerator):
            raise InputError(
                "asynchronous IA-SFT swaps whole encoders; run it data-parallel, without FSDP or DeepSpeed"
            )

    def is_done(self) -> bool:
        """Whether both workers are."""
        return State.load(self._own / "ia-sft").phase is Phase.DONE

    def run(self, worker: Worker | None) -> None:
        """Run one worker to its end, which for IA-SFT's may mean waiting for the other; or both in turns."""
        if worker != "ia-sft" and not self._trainer.drift_batches:
            raise InputError(
                f"the stage {self._name!r} compares encoders on dev utterances, and the recipe's "
                "corpora have none; mark some lines of a manifest with the split dev, and name it in the "
                "recipe's dev"
            )
        if worker == "pretraining":
            while not self._pretrain():
                pass
        elif worker == "ia-sft":
            while (state := self._train_language_model()).phase is not Phase.DONE:
                wait_for_snapshot(self._snapshots, state.snapshot, self._config.poll_s)
        else:
            while self._train_language_model().phase is not Phase.DONE:
                self._pretrain()
            self._finish()

    def load_latest_state(self) -> None:
        """Give the model the last encoder and the language model that was trained on it."""
        state = State.load(self._own / "ia-sft")
        if state.snapshot:
            self._snapshots.load(state.snapshot, self._trainer.model.acoustic())
        self._trainer.load_latest_state(f"{self._name}/alignment", self._config.alignment)
        self._trainer.load_latest_state(f"{self._name}/ia-sft", self._config.ia_sft)
        self._finish()

    def _finish(self) -> None:
        for stage in (self._config.pretraining, self._config.ia_sft):
            stage.finish(self._trainer.model)

    def _pretrain(self) -> bool:
        """Pre-train to the end, or to the next snapshot; whether it is the end."""
        stage, name = self._config.pretraining, f"{self._name}/pretraining"
        steps = stage.loop.steps
        # The other worker may have put a snapshot's encoder in the model's.
        self._trainer.load_latest_state(name, stage)
        published: list[int] = []

        def pause(done: int) -> bool:
            if self._check_drift(done, steps):
                published.append(done)
            return bool(published)

        done = self._trainer.train(name, stage, pause=pause)
        if done >= steps:
            # After the last step no pause is asked for.
            self._check_drift(done, steps)
        return done >= steps

    def _check_drift(self, step: int, steps: int) -> bool:
        """Compare the encoder with its reference if the schedule says so; whether that published a
        snapshot.
        """
        trainer, snapshots = self._trainer, self._snapshots
        if not trainer.accelerator.is_main_process:
            return False
        reference = snapshots.reference(step)
        due = drift_action(self._config.swaps, step, steps, reference is not None)
        if due is DriftAction.NOTHING:
            return False
        acoustic = trainer.model.acoustic()
        if due is DriftAction.SET_REFERENCE:
            snapshots.begin(acoustic, step)
            return False
        cka = 1.0 if reference is None else self._similarity(reference.number)
        against = 0 if reference is None else reference.step
        row = {"step": step, "cka": round(cka, 5), "reference": against}
        append_line(self._own / "cka.jsonl", json.dumps(row) + "\n")
        if due is DriftAction.COMPARE and cka >= self._config.swaps.cka_threshold:
            return False
        snapshots.publish(acoustic, step, cka, final=due is DriftAction.PUBLISH)
        return True

    def _similarity(self, number: int) -> float:
        trainer = self._trainer
        live = frames_of(trainer.model.network.encoder, trainer.drift_batches)
        kept = copy.deepcopy(trainer.model.acoustic())
        self._snapshots.load(number, kept)
        return linear_cka(frames_of(kept.encoder, trainer.drift_batches), live)

    def _train_language_model(self) -> State:
        """Train until there is nothing to do but to wait; the state then."""
        folder, config, trainer = self._own / "ia-sft", self._config, self._trainer
        state = agreed(trainer.accelerator, State.load(folder))
        while True:
            seen = Progress(self._aligned(), steps_done(folder), self._snapshots.latest())
            progress = agreed(trainer.accelerator, seen)
            following = next_phase(state, progress, config)
            if following != state:
                state = following
                if trainer.accelerator.is_main_process:
                    state.save(folder)
                continue
            if state.phase is Phase.ALIGNING:
                self._snapshots.load(state.snapshot, trainer.model.acoustic())
                trainer.train(f"{self._name}/alignment", config.alignment)
            elif (
                state.phase in (Phase.TRAINING, Phase.FINAL_ROUND)
                and progress.steps < round_loop(state, config).steps
            ):
                self._snapshots.load(state.snapshot, trainer.model.acoustic())
                trainer.load_latest_state(f"{self._name}/alignment", config.alignment)
                trainer.train(
                    f"{self._name}/ia-sft",
                    config.ia_sft,
                    round_loop(state, config),
                    self._newer_snapshot(state),
                )
            else:
                return state

    def _aligned(self) -> bool:
        return steps_done(self._own / "alignment") >= self._config.alignment.loop.steps

    def _newer_snapshot(self, state: State) -> Callable[[int], bool]:
        def pause(done: int) -> bool:
            if done % self._config.ia_sft.loop.log_every:
                return False
            newest = self._snapshots.latest()
            return newest is not None and newest.number > state.snapshot

        return pause
