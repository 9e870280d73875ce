"""Whether the tuned weights are taken: only if they get less wrong on what was set aside."""

from dataclasses import dataclass
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.evaluation.comparison import Interval, compare, compare_texts, read_rows, text_errors

# Recordings under which an interval is too narrow to be believed.
_ENOUGH = 10


@dataclass(frozen=True)
class Verdict:
    """Whether the new weights are ``better``, and a ``sentence`` about it; errors a token ``before`` and
    ``after``, and their ``difference``, over the recordings set aside.
    """

    better: bool
    sentence: str
    before: Interval
    after: Interval
    difference: Interval


def judge_weights(before: Path, after: Path) -> Verdict:
    """The verdict on two reports (``nim4asr.evaluation``) of the same recordings.

    New weights are better if fewer tokens are wrong, be it by chance, and if neither the errors of Chinese
    characters nor those of other languages' words rose by more than chance (95 % paired bootstrap). Of fewer
    than ten recordings nothing is said to be more than chance: resampled, they differ too little to tell.
    Raises ``InputError`` if nothing can be compared.
    """
    old, new, difference = text_errors(before), text_errors(after), compare_texts(after, before)
    if old is None or new is None or difference is None:
        raise InputError("the recordings set aside have no words to count errors of")
    chinese = [row["language"] == "zh" for row in read_rows(after).values()]
    counts = {"cer": sum(chinese), "wer": len(chinese) - sum(chinese)}
    rose = {
        name: interval
        for name, interval in compare(after, before).items()
        if counts.get(name, 0) >= _ENOUGH and interval.low > 0
    }
    figures = f"{_percent(old.value)} of the tokens were wrong before, {_percent(new.value)} are after"
    if difference.value == 0:
        why = "no better"
    elif difference.value < 0 and rose:
        one, interval = next(iter(rose.items()))
        why = f"worse in {one.upper()} by more than chance: {points(interval)}"
    else:
        why = f"{'better' if difference.value < 0 else 'worse'}{_certainty(difference, len(chinese))}"
    return Verdict(difference.value < 0 and not rose, f"{figures}, {why}", old, new, difference)


def _certainty(difference: Interval, recordings: int) -> str:
    told = points(difference)
    if recordings < _ENOUGH:
        return f", though {recordings} recordings tell little: {told}"
    if difference.low > 0 or difference.high < 0:
        return f" by more than chance: {told}"
    return f", though it may be chance: {told}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def points(interval: Interval) -> str:
    """A difference of rates in percentage points, with its interval."""
    value, low, high = (f"{100 * number:+.1f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} points ({low} to {high})"
