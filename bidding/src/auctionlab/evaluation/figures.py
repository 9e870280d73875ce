"""Pictures of results, by matplotlib, without a screen: functions that draw a panel, and `save`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from auctionlab.evaluation.comparison import Estimate

Panel = Callable[[Any], None]
"""What draws on a matplotlib axes."""

COLORS = ("#9db8d2", "#1f5a94", "#c8803c", "#8a8a8a")


def save(path: Path | str, *panels: Panel) -> None:
    """Write panels, one below the other, as a picture."""
    figure = Figure(figsize=(9.0, 4.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        panel(axes)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def bars(title: str, rows: Mapping[str, Mapping[str, Estimate]], axis: str, *, line: float = 0.0) -> Panel:
    """Bars for each name, one of each series, with 95 % intervals, and a line to compare with."""

    def draw(axes: Any) -> None:
        labels = list(next(iter(rows.values())))
        places, width = np.arange(len(rows)), 0.76 / len(labels)
        for number, label in enumerate(labels):
            estimates = [row[label] for row in rows.values()]
            means = np.array([estimate.mean for estimate in estimates])
            spread = np.array([[e.mean - e.low, e.high - e.mean] for e in estimates]).T
            shift = (number - (len(labels) - 1) / 2) * width
            axes.bar(
                places + shift, means, 0.95 * width, label=label, color=COLORS[number], yerr=spread, capsize=3
            )
        axes.axhline(line, color="black", linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xticks(places, [name.replace(": ", ":\n").replace(", ", ",\n") for name in rows], fontsize=8)
        axes.set_ylabel(axis)
        axes.legend(frameon=False)

    return draw


def lines(
    title: str,
    places: Sequence[float],
    series: Mapping[str, Sequence[Estimate]],
    axes_labels: tuple[str, str],
) -> Panel:
    """A line for each name with its 95 % band."""

    def draw(axes: Any) -> None:
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
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel(axes_labels[0])
        axes.set_ylabel(axes_labels[1])
        axes.legend(frameon=False, fontsize=8)

    return draw


def floors(
    title: str,
    places: Sequence[float],
    revenue: Sequence[Estimate | None],
    surplus: Sequence[Estimate | None],
) -> Panel:
    """Revenue and surplus against the floor that was asked; what is infeasible is shaded."""

    def draw(axes: Any) -> None:
        ends = [0.97 * min(places), 1.03 * max(places)]
        axes.plot(ends, ends, color="black", linewidth=0.8, linestyle="--", label="the floor itself")
        for label, color, estimates in (("revenue", COLORS[1], revenue), ("surplus", COLORS[2], surplus)):
            held = [(place, e) for place, e in zip(places, estimates, strict=True) if e is not None]
            axes.errorbar(
                [place for place, _ in held],
                [e.mean for _, e in held],
                yerr=np.array([[e.mean - e.low, e.high - e.mean] for _, e in held]).T if held else None,
                marker="o",
                capsize=3,
                color=color,
                label=label,
            )
        refused = [place for place, e in zip(places, revenue, strict=True) if e is None]
        if refused:
            held_places = [place for place in places if place < min(refused)]
            start = (max(held_places) + min(refused)) / 2 if held_places else ends[0]
            axes.axvspan(start, ends[1], color="#dddddd", label="infeasible")
        axes.set_xlim(*ends)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("revenue floor, of truthful bidding's")
        axes.set_ylabel("relative to truthful bidding")
        axes.legend(frameon=False, fontsize=8)

    return draw
