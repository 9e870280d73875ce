"""Pictures of results, by matplotlib, without a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from auctionlab.evaluation.comparison import Estimate

TRAIN, TEST, BASELINE = "#9db8d2", "#1f5a94", "#8a8a8a"


def _axes(title: str, width: float = 9.0, height: float = 4.6) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path | str) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def bars(path: Path | str, title: str, rows: Mapping[str, tuple[Estimate, Estimate]], axis: str) -> None:
    """Two bars for each name, training and test day, with 95 % intervals."""
    figure, axes = _axes(title)
    places = np.arange(len(rows))
    for offset, (label, color, which) in enumerate((("train day", TRAIN, 0), ("next day", TEST, 1))):
        estimates = [pair[which] for pair in rows.values()]
        means = np.array([estimate.mean for estimate in estimates])
        spread = np.array([[e.mean - e.low, e.high - e.mean] for e in estimates]).T
        axes.bar(
            places + (offset - 0.5) * 0.38, means, 0.36, label=label, color=color, yerr=spread, capsize=3
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(places, [name.replace(": ", ":\n") for name in rows], fontsize=8)
    axes.set_ylabel(axis)
    axes.legend(frameon=False)
    _save(figure, path)


def lines(
    path: Path | str,
    title: str,
    places: Sequence[float],
    series: Mapping[str, Sequence[Estimate]],
    axes_labels: tuple[str, str],
) -> None:
    """A line for each name with its 95 % band."""
    figure, axes = _axes(title)
    for name, estimates in series.items():
        (line,) = axes.plot(places, [estimate.mean for estimate in estimates], marker="o", label=name)
        axes.fill_between(
            places,
            [estimate.low for estimate in estimates],
            [estimate.high for estimate in estimates],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel(axes_labels[0])
    axes.set_ylabel(axes_labels[1])
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)
