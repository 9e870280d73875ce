"""Asynchronous IA-SFT, run: each side alone, as a job that meets the other on the snapshot board, or both in
turns.
"""

import copy
import json
from collections.abc import Callable
from typing import Literal

from nim4asr.analysis.similarity import frames_of, linear_cka
from nim4asr.errors import InputError
from nim4asr.files import append_line
from nim4asr.training.async_sft.schedule import (
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
from nim4asr.training.async_sft.snapshots import SnapshotBoard
from nim4asr.training.loop.loop import agreed, is_sharded, steps_done
from nim4asr.training.trainer import Trainer

Side = Literal["pretraining", "ia-sft"]


class Sides:
    """The two sides of an asynchronous stage, each alone or both in turns."""

    def __init__(self, trainer: Trainer, name: str, config: AsynchronousIaSft) -> None:
        self._trainer, self._name, self._config = trainer, name, config
        self._own = trainer.folder / name
        self._board = SnapshotBoard(self._own / "snapshots")
        if is_sharded(trainer.accelerator):
            raise InputError(
                "asynchronous IA-SFT swaps whole encoders; run it data-parallel, without FSDP or DeepSpeed"
            )

    def is_done(self) -> bool:
        """Whether both sides are."""
        return State.load(self._own / "ia-sft").phase is Phase.DONE

    def run(self, side: Side | None) -> None:
        """Run one side to its end, which for IA-SFT's may mean waiting for the other; or both in turns."""
        if side != "ia-sft" and not self._trainer.fixed:
            raise InputError(
                f"the stage {self._name!r} compares encoders on dev utterances, and the recipe's corpora have none; "
                "mark some lines of a manifest with the split dev, and name it in the recipe's dev"
            )
        if side == "pretraining":
            while not self._pretrain():
                pass
        elif side == "ia-sft":
            while (state := self._train_language_model()).phase is not Phase.DONE:
                wait_for_snapshot(self._board, state.snapshot, self._config.patience)
        else:
            while self._train_language_model().phase is not Phase.DONE:
                self._pretrain()

    def recall(self) -> None:
        """Give the learner the last encoder and the language model that was trained on it."""
        state = State.load(self._own / "ia-sft")
        if state.snapshot:
            self._board.load(state.snapshot, self._trainer.acoustic())
        self._trainer.recall(f"{self._name}/alignment", self._config.alignment)
        self._trainer.recall(f"{self._name}/ia-sft", self._config.ia_sft)

    def _pretrain(self) -> bool:
        """Pre-train to the end, or to the next snapshot; whether it is the end."""
        stage, name = self._config.pretraining, f"{self._name}/pretraining"
        steps = stage.loop.steps
        # The other side may have put a snapshot's encoder in the learner's.
        self._trainer.recall(name, stage)
        published: list[int] = []

        def pause(done: int) -> bool:
            if self._look(done, steps):
                published.append(done)
            return bool(published)

        done = self._trainer.train(name, stage, pause=pause)
        if done >= steps:
            # After the last step no pause is asked for.
            self._look(done, steps)
        return done >= steps

    def _look(self, step: int, steps: int) -> bool:
        """Look at the encoder as the schedule says; whether a snapshot was published, on the main process."""
        trainer, board = self._trainer, self._board
        if not trainer.accelerator.is_main_process:
            return False
        reference = board.reference(step)
        due = look(self._config.swaps, step, steps, reference is not None)
        if due is Look.NOTHING:
            return False
        acoustic = trainer.acoustic()
        if due is Look.REFER:
            board.begin(acoustic, step)
            return False
        cka = 1.0 if reference is None else self._similarity(reference.number)
        against = 0 if reference is None else reference.step
        row = {"step": step, "cka": round(cka, 5), "reference": against}
        append_line(self._own / "cka.jsonl", json.dumps(row) + "\n")
        if due is Look.COMPARE and cka >= self._config.swaps.threshold:
            return False
        board.publish(acoustic, step, cka, final=due is Look.PUBLISH)
        return True

    def _similarity(self, number: int) -> float:
        trainer = self._trainer
        live = frames_of(trainer.learner.network.encoder, trainer.fixed)
        kept = copy.deepcopy(trainer.acoustic())
        self._board.load(number, kept)
        return linear_cka(frames_of(kept.encoder, trainer.fixed), live)

    def _train_language_model(self) -> State:
        """Train until there is nothing to do but to wait; the state then."""
        folder, config, trainer = self._own / "ia-sft", self._config, self._trainer
        state = agreed(trainer.accelerator, State.load(folder))
        while True:
            seen = Progress(self._aligned(), steps_done(folder), self._board.latest())
            progress = agreed(trainer.accelerator, seen)
            following = next_phase(state, progress, config)
            if following != state:
                state = following
                if trainer.accelerator.is_main_process:
                    state.save(folder)
                continue
            if state.phase is Phase.ALIGNING:
                self._board.load(state.snapshot, trainer.acoustic())
                trainer.train(f"{self._name}/alignment", config.alignment)
            elif (
                state.phase in (Phase.TRAINING, Phase.FINAL_LEG)
                and progress.steps < leg_loop(state, config).steps
            ):
                self._board.load(state.snapshot, trainer.acoustic())
                trainer.recall(f"{self._name}/alignment", config.alignment)
                trainer.train(
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
