"""Tunes a model to one's own recordings, from manifests to a folder that says how much it helped.

Beside the new model's folder, ``NAME.tuning`` holds what is under way: lists of the recordings, features,
states, the new weights, both evaluations. The same command goes on from it, wherever it was killed. It goes
when the new model is in its place; where the old weights were kept, the new ones stay in it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError
from nim4asr.evaluation.comparison import compare, rates, read_rows
from nim4asr.evaluation.evaluate import ALIGNMENTS, SUMMARY, evaluate
from nim4asr.files import (
    atomic_folder,
    locked,
    parse_json,
    publish_folder,
    read_text,
    write_atomic,
    write_json_lines,
    writing,
)
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.folder import CONFIG, ModelFolder, check_sum
from nim4asr.phonemes import TABLE
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.network import check_complete
from nim4asr.training.finetuning.fitting import Fitted, fitted_to
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.recordings import (
    Division,
    apart_from,
    divide,
    in_hash_order,
    read_recordings,
)
from nim4asr.training.finetuning.report import RATES, README, REPORT, Judged, Report, finished, here
from nim4asr.training.finetuning.text_form import form_of, has_marks
from nim4asr.training.finetuning.verdict import Verdict, judge_weights, points
from nim4asr.training.finetuning.weights import OWN, REPLAY, STAGE, Training, train
from nim4asr.training.run import MODEL
from nim4asr.training.speech import TextForm

_ASKED, _FITTED, _HELD_OUT = "asked.json", "fitted.json", "held-out.jsonl"
_BEFORE, _AFTER = "before", "after"
# At most so many recordings are judged by; the others that were set aside are heard by nobody.
_MOST_JUDGED = 1000
_MOST_TOLD = 3

Summaries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Which ``weights`` the new folder holds, ``new`` or ``old``, the sentence about them, what else is to be
    told, and where the new weights were ``left`` if the folder holds the old ones.
    """

    weights: str
    verdict: str
    notes: tuple[str, ...] = ()
    left: Path | None = None


