"""Pictures of a run: what every stage's log says, and the CKA trace with its swaps."""

from pathlib import Path
from typing import Any

from nim4asr.errors import InputError
from nim4asr.training.async_sft.snapshots import SnapshotStore
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.status import read_status

_NO_CURVES = ("step", "learning_rate", "gradient_norm", "seconds_per_step", "waiting_share")


def plot_run(folder: Path) -> list[Path]:
    """Write ``STAGE.png`` of every stage that has a log, and ``cka.png``, into ``folder/plots``; returns
    their paths.

    Raises ``InputError`` if no run has begun there, or matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError("plots need matplotlib: pip install 'nim4asr[training]'") from None
    matplotlib.use("Agg")
    written = []
    stages = read_status(folder).stages
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    for stage in stages:
        rows = list(read_log(folder / stage.name))
        if rows:
            path = plots / f"{stage.name.replace('/', '-')}.png"
            _curves(rows, stage.name, path)
            written.append(path)
    for trace in sorted(folder.glob("*/cka.jsonl")):
        path = plots / f"{trace.parent.name}-cka.png"
        _trace(trace, path)
        written.append(path)
    return written


def _curves(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """One panel a metric, over steps."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for row in rows for name in row if name not in _NO_CURVES))
    figure, axes = pyplot.subplots(1, len(names), figsize=(3.4 * len(names), 3), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points, strict=True), "o-" if len(points) < 12 else "-", markersize=3)
        axis.set(title=name, xlabel="step")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _trace(trace: Path, path: Path) -> None:
    """CKA to the reference over steps, each published snapshot a line."""
    from matplotlib import pyplot

    # A run that was cut repeats some steps; the last look counts.
    by_step = {row["step"]: row for row in read_log(trace.parent, trace.name) if "cka" in row}
    rows = [by_step[step] for step in sorted(by_step)]
    figure, axis = pyplot.subplots(figsize=(6, 3))
    axis.plot([row["step"] for row in rows], [row["cka"] for row in rows], ".-")
    for snapshot in SnapshotStore(trace.parent / "snapshots").snapshots():
        axis.axvline(snapshot.step, color="tab:red", linestyle="--")
        axis.annotate(
            f"snapshot {snapshot.number}", (snapshot.step, snapshot.cka), rotation=90, fontsize=7, va="bottom"
        )
    axis.set(xlabel="step of pre-training", ylabel="CKA to the reference")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
