"""What a tuned model's folder says about itself: README.md and report.json."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from nim4asr.evaluation.comparison import Interval
from nim4asr.files import parse_json, write_atomic

REPORT = "report.json"
README = "README.md"
# Error rates as they are shown.
RATES = {"cer": "CER", "wer": "WER", "phoneme_error_rate": "phoneme errors"}
# Lines that another card's front matter may lend to this one.
_LENT = ("license", "language", "pipeline_tag")


@dataclass(frozen=True)
class Judged:
    """Figures of one set of recordings before and after: summaries (``nim4asr.evaluation.evaluate``), and the
    intervals of their error rates and of the differences.
    """

    recordings: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    before_intervals: Mapping[str, Interval]
    after_intervals: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class Report:
    """All that is known of a tuning. ``weights`` says which are in the folder; ``command`` is a fingerprint
    of the model, the recordings and the settings; ``errors`` are those a token, of all texts set aside.
    """

    command: str
    weights: Literal["new", "old"]
    forced: bool
    verdict: str
    errors: Mapping[str, Interval]
    model: str
    manifests: tuple[str, ...]
    replayed: tuple[str, ...]
    hours: float
    recordings: int
    speakers: int
    replayed_hours: float
    held_out_by: tuple[str, ...]
    held_out_recordings: int
    held_out_speakers: int
    held_out: Judged
    elsewhere: Judged | None
    left_out: int
    text_form: str
    steps: int
    passes: float
    batch_seconds: float
    peak_learning_rate: float
    training_seconds: float
    evidence: Mapping[str, Any]
    guard: Mapping[str, Any]
    notes: tuple[str, ...]
    machine: str
    date: str
    nim4asr: str

    def save(self, folder: Path, base_card: str) -> None:
        """Write report.json and README.md, which goes on with the card of the model it began as."""
        write_atomic(folder / README, _card(self, base_card))
        write_atomic(folder / REPORT, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")


@dataclass(frozen=True)
class Outcome:
    """Which ``weights`` the new folder holds, ``new`` or ``old``, the sentence about them, what else is to be
    told, and where the new weights were ``left`` if the folder holds the old ones.
    """

    weights: str
    verdict: str
    notes: tuple[str, ...] = ()
    left: Path | None = None


def finished(folder: Path) -> dict[str, Any] | None:
    """The row of report.json of the tuned model in ``folder``; None if it is none."""
    try:
        row = parse_json((folder / REPORT).read_text(encoding="utf-8"))
        told = [row["command"], row["weights"], row["verdict"], *row["notes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return row if all(isinstance(value, str) for value in told) else None


def here() -> dict[str, str]:
    """The machine, the day and the version of the library."""
    return {
        "machine": f"{platform.machine()}, {_processor()}",
        "date": date.today().isoformat(),
        "nim4asr": version("nim4asr"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, ValueError, StopIteration):
        return platform.processor() or "unknown processor"


def _card(report: Report, base: str) -> str:
    front, body = _parted(base)
    lent = [line for line in front if line.partition(":")[0] in _LENT and line.partition(":")[2].strip()]
    head = ["---", *lent, "---"] if lent else []
    tuned = report.weights == "new"
    what = "tuned to other recordings" if tuned else "as it was: tuning brought nothing"
    lines = [
        *head,
        f"# {report.model}, {what}",
        "",
        f"`nim4 finetune` (nim4asr {report.nim4asr}, {report.date}) trained the model {report.model} further "
        f"on {report.hours:.2f} hours of speech, {_counted(report.recordings, report.speakers)}, of "
        f"{', '.join(report.manifests)}"
        + (f", with {', '.join(report.replayed)} replayed" if report.replayed else "")
        + f": {report.steps} steps, {report.passes:.1f} passes, "
        f"{report.training_seconds / 60:.1f} minutes.",
        "",
        f"It was judged on {_counted(report.held_out_recordings, report.held_out_speakers)} "
        f"that it was never trained on: {report.verdict}."
        + (" The new weights were taken all the same, as asked." if report.forced else "")
        + ("" if tuned else " So this folder holds the old weights, unchanged."),
        "",
        "| | before | after | difference |",
        "|---|---|---|---|",
        *_rows(report.held_out, ""),
        *(_rows(report.elsewhere, "replayed: ") if report.elsewhere else ()),
        "",
        "In brackets the 95 % bootstrap interval over recordings. [report.json](report.json) has the rest.",
    ]
    lines += ["", *(f"- {note}" for note in report.notes)] if report.notes else []
    if body.strip():
        lines += ["", "## The model it began as", "", _one_level_down(body).strip()]
    return "\n".join(lines) + "\n"


def _rows(judged: Judged, where: str) -> list[str]:
    return [
        f"| {where}{shown} | {_rate(judged.before_intervals[name])} | {_rate(judged.after_intervals[name])} "
        f"| {_rate(judged.differences[name])} |"
        for name, shown in RATES.items()
        if name in judged.differences
    ]


def _rate(interval: Interval) -> str:
    value, low, high = (f"{100 * number:.1f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} % ({low} to {high})"


def _counted(recordings: int, speakers: int) -> str:
    return f"{recordings} recordings" + (f" of {speakers} speakers" if speakers > 1 else "")


def _parted(card: str) -> tuple[list[str], str]:
    """A card's front matter, its lines, and its text."""
    lines = card.splitlines()
    if lines[:1] == ["---"] and "---" in lines[1:]:
        end = lines.index("---", 1)
        return lines[1:end], "\n".join(lines[end + 1 :])
    return [], card


def _one_level_down(text: str) -> str:
    """Markdown with its headings a level lower, but for what is code."""
    lines, in_code = [], False
    for line in text.splitlines():
        in_code ^= line.lstrip().startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not in_code else line)
    return "\n".join(lines)
