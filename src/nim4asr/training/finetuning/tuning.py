"""A tuning, from a request to a folder that says how much it helped.

Beside the new model's folder, ``NAME.tuning`` holds what is under way: lists of the recordings, features,
states, the new weights, both evaluations. The same command goes on from it, wherever it was killed. It goes
when the new model is in its place; where the old weights were kept, the new ones stay in it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError
from nim4asr.evaluation.comparison import compare, rates, read_rows
from nim4asr.evaluation.evaluate import ALIGNMENTS, SUMMARY, evaluate
from nim4asr.files import (
    atomic_folder,
    parse_json,
    publish_folder,
    read_text,
    remove_half_written,
    write_atomic,
    write_json_lines,
    writing,
)
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.folder import CONFIG
from nim4asr.progress import ProgressReporter
from nim4asr.recognition.offline import Recognizer
from nim4asr.training.finetuning.fitting import Fitted, fitted_to
from nim4asr.training.finetuning.recordings import Division, in_hash_order
from nim4asr.training.finetuning.report import RATES, README, REPORT, Judged, Outcome, Report, here
from nim4asr.training.finetuning.request import ASKED, OWN, REPLAY, Request, damage_told
from nim4asr.training.finetuning.text_form import form_of, has_marks
from nim4asr.training.finetuning.verdict import Verdict, judge_weights, points
from nim4asr.training.finetuning.weights import STAGE, Training, train
from nim4asr.training.speech import TextForm
from nim4asr.training.status import write_doing

_FITTED, _HELD_OUT = "fitted.json", "held-out.jsonl"
_BEFORE, _AFTER = "before", "after"
# At most so many recordings are judged by; the others that were set aside are heard by nobody.
_MOST_JUDGED = 1000
_MOST_TOLD = 3

Summaries = Mapping[str, Mapping[str, Any]]


class Tuning:
    """One request, carried out."""

    def __init__(self, request: Request, progress: ProgressReporter, tell: Callable[[str], None]) -> None:
        self.request, self.progress, self.tell = request, progress, tell
        self.options, self.work = request.options, request.options.work
        self.folder, self.divisions = request.folder, request.divisions

    def run(self) -> Outcome:
        """Train, judge, publish; goes on from what is there. Raises ``InputError`` as ``finetune`` does."""
        if self.options.threads is not None:
            torch.set_num_threads(self.options.threads)
        self._begin()
        before = self._evaluated(_BEFORE, self.folder.path)
        form = self._form()
        training = train(
            self.folder, list(self.divisions), form, self.options, self.progress, self.tell, self._doing
        )
        fitted = self._fitted()
        after = self._evaluated(_AFTER, self.options.candidate)
        verdict = judge_weights(self.work / _BEFORE / OWN, self.work / _AFTER / OWN)
        return self._publish(self._report(verdict, form, training, fitted, before, after))

    def _begin(self) -> None:
        """Write down what is asked, and the lists of recordings. Something else that was begun here has been
        refused before.
        """
        if not (self.work / ASKED).exists():
            write_atomic(self.work / ASKED, json.dumps({"command": self.request.command}) + "\n")
        remove_half_written(self.work)
        for name, division in self.divisions.items():
            write_json_lines(self.work / f"{name}.jsonl", (_row(u, "train") for u in division.trained))
        judged = _judged(self.divisions[OWN])
        write_json_lines(self.work / _HELD_OUT, (_row(utterance, "dev") for utterance in judged))

    def _doing(self, step: str) -> None:
        """Tell which step begins, and keep it for whoever asks later."""
        write_doing(self.work, "finetune", step)
        self.tell(step)

    def _evaluated(self, when: str, model: Path) -> Summaries:
        """The summaries of what was set aside, recognized by the model in a folder as its users will."""
        found: dict[str, Mapping[str, Any]] = {}
        for name, division in self.divisions.items():
            place = self.work / when / name
            if not (place / SUMMARY).exists():
                self._doing(f"recognizing the recordings that were set aside, {when} tuning")
                with _threads_kept():
                    summary = evaluate(Recognizer.load(model), _judged(division), place, self.progress)
                if "report_failed" in summary:
                    raise InputError(str(summary["report_failed"]))
            with damage_told(place / SUMMARY):
                found[name] = parse_json(read_text(place / SUMMARY))
                skipped = found[name]["skipped"]
            heard = len(read_rows(place))
            for reason in [*skipped, *found[name].get("damaged", [])][:_MOST_TOLD]:
                self.tell(reason)
            if heard < 2:
                reason = f" ({skipped[0]})" if skipped else ""
                raise InputError(
                    f"only {heard} of the recordings that were set aside can be read, and it takes 2{reason}"
                )
        return found

    def _form(self) -> TextForm:
        if self.options.text_form is not None:
            return self.options.text_form
        written = [row["hypothesis"] for row in read_rows(self.work / _BEFORE / OWN).values()]
        return form_of(self.folder.tokenizer, written)

    def _fitted(self) -> Fitted:
        """Evidence and guard, in the new model's configuration."""
        kept, path = self.work / _FITTED, self.options.candidate / CONFIG
        if not kept.exists():
            self._doing("fitting the evidence of hotwords and the guards")
            with _threads_kept():
                new = fitted_to(self.options.candidate, _judged(self.divisions[OWN]), self.progress)
            write_atomic(kept, json.dumps(asdict(new), ensure_ascii=False) + "\n")
        with damage_told(kept):
            row = parse_json(read_text(kept))
            fitted = Fitted(**{**row, "evidence": EvidenceConfig(**row["evidence"])})
        config = fitted.within(Nim4Config.from_json(read_text(path), str(path)))
        write_atomic(path, config.to_json())
        return fitted

    def _report(
        self,
        verdict: Verdict,
        form: TextForm,
        training: Training,
        fitted: Fitted,
        before: Summaries,
        after: Summaries,
    ) -> Report:
        own = self.divisions[OWN]
        judged = {name: self._judgement(name, before[name], after[name]) for name in self.divisions}
        taken = verdict.better or self.options.force
        return Report(
            command=self.request.command,
            weights="new" if taken else "old",
            forced=taken and not verdict.better,
            verdict=verdict.sentence,
            errors={"before": verdict.before, "after": verdict.after, "difference": verdict.difference},
            model=self.folder.config.name,
            manifests=tuple(path.name for path in self.options.manifests),
            replayed=tuple(path.name for path in self.options.replay),
            hours=round(training.hours[OWN], 4),
            recordings=len(own.trained) - training.left_out,
            speakers=len(_names(own.trained)),
            replayed_hours=round(training.hours.get(REPLAY, 0.0), 4),
            held_out_by=own.rules,
            held_out_recordings=judged[OWN].recordings,
            held_out_speakers=len(_names(_judged(own))),
            held_out=judged[OWN],
            elsewhere=judged.get(REPLAY),
            left_out=training.left_out,
            text_form=form,
            steps=training.plan.steps,
            passes=round(training.passes, 2),
            batch_seconds=round(training.plan.batch_seconds, 1),
            peak_learning_rate=training.plan.peak_lr,
            training_seconds=round(training.seconds, 1),
            evidence=fitted.evidence_row,
            guard=fitted.guard_row,
            notes=tuple(self._notes(form, training, fitted, judged)),
            **here(),
        )

    def _judgement(self, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Judged:
        old, new = self.work / _BEFORE / name, self.work / _AFTER / name
        return Judged(
            len(read_rows(new)),
            before["total"],
            after["total"],
            rates(old),
            rates(new),
            compare(new, old),
        )

    def _notes(
        self, form: TextForm, training: Training, fitted: Fitted, judged: Mapping[str, Judged]
    ) -> Iterator[str]:
        """What whoever uses the model should know, a sentence each."""
        own = self.divisions[OWN]
        heard, strangers = _names(own.trained), _names(_judged(own))
        if both := heard & strangers:
            yield (
                f"{len(both)} of the {len(strangers)} speakers who were set aside were trained on too, in "
                "other recordings: of other people the figures say little."
            )
        elif not strangers:
            yield (
                "The recordings that were set aside name no speakers: the same people may have been trained "
                "on, and of others the figures say little."
            )
        if REPLAY not in judged:
            yield (
                "Other speech was neither trained on nor judged, and may be recognized worse now: "
                "--replay keeps what it holds."
            )
        if own.unused:
            yield f"{own.unused} recordings of a test split were used for nothing."
        if self.request.without_text:
            yield f"{self.request.without_text} recordings without a text were used for nothing."
        if training.left_out:
            yield f"{training.left_out} of {len(own.trained)} recordings could not be trained on."
        if unread := len(_judged(own)) - judged[OWN].recordings:
            yield f"{unread} of the recordings that were set aside could not be read."
        if training.unwritable:
            yield f"{training.unwritable} different texts hold characters that the model cannot write."
        if form == "written" and not any(has_marks(utterance.text) for utterance in own.trained):
            yield "The model wrote capitals and punctuation; the texts have none, so it will write none."
        for name, figures in judged.items():
            where = "replayed recordings" if name == REPLAY else "recordings"
            for rate, interval in figures.differences.items():
                if interval.low > 0:
                    yield (
                        f"On the {where} that were set aside {RATES[rate]} rose by more than chance: "
                        f"{points(interval)}."
                    )
        if not fitted.evidence_row["fitted"]:
            yield f"The evidence of hotwords is the old one: {fitted.evidence_row['why']}."
        guard = fitted.guard_row
        if guard["lost"] and guard["max_entropy_before"] is not None:
            yield (
                f"The guard against sounds that could be anything allows {guard['max_entropy']:g} nats now: "
                f"the old bound of {guard['max_entropy_before']:g} silenced {guard['lost']} "
                f"of {guard['utterances']} recordings."
            )

    def _publish(self, report: Report) -> Outcome:
        """Put the new model in its place, or a copy of the old one."""
        new, old, output = self.options.candidate, self.folder.path, self.options.output
        card = read_text(old / README) if (old / README).is_file() else ""
        if self.options.report is not None:
            self._copy_alignments(self.options.report)
        write_doing(self.work, "finetune", f"writing {output.name} with the {report.weights} weights")
        if report.weights == "new":
            report.save(new, card)
            with writing(output):
                publish_folder(new, output)
            shutil.rmtree(self.work, ignore_errors=True)
        else:
            with atomic_folder(output) as copy:
                for path in sorted(old.iterdir()):
                    if path.is_file() and path.name not in (README, REPORT):
                        shutil.copyfile(path, copy / path.name)
                report.save(copy, card)
            for rest in ("features", STAGE):
                shutil.rmtree(self.work / rest, ignore_errors=True)
        left = new if report.weights == "old" else None
        return Outcome(report.weights, report.verdict, report.notes, left)

    def _copy_alignments(self, folder: Path) -> None:
        write_atomic(folder / _HELD_OUT, read_text(self.work / _HELD_OUT))
        for when in (_BEFORE, _AFTER):
            for file in (ALIGNMENTS, SUMMARY):
                write_atomic(folder / when / file, read_text(self.work / when / OWN / file))


def _judged(division: Division) -> list[Utterance]:
    """What is judged by: all that was set aside, or a fair sample."""
    return in_hash_order(division.held_out)[:_MOST_JUDGED]


def _row(utterance: Utterance, split: str) -> dict[str, Any]:
    """A line of a manifest that says the same from wherever it is read."""
    tar = None if utterance.tar is None else str(Path(utterance.tar).absolute())
    audio = utterance.audio if tar else str(Path(utterance.audio).absolute())
    return {**asdict(utterance), "audio": audio, "tar": tar, "split": split}


def _names(utterances: Sequence[Utterance]) -> set[str]:
    return {utterance.speaker for utterance in utterances} - {""}


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Give torch its threads back: a small model, once loaded, leaves it one, and training wants all."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
