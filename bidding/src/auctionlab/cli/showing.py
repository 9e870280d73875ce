"""How results of experiments are shown: as sections of text, as pictures, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auctionlab.evaluation import figures, sections
from auctionlab.evaluation.comparison import Estimate, estimate, paired
from auctionlab.evaluation.figures import Panel
from auctionlab.evaluation.sections import Section
from auctionlab.evaluation.tables import interval, percent
from auctionlab.experiments import collusion, day_shift, objectives, promise

if TYPE_CHECKING:
    from auctionlab.experiments import learning_curve, massive


@dataclass(frozen=True)
class Shown:
    """A result that is ready to be shown."""

    value: Any
    """For --json."""
    sections: tuple[Section, ...]
    """Tables."""
    pictures: Mapping[str, Panel] = field(default_factory=dict)
    """Panels by the names of their files."""

    def text(self) -> str:
        """All sections in a terminal."""
        return "\n\n".join(section.text() for section in self.sections)

    def save(self, folder: Path) -> None:
        """Pictures, and what `auctionlab report` makes a page of."""
        for name, panel in self.pictures.items():
            figures.save(folder / name, panel)
        sections.write(folder, self.sections)


def gains(result: day_shift.Result) -> tuple[tuple[str, ...], ...]:
    """Rows of a day-shift table."""
    rows = [(day_shift.POLICIES[row.policy], percent(row.train), percent(row.test)) for row in result.rows]
    return (
        *rows,
        ("hindsight, at most", percent(result.hindsight.train), percent(result.hindsight.test)),
    )


GAIN_HEADERS = ("gain over keyword bids at equal cost, %", "train day", "next day")


def gain_bars(title: str, result: day_shift.Result) -> Panel:
    """The picture of a day-shift table."""
    rows = {
        day_shift.POLICIES[row.policy]: {"train day": row.train, "next day": row.test} for row in result.rows
    }
    return figures.bars(title, rows, "% more purchases' worth")


def show_day_shift(results: Mapping[str, day_shift.Result]) -> Shown:
    """Scenarios of the day shift."""
    parts, pictures = [], {}
    for name, result in results.items():
        told = day_shift.SCENARIOS[name][0]
        parts.append(
            Section(
                f"{told}, {result.config.seeds} worlds",
                GAIN_HEADERS,
                gains(result),
                picture=f"{name}.png",
            )
        )
        pictures[f"{name}.png"] = gain_bars(f"Gain over keyword bids at equal cost: {told}", result)
    value = {name: [*result.rows, result.hindsight] for name, result in results.items()}
    return Shown(value, tuple(parts), pictures)


def show_sweep(etas: Sequence[float], results: Sequence[day_shift.Result]) -> Shown:
    """The day shift against the noise between days."""
    tested = {
        title: [next(row for row in result.rows if row.policy == name).test for result in results]
        for name, title in day_shift.POLICIES.items()
    }
    rows = tuple((title, *(f"{e.mean:+.1f}" for e in estimates)) for title, estimates in tested.items())
    labels = ("eta: how far an hour's level is off from day to day", "% more purchases' worth, next day")
    section = Section(
        f"gain on the next day, %, {results[0].config.seeds} worlds",
        ("eta", *(f"{eta:g}" for eta in etas)),
        rows,
        picture="eta.png",
    )
    panel = figures.lines("Where aggregation stops helping", etas, tested, labels)
    value = [{"eta": eta, "rows": result.rows} for eta, result in zip(etas, results, strict=True)]
    return Shown(value, (section,), {"eta.png": panel})


def show_learning_curve(result: learning_curve.Result) -> Shown:
    """DQN beside the exact plan."""
    ways = {
        "DQN with the price of money": [seed.dqn for seed in result.seeds],
        "DQN without it": [seed.unshaped for seed in result.seeds if seed.unshaped is not None],
        "exact plan": [seed.plan for seed in result.seeds],
        "constant multiplier": [seed.constant for seed in result.seeds],
    }
    estimates = {
        name: (estimate([g[0] for g in found]), estimate([g[1] for g in found]))
        for name, found in ways.items()
        if found
    }
    over = paired([seed.dqn[1] for seed in result.seeds], [seed.constant[1] for seed in result.seeds])
    share, worlds = result.share, len(result.seeds)
    section = Section(
        f"learning beside the exact plan, {worlds} worlds",
        GAIN_HEADERS,
        tuple((name, percent(pair[0]), percent(pair[1])) for name, pair in estimates.items()),
        f"DQN's share of the exact plan's gain on the next day: {share.mean:.3f} [{share.low:.3f}, "
        f"{share.high:.3f}]; above the constant multiplier in {result.beats_constant} of {worlds} worlds, "
        f"by {percent(over)} points",
        "curve.png",
    )
    episodes = [episode for episode, _ in result.seeds[0].curve]
    curve: list[Estimate] = [
        estimate([100 * seed.curve[place][1] for seed in result.seeds]) for place in range(len(episodes))
    ]
    labels = ("episodes", "% of the exact plan's purchases' worth, train day")
    panel = figures.lines("What DQN has learned, without exploration", episodes, {"DQN": curve}, labels)
    value = {"ways": estimates, "share": share, "over_constant": over, "seeds": result.seeds}
    return Shown(value, (section,), {"curve.png": panel})


def show_massive(config: massive.Massive, result: massive.Result) -> Shown:
    """Many ads that learn at once."""
    rows = tuple(
        (row.name, f"{row.gain:.3f}", f"{row.cost:.3f}", f"{row.gain_per_cost:.3f}") for row in result.rows
    )
    title = f"{config.world.ads} ads, the day after training, relative to their standing bids"
    return Shown(result.rows, (Section(title, ("", "purchases' worth", "revenue", "PUR / C"), rows),))


def show_collusion(result: collusion.Result) -> Shown:
    """Selfish, cooperative, and above floors."""
    arena = result.config.arena
    manual = arena.manual > 0
    headers = ["truthful bidding is 1", "revenue", "value", "surplus", "gain by factor", "by plan"]
    rows = [["truthful", *["1"] * 3, *[""] * 2]]
    for row in result.rows:
        estimates = [row.revenue, row.value, row.surplus]
        leave = ["-" if e is None else f"{e.mean:.2f}" for e in (row.scaling, row.plan)]
        cells = ["infeasible"] + [""] * 4 if row.revenue is None else [*map(interval, estimates), *leave]
        rows.append([row.name, *cells])
    if manual:
        headers.insert(4, f"{arena.manual} manual ads")
        for line, estimated in zip(rows, [None, *(row.manual for row in result.rows)], strict=True):
            line.insert(4, "1" if line[0] == "truthful" else interval(estimated) if estimated else "")
    said = [f"{row.name}: {row.trouble[0]}" for row in result.rows if row.trouble]
    section = Section(
        f"{arena.world.ads} ads search at once; the day after, {arena.seeds} worlds, 95 % intervals",
        tuple(headers),
        tuple(map(tuple, rows)),
        "\n".join(said),
        "collusion.png",
    )
    pictures = {"collusion.png": revenue_bars(result)}
    parts = [section]
    floors = [row for row in result.rows if row.floor is not None]
    if len(floors) > 1:
        pictures["floors.png"] = floor_line(result)
        parts[0] = replace(section, picture="floors.png")
    return Shown(result.rows, tuple(parts), pictures)


def revenue_bars(result: collusion.Result) -> Panel:
    """Revenue and surplus of every game."""
    rows = {
        row.name: {"revenue": row.revenue, "advertisers' surplus": row.surplus}
        for row in result.rows
        if row.revenue is not None and row.surplus is not None
    }
    title = "What ads that search at once do to revenue"
    return figures.bars(title, rows, "relative to truthful bidding", line=1.0)


def floor_line(result: collusion.Result) -> Panel:
    """Revenue against the floor that was asked."""
    held = [(row.floor, row) for row in result.rows if row.floor is not None]
    title = "A revenue floor holds what cooperation would take"
    return figures.floors(
        title, [place for place, _ in held], [r.revenue for _, r in held], [r.surplus for _, r in held]
    )


def show_promise(result: promise.Result) -> Shown:
    """Promised and delivered."""
    arena = result.config.arena
    rows = (
        ("promised: each alone, rivals fixed", interval(result.promised)),
        ("delivered: all deploy at once", interval(result.delivered)),
        ("gap", interval(result.gap)),
        ("all search at once", interval(result.together)),
    )
    section = Section(
        f"profit of {arena.world.ads} ads, truthful bidding is 1; {arena.seeds} worlds, 95 % intervals",
        ("", "profit"),
        rows,
        picture="promise.png",
    )
    bars = {
        name: {"profit": e}
        for name, e in (
            ("promised", result.promised),
            ("delivered", result.delivered),
            ("all at once", result.together),
        )
    }
    title = "What a simulation with fixed rivals promises, and what is had"
    panel = figures.bars(title, bars, "profit, relative to truthful bidding", line=1.0)
    value = {
        "promised": result.promised,
        "delivered": result.delivered,
        "gap": result.gap,
        "together": result.together,
    }
    return Shown(value, (section,), {"promise.png": panel})


def show_objectives(result: objectives.Result) -> Shown:
    """Several objectives with limits."""
    names = [wanted.value for wanted in objectives.WANTED]
    rows, bars = [], {}
    for row in result.rows:
        if row.wanted is None:
            rows.append((row.name, "infeasible", *[""] * 7))
            continue
        wanted = [row.wanted[name] for name in names]
        excess = row.excess
        rows.append(
            (
                row.name,
                *map(interval, wanted),
                interval(row.profit),
                interval(row.revenue),
                "-" if excess is None else f"{100 * excess.mean:+.1f} %",
                "-" if row.floor_multiplier is None else f"{row.floor_multiplier.mean:.1f}",
                "-" if row.ppc_multiplier is None else f"{row.ppc_multiplier.mean:.1f}",
            )
        )
        bars[row.name] = dict(zip(names, wanted, strict=True))
    arena = result.config.arena
    said = [f"{row.name}: {row.trouble[0]}" for row in result.rows if row.trouble]
    section = Section(
        f"{arena.world.ads} ads, a third each wants clicks, conversions, GMV; truthful bidding is 1; "
        f"{arena.seeds} worlds, 95 % intervals",
        ("", *names, "profit", "revenue", "worst PPC", "rho", "nu"),
        tuple(rows),
        "\n".join(said),
        "objectives.png",
    )
    title = "What ads reach of what they want"
    panel = figures.bars(title, bars, "relative to truthful bidding", line=1.0)
    return Shown(result.rows, (section,), {"objectives.png": panel})
