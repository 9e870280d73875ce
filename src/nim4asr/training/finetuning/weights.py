"""The new weights: joint SFT of the whole model, from features to a folder beside what it began as."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any

from nim4asr.data.corpus import Corpus, CorpusUtterance
from nim4asr.data.manifest import read_manifest
from nim4asr.data.store import LEFT_OUT
from nim4asr.errors import InputError
from nim4asr.files import atomic_folder, parse_json, read_text, write_atomic
from nim4asr.model.checkpoint import Checkpoint, load, save, stored_dtype
from nim4asr.model.folder import CONFIG, SUMS, ModelFolder, check_sum
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.progress import ProgressReporter
from nim4asr.runtime.graphs import NAMES, file_of
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.plan import LONGEST_S, SHORTEST_S, Plan, plan_for, training_seconds
from nim4asr.training.finetuning.recordings import LEAST_TRAINED
from nim4asr.training.finetuning.request import OWN, REPLAY, damage_told
from nim4asr.training.loop.distributed import new_accelerator
from nim4asr.training.loop.precision import precision_of, training_device
from nim4asr.training.model import TrainableModel
from nim4asr.training.prepare import PreparedData, prepare_data
from nim4asr.training.recipe import CorpusConfig, Recipe
from nim4asr.training.speech import TextForm
from nim4asr.training.status import write_recipe
from nim4asr.training.trainer import Trainer

STAGE = "joint-sft"
_PLAN, _TRAINED = "plan.json", "trained.json"
# Hours whose features are computed once and kept; more is read at every pass.
_MOST_STORED_HOURS = 100.0
_MOST_TOLD = 3
# With what the names of files begin that say what may be done with weights.
_TERMS = ("LICENSE", "LICENCE", "NOTICE", "COPYING")


@dataclass(frozen=True)
class Training:
    """What was trained on, in ``hours`` of each corpus, by which ``plan``, in how many ``seconds``; how many
    recordings of one's own were ``left_out``, and how many texts hold characters that the model cannot write.
    """

    plan: Plan
    hours: dict[str, float]
    left_out: int
    unwritable: int
    seconds: float

    @property
    def passes(self) -> float:
        """How often one's own recordings were heard, padding counted."""
        own = self.hours[OWN]
        return (
            self.plan.steps * self.plan.batch_seconds / 3600 / (own + min(own, self.hours.get(REPLAY, 0.0)))
        )


def train(
    folder: ModelFolder,
    corpora: Sequence[str],
    form: TextForm,
    options: FinetuneOptions,
    progress: ProgressReporter,
    tell: Callable[[str], None],
    doing: Callable[[str], None],
) -> Training:
    """Train the model in ``folder`` on ``corpora``, whose manifests of their names are in the work folder;
    the new one is the options' ``candidate``. Goes on from what is there. ``tell`` is told what else there is
    to know, ``doing`` which step begins.

    Raises ``InputError`` if too few recordings can be read.
    """
    work = options.work
    if not (options.candidate / CONFIG).exists() or not (work / _TRAINED).exists():
        _Tuning(folder, corpora, form, options, progress, tell, doing).run()
    with damage_told(work / _TRAINED):
        row = parse_json(read_text(work / _TRAINED))
        return Training(**{**row, "plan": Plan(**row["plan"])})


