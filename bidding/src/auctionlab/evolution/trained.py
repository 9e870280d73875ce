"""What is played, what a search found, and what that comes to on a day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.population import clear_population
from auctionlab.evolution.checkpoint import Step
from auctionlab.evolution.objectives import Advertiser, Objective, budgets_of, profit, revenue, welfare
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.strategy import Search
from auctionlab.files import replacing
from auctionlab.market.market import Market

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """What is played.

    Raises ValueError where cooperation leaves [0, 1] or a floor is not above 0.
    """

    cooperation: float = 0.0
    """w: weight of all ads' profit in everyone's fitness; 0 is selfish, 1 only the common good."""
    floor: float | None = None
    """R: least revenue, as a share of truthful bidding's; None for no floor."""
    rules: Rules = field(default_factory=lambda: Rules(positions=(1.0,)))
    """Rules of the auctions."""
    search: Search = field(default_factory=Search)
    """How to search."""
    parts: int = 1
    """Equal parts of the day with weights of their own."""

    def __post_init__(self) -> None:
        if not 0 <= self.cooperation <= 1:
            raise ValueError(f"cooperation must lie between 0 and 1, not {self.cooperation}")
        if self.floor is not None and not 0 < self.floor < np.inf:
            raise ValueError(f"a revenue floor must be above 0, not {self.floor}")

    def common_noise(self, iteration: int) -> float:
        """Share of the noise of a step that all groups have in common.

        Where all want the same, profit falls and rises with everyone's bids together, which one group's
        noise among many hardly shows. Above a floor that is so until revenue has come down to it; from then
        on common noise would only make revenue unsteady. Groups that want different things would be credited
        with what the others do.
        """
        if self.cooperation < 1:
            return 0.0
        if self.floor is None:
            return 0.5
        return 0.25 if iteration < self.search.iterations / 3 else 0.0


@dataclass(frozen=True, eq=False)
class Trained:
    """What a search found."""

    game: Game
    """What was played."""
    policies: Policies
    """How theta becomes bids."""
    theta: Floats
    """(G, D, 3) learned logarithms of weights: the mean over the last quarter of the search."""
    history: tuple[Step, ...]
    """Every step."""
    ppc_multipliers: Floats
    """(A,) multipliers nu in the end."""
    trouble: str
    """One sentence where limits were not kept in the end; empty where they were."""

    @property
    def feasible(self) -> bool:
        """Whether the limits were kept in the end."""
        return not self.trouble

    def play(self, market: Market, advertisers: Sequence[Advertiser], *, seed: int | None = None) -> Floats:
        """The sums (A, 6) of another day; with a seed, clicks and purchases are drawn."""
        weights = self.policies.weights(self.theta[None])
        budgets = budgets_of(advertisers)
        units, rules = self.policies.units, self.game.rules
        return np.asarray(clear_population(market, weights, units, budgets, rules, seed=seed)[0])

    def save(self, path: Path | str, advertisers: Sequence[Advertiser]) -> None:
        """Write policies, history, and whom they were learned for, as JSON."""
        kept = {
            "auctionlab": "game",
            "advertisers": [plain_advertiser(who) for who in advertisers],
            "game": plain_game(self.game),
            "groups": self.policies.groups.tolist(),
            "units": self.policies.units.tolist(),
            "scale": self.policies.scale.tolist(),
            "theta": self.theta.tolist(),
            "ppc_multipliers": self.ppc_multipliers.tolist(),
            "history": [asdict(told) for told in self.history],
            "trouble": self.trouble,
        }
        with replacing(path) as draft:
            draft.write_text(json.dumps(kept) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> tuple[Trained, list[Advertiser]]:
        """Read what `save` wrote. ValueError for anything else, FileNotFoundError where there is nothing."""
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"there is no file {source}")
        try:
            kept = json.loads(source.read_text(encoding="utf-8"))
            if kept["auctionlab"] != "game":
                raise ValueError("it holds something else")
            told, groups = dict(kept["game"]), np.array(kept["groups"], np.int64)
            rules = told.pop("rules")
            game = Game(
                **{
                    **told,
                    "rules": Rules(
                        Mechanism(rules["mechanism"]), tuple(rules["positions"]), rules["reserve"]
                    ),
                    "search": Search(**told["search"]),
                }
            )
            theta = np.array(kept["theta"], np.float64)
            policies = Policies(
                groups, np.array(kept["units"], np.int64), np.array(kept["scale"], np.float64), game.parts
            )
            if theta.shape != policies.truthful().shape or policies.scale.shape != (groups.size, 3):
                raise ValueError("its shapes do not fit")
            history = tuple(Step(**step) for step in kept["history"])
            multipliers = np.array(kept["ppc_multipliers"], np.float64)
            who = [_advertiser(told) for told in kept["advertisers"]]
            if len(who) != groups.size:
                raise ValueError("its advertisers are not as many as its ads")
            return cls(game, policies, theta, history, multipliers, str(kept["trouble"])), who
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{source} is not a game that `train macg` wrote: {error}") from error


def truthful(market: Market, advertisers: Sequence[Advertiser], rules: Rules) -> Floats:
    """The sums (A, 6) of a day on which everyone bids what a click is worth, within budget."""
    weights = np.zeros((1, market.ads, 1, 3))
    weights[:, :, :, 1] = 1.0
    budgets = budgets_of(advertisers)
    units = np.full(market.ads, 2, np.int64)
    return np.asarray(clear_population(market, weights, units, budgets, rules)[0])


@dataclass(frozen=True)
class Shares:
    """A day's results relative to truthful bidding's."""

    revenue: float
    """The platform's."""
    value: float
    """Worth of all purchases."""
    surplus: float
    """Profit of all ads."""
    manual: float
    """Profit of manual ads; NaN where there is none."""


def shares(sums: Floats, base: Floats, advertisers: Sequence[Advertiser]) -> Shares:
    """Compare sums (A, 6) with truthful bidding's on the same day."""
    manual = np.array([who.manual for who in advertisers])
    gains, usual = profit(sums), profit(base)
    return Shares(
        _ratio(revenue(sums), revenue(base)),
        _ratio(welfare(sums), welfare(base)),
        _ratio(gains.sum(), usual.sum()),
        _ratio(gains[manual].sum(), usual[manual].sum()),
    )


def _ratio(value: Floats | np.floating, usual: Floats | np.floating) -> float:
    """NaN where truthful bidding comes to nothing: there is nothing to compare with."""
    return float(value / usual) if usual != 0 else float("nan")


def plain_game(game: Game) -> dict[str, Any]:
    told = asdict(game)
    told["rules"]["mechanism"] = game.rules.mechanism.value
    return told


def plain_advertiser(who: Advertiser) -> list[Any]:
    # Budgets and limits may be infinite, which JSON does not know.
    return [who.objective.value, str(who.budget), str(who.ppc_limit), who.manual]


def _advertiser(told: Sequence[Any]) -> Advertiser:
    objective, budget, limit, manual = told
    return Advertiser(Objective(objective), float(budget), float(limit), bool(manual))
