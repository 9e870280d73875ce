"""The curve of a model over its hours of training, from the logs of its runs.

    python tools/training_curve.py rows RUN STAGE... > benchmarks/results/NAME.json
    python tools/training_curve.py draw benchmarks/results/A.json benchmarks/results/B.json -o PICTURE.png

``rows`` takes the errors on dev out of the logs of a run's stages, with the hours of steps before each.
``draw`` puts several runs, each from what the one before it left, one behind another.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nim4asr.training.loop.metrics import read_log

_PHONEMES = ("cv_zh", "speechocean762", "cv_en", "fsdd")
_NAMES = {
    "cv_zh": "Common Voice zh-CN",
    "speechocean762": "speechocean762",
    "cv_en": "Common Voice English",
    "fsdd": "digits",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    take = verbs.add_parser("rows")
    take.add_argument("run", type=Path)
    take.add_argument("stages", nargs="+")
    take.add_argument("--what", default="")
    show = verbs.add_parser("draw")
    show.add_argument("results", nargs="+", type=Path)
    show.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.verb == "rows":
        rows = [row for stage in options.stages for row in rows_of(options.run, stage)]
        print(json.dumps({"what": options.what, "rows": rows}, indent=1))
    else:
        draw([json.loads(path.read_text())["rows"] for path in options.results], options.output)


def rows_of(run: Path, stage: str) -> list[dict[str, Any]]:
    """A row an evaluation: the stage, its step, the hours of its steps so far, and what was measured."""
    rows, seconds, before = [], 0.0, 0
    for row in read_log(run / stage):
        if "seconds_per_step" in row:
            seconds += row["seconds_per_step"] * (row["step"] - before)
            before = row["step"]
        elif any(name in row for name in _PHONEMES):
            measured = {name: round(value, 4) for name, value in row.items() if name != "step"}
            rows.append({"stage": stage, "step": row["step"], "hours": round(seconds / 3600, 3), **measured})
    return rows


def draw(runs: Sequence[Sequence[dict[str, Any]]], path: Path) -> None:
    """Phoneme errors, and errors of text, over all hours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), sharex=True)
    hours, ends = [], [0.0]
    for run in runs:
        stage, begin = "", ends[-1]
        for row in run:
            if row["stage"] != stage:
                stage, begin = row["stage"], ends[-1]
            hours.append((begin + row["hours"], row))
            ends.append(begin + row["hours"])
    for axis, suffix, title in ((axes[0], "", "phoneme errors"), (axes[1], "_text", "CER, WER (greedy)")):
        for name in _PHONEMES:
            points = [(hour, 100 * row[name + suffix]) for hour, row in hours if name + suffix in row]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", markersize=3, label=_NAMES[name])
        axis.set(title=f"{title}, % of 100 dev utterances", xlabel="hours of steps, two cores")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