class _Tuning:
    def __init__(
        self,
        folder: ModelFolder,
        corpora: Sequence[str],
        form: TextForm,
        options: FinetuneOptions,
        progress: ProgressReporter,
        tell: Callable[[str], None],
        doing: Callable[[str], None],
    ) -> None:
        self.folder, self.corpora, self.options = folder, corpora, options
        self.work, self.progress, self.tell, self.doing = options.work, progress, tell, doing
        self.recipe = self._recipe(form)

    def run(self) -> None:
        accelerator = new_accelerator(precision_of(self.recipe.precision, self.work, training_device()))
        if accelerator.num_processes > 1:
            raise InputError("nim4 finetune runs in one process; nim4 train runs in several")
        start = load(self.folder)
        self.doing("reading the recordings")
        prepared = prepare_data(self.recipe, self.work, self.progress, start)
        sources = {name: source for name, source in zip(self.corpora, prepared.data.sources, strict=True)}
        left_out = {name: self._left_out(name, source.corpus) for name, source in sources.items()}
        hours = {name: self._hours(name, source.corpus, left_out[name]) for name, source in sources.items()}
        own, other = hours[OWN], hours.get(REPLAY, 0.0)
        if other:
            # As much of the other speech in every pass as of one's own, if there is so much.
            sources[REPLAY] = replace(sources[REPLAY], weight=min(1.0, own / other))
        data = replace(prepared.data, sources=list(sources.values()))
        trainer = Trainer(
            self.work, TrainableModel(start.network, prepared.tokenizer), data, {}, self.progress, accelerator
        )
        parameters = start.network.parameter_counts()["total"]
        suggested = plan_for(
            3600 * own,
            parameters,
            3600 * min(own, other),
            self.options.steps,
            self.options.learning_rate,
        )
        plan = self._trained(trainer, suggested)
        self._keep(plan, hours, len(left_out[OWN]), prepared)
        self._save(start)

    def _recipe(self, form: TextForm) -> Recipe:
        manifests = {name: self.work / f"{name}.jsonl" for name in self.corpora}
        durations = [one.duration for path in manifests.values() for one in read_manifest(path)]
        known = [duration for duration in durations if duration is not None]
        stored = len(known) < len(durations) or sum(known) <= 3600 * _MOST_STORED_HOURS
        config = self.folder.config
        return Recipe(
            network=lambda vocabulary: config,
            corpora={name: CorpusConfig(path, stored=stored) for name, path in manifests.items()},
            stages={},
            text_form=form,
            precision="auto",
        )

    def _left_out(self, name: str, corpus: Corpus) -> list[str]:
        """Which recordings cannot be trained on, and why."""
        found = []
        for path in (
            self.work / "features" / f"{name}-train" / LEFT_OUT,
            self.work / f"left-out-{name}.jsonl",
        ):
            if path.exists():
                rows = [parse_json(line) for line in read_text(path).split("\n") if line]
                found += [f"{row['id']}: {row['reason']}" for row in rows]
        for utterance in corpus.utterances:
            if not _is_usable(utterance, corpus):
                seconds = _seconds(utterance, corpus)
                found.append(
                    f"{utterance.id}: {seconds:.1f} s long; it takes {SHORTEST_S:g} to {LONGEST_S:g} s"
                )
        return found

    def _hours(self, name: str, corpus: Corpus, left_out: Sequence[str]) -> float:
        for reason in left_out[:_MOST_TOLD]:
            self.tell(f"left out: {reason}")
        usable = [_seconds(one, corpus) for one in corpus.utterances if _is_usable(one, corpus)]
        if len(usable) < LEAST_TRAINED:
            raise InputError(
                f"only {len(usable)} recordings of the {name} ones can be trained on, "
                f"and it takes {LEAST_TRAINED}" + (f" ({left_out[0]})" if left_out else "")
            )
        return sum(usable) / 3600

    def _trained(self, trainer: Trainer, suggested: Plan) -> Plan:
        """The plan by which the network has been trained in the end."""
        chunks = self.folder.config.chunks

        def run(plan: Plan, pause: Callable[[int], bool] | None = None) -> int:
            stage = plan.stage(chunks)
            write_recipe(self.work, "finetune", replace(self.recipe, stages={STAGE: stage}), [STAGE])
            return trainer.train(STAGE, stage, pause=pause)

        decided = self.work / _PLAN
        if not decided.exists():
            self.doing(f"training for {suggested.steps} steps" + self._at_most())
            plan = suggested
            if self.options.minutes is not None:
                plan = self._until_half_time(suggested, 60 * self.options.minutes, run)
            write_atomic(decided, json.dumps(asdict(plan)) + "\n")
        with damage_told(decided):
            plan = Plan(**parse_json(read_text(decided)))
        run(plan)
        return plan

    def _at_most(self) -> str:
        minutes = self.options.minutes
        return "" if minutes is None else f", {minutes:g} minutes at most"

    def _until_half_time(
        self, plan: Plan, limit_s: float, run: Callable[[Plan, Callable[[int], bool]], int]
    ) -> Plan:
        """Train at the full rate until half of the time is over, or half of the steps are done; returns the
        plan of the whole.
        """
        spent, began = training_seconds(self.work / STAGE), monotonic()

        def half_is_over(done: int) -> bool:
            return done >= plan.hold or spent + monotonic() - began >= limit_s / 2

        return plan.at_half_time(run(plan, half_is_over))

    def _keep(self, plan: Plan, hours: dict[str, float], left_out: int, prepared: PreparedData) -> None:
        training = Training(
            plan,
            hours,
            left_out,
            sum(not can_write(prepared.tokenizer, text) for text in prepared.data.texts),
            training_seconds(self.work / STAGE),
        )
        write_atomic(self.work / _TRAINED, json.dumps(asdict(training), ensure_ascii=False) + "\n")

    def _save(self, start: Checkpoint) -> None:
        """Write the new weights, with the graphs of the old ones, for they hold no weights and the shape is
        the same, and with their licence.
        """
        network = start.network.requires_grad_(True).cpu().eval()
        network.config = replace(network.config, name=f"{network.config.name.removesuffix('-tuned')}-tuned")
        with atomic_folder(self.options.candidate) as new:
            save(
                Checkpoint(network, start.normalization, start.tokenizer), new, stored_dtype(self.folder.path)
            )
            sums: dict[str, Any] = parse_json(read_text(new / SUMS))
            for path in (self.folder.path / file_of(name) for name in NAMES):
                if path.exists():
                    shutil.copyfile(path, new / path.name)
                    sums[path.name] = check_sum(new / path.name)
            write_atomic(new / SUMS, json.dumps(sums, indent=1) + "\n")
            for path in self.folder.path.iterdir():
                if path.is_file() and path.name.upper().startswith(_TERMS):
                    shutil.copyfile(path, new / path.name)


def _seconds(utterance: CorpusUtterance, corpus: Corpus) -> float:
    return utterance.frames / corpus.feature_config.hz


def _is_usable(utterance: CorpusUtterance, corpus: Corpus) -> bool:
    return SHORTEST_S <= _seconds(utterance, corpus) <= LONGEST_S


def can_write(tokenizer: Tokenizer, text: str) -> bool:
    """Whether the tokenizer has all characters of ``text``."""
    return tokenizer.decode(tokenizer.encode(text)) == text
