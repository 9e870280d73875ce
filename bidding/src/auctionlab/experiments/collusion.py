"""MACG's claims about revenue: cooperation collapses it, and a floor holds it.

Every ad searches at once. Selfish ads want their own profit, cooperative ones all ads' profit, and a floor
holds the platform's revenue at a share of truthful bidding's. Some ads may be manual: they bid what clicks
are worth, and one sees what the others' search does to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from auctionlab.evaluation.comparison import Estimate, estimate
from auctionlab.experiments.arena import Arena, Played, Progress, every, play
from auctionlab.experiments.store import Store


@dataclass(frozen=True)
class Collusion:
    """What is compared."""

    arena: Arena = field(default_factory=Arena)
    """Worlds and settings."""
    floors: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95, 1.0, 1.1)
    """Revenue floors for ads that want the common profit alone."""

    def rows(self) -> dict[str, tuple[float, float | None]]:
        """Name, and cooperation and floor, of every row."""
        rows: dict[str, tuple[float, float | None]] = {
            "selfish": (0.0, None),
            "own + common": (0.5, None),
            "common": (1.0, None),
        }
        return {**rows, **{f"common, floor {floor:g}": (1.0, floor) for floor in self.floors}}


@dataclass(frozen=True)
class Row:
    """One game over all seeds; truthful bidding is 1."""

    name: str
    """What is played."""
    floor: float | None
    """Its floor."""
    revenue: Estimate | None
    """The platform's; None where every seed was refused, as all that follow."""
    value: Estimate | None
    """Worth of all purchases."""
    surplus: Estimate | None
    """Profit of all ads."""
    manual: Estimate | None
    """Profit of manual ads; None where there is none."""
    scaling: Estimate | None
    """What an ad could still gain by one factor on its bids."""
    plan: Estimate | None
    """The same by the exact plan of its hours."""
    refused: int
    """Seeds whose floor was found to be infeasible."""
    trouble: tuple[str, ...]
    """What was not kept, or why it was refused, seed by seed where there is something to say."""


@dataclass(frozen=True)
class Result:
    """The table."""

    config: Collusion
    """What was compared."""
    rows: tuple[Row, ...]
    """Its rows."""


def run(
    config: Collusion,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    store: Store | None = None,
) -> Result:
    """Play every game in every seed's world. Games that the store has are not played again."""
    rows, arena = config.rows(), config.arena

    def make(seed: int, name: str) -> dict[str, Any]:
        days, test = arena.days(seed)
        game = arena.game(*rows[name])
        return asdict(play(days, test, arena.advertisers(days), game, threads=threads))

    parts = every(arena.seeds, list(rows), make, store or Store(None, config), progress)
    found = {name: [Played(**part) for part in games] for name, games in parts.items()}
    return Result(config, tuple(row(name, rows[name][1], games) for name, games in found.items()))


def row(name: str, floor: float | None, games: Sequence[Played]) -> Row:
    """One game's row from its seeds."""
    whole = [game for game in games if not game.refused]
    manual = [game.manual for game in whole if game.manual == game.manual]

    def over(values: list[float]) -> Estimate | None:
        return estimate(values) if values else None

    return Row(
        name,
        floor,
        over([game.revenue for game in whole]),
        over([game.value for game in whole]),
        over([game.surplus for game in whole]),
        over(manual),
        over([game.scaling for game in whole]),
        over([game.plan for game in whole]),
        len(games) - len(whole),
        tuple(game.trouble for game in games if game.trouble),
    )