def finetune(
    options: FinetuneOptions,
    progress: ProgressReporter = no_progress,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Tune, judge, and write the new model's folder; goes on from whatever the same command left.

    ``tell`` is told what is being done. Raises ``InputError`` if the model or the recordings cannot be had,
    are too few, or do not fit, and if the output is taken.
    """
    with locked(options.work):
        return _Finetuning(options, progress, tell).run()


class _Finetuning:
    def __init__(
        self, options: FinetuneOptions, progress: ProgressReporter, tell: Callable[[str], None]
    ) -> None:
        self.options, self.progress, self.tell = options, progress, tell
        self.work = options.work
        self.folder = _trainable(options)
        recordings = read_recordings(options.manifests)
        self.without_text = recordings.without_text
        self.divisions = {OWN: divide(recordings.manifests)}
        if options.replay:
            other = divide(read_recordings(options.replay).manifests)
            self.divisions[REPLAY] = apart_from(self.divisions[OWN], other)
        self.command = self._command()

    def run(self) -> Outcome:
        if done := self._already_done():
            return done
        self._begin()
        before = self._evaluated(_BEFORE, self.folder.path)
        form = self._form()
        training = train(self.folder, list(self.divisions), form, self.options, self.progress, self.tell)
        fitted = self._fitted()
        after = self._evaluated(_AFTER, self.work / MODEL)
        verdict = judge_weights(self.work / _BEFORE / OWN, self.work / _AFTER / OWN)
        return self._publish(self._report(verdict, form, training, fitted, before, after))

    def _command(self) -> str:
        """A fingerprint of all that decides what the new weights will be."""
        options = self.options
        row = {
            "model": self.folder.config.to_json(),
            "weights": [check_sum(path) for path in self.folder.weight_files],
            "recordings": {
                name: [list(map(asdict, part)) for part in (division.trained, division.held_out)]
                for name, division in self.divisions.items()
            },
            "settings": [options.minutes, options.steps, options.learning_rate, options.text_form],
        }
        return hashlib.sha256(json.dumps(row).encode()).hexdigest()

    def _already_done(self) -> Outcome | None:
        """What the same command has led to before; raises ``InputError`` if the output is anything else."""
        output, candidate = self.options.output, self.work / MODEL
        if not output.exists() or (output.is_dir() and not any(output.iterdir())):
            return None
        row = finished(output)
        if row is None or row["command"] != self.command:
            raise InputError(f"{output}: this is there already; choose a new name for the tuned model")
        if row["weights"] == "new":
            shutil.rmtree(self.work, ignore_errors=True)
        elif self.options.force:
            if (candidate / CONFIG).exists():
                return None
            raise InputError(
                f"{output}: the old weights were kept here, and {candidate} with the new ones is gone; "
                "remove the folder to tune again"
            )
        return Outcome(row["weights"], row["verdict"], tuple(row["notes"]), _left(row["weights"], candidate))

    def _begin(self) -> None:
        asked = self.work / _ASKED
        if self.work.exists() and any(self.work.iterdir()):
            try:
                same = parse_json(read_text(asked))["command"] == self.command
            except (InputError, ValueError, KeyError, TypeError):
                same = False
            if not same:
                raise InputError(
                    f"{self.work}: a tuning with another model, other recordings or other settings was begun "
                    "here; remove this folder, or choose another name for the tuned model"
                )
        else:
            write_atomic(asked, json.dumps({"command": self.command}) + "\n")
        for name, division in self.divisions.items():
            write_json_lines(self.work / f"{name}.jsonl", (_row(u, "train") for u in division.trained))
        judged = _judged(self.divisions[OWN])
        write_json_lines(self.work / _HELD_OUT, (_row(utterance, "dev") for utterance in judged))

    def _evaluated(self, when: str, model: Path) -> Summaries:
        """The summaries of what was set aside, recognized by the model in a folder as its users will."""
        found: dict[str, Mapping[str, Any]] = {}
        for name, division in self.divisions.items():
            place = self.work / when / name
            if not (place / SUMMARY).exists():
                self.tell(f"recognizing the recordings that were set aside, {when} tuning")
                with _threads_kept():
                    summary = evaluate(Recognizer.load(model), _judged(division), place, self.progress)
                if "report_failed" in summary:
                    raise InputError(str(summary["report_failed"]))
            found[name] = parse_json(read_text(place / SUMMARY))
            heard, skipped = len(read_rows(place)), found[name]["skipped"]
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
        kept, path = self.work / _FITTED, self.work / MODEL / CONFIG
        if not kept.exists():
            self.tell("fitting the evidence of hotwords and the guards")
            with _threads_kept():
                new = fitted_to(self.work / MODEL, _judged(self.divisions[OWN]), self.progress)
            write_atomic(kept, json.dumps(asdict(new), ensure_ascii=False) + "\n")
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
            command=self.command,
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
        if self.without_text:
            yield f"{self.without_text} recordings without a text were used for nothing."
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
        new, old, output = self.work / MODEL, self.folder.path, self.options.output
        card = read_text(old / README) if (old / README).is_file() else ""
        if self.options.report is not None:
            self._copy_alignments(self.options.report)
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
        return Outcome(report.weights, report.verdict, report.notes, _left(report.weights, new))

    def _copy_alignments(self, folder: Path) -> None:
        write_atomic(folder / _HELD_OUT, read_text(self.work / _HELD_OUT))
        for when in (_BEFORE, _AFTER):
            for file in (ALIGNMENTS, SUMMARY):
                write_atomic(folder / when / file, read_text(self.work / when / OWN / file))


def _trainable(options: FinetuneOptions) -> ModelFolder:
    """The model, once it is known that it can be trained."""
    if Path(options.model).is_file():
        raise InputError(
            f"{options.model}: this is a file, and the model is named first, then the recordings: "
            f"nim4 finetune nano {options.model} -o {options.output}"
        )
    folder = ModelFolder.open(options.model)
    check_complete(folder.config)
    if folder.config.phonemes != TABLE.symbols:
        raise InputError(f"{folder.path}: the model's phonemes are not those of this program")
    return folder


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


def _left(weights: str, candidate: Path) -> Path | None:
    return candidate if weights == "old" and candidate.exists() else None


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Give torch its threads back: a small model, once loaded, leaves it one, and training wants all."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
