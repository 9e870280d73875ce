"""auctionlab: an exact engine and a laboratory for bidding in sponsored search."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auctionlab.auction.clearing import clear
    from auctionlab.auction.mechanism import Mechanism, Rules
    from auctionlab.auction.outcome import Outcome
    from auctionlab.environments.competition import Competition
    from auctionlab.environments.contest import Contest, Contestants
    from auctionlab.environments.hourly import HourlyBidding
    from auctionlab.evolution.objectives import Advertiser, Objective
    from auctionlab.evolution.strategy import Search
    from auctionlab.evolution.trained import Game
    from auctionlab.market.market import Market
    from auctionlab.market.world import World
    from auctionlab.optimum.dual import dual
    from auctionlab.optimum.plan import plan
    from auctionlab.optimum.program import program

__version__ = "0.1.0"

# Names are imported when they are first used: what only clears auctions never imports Gymnasium.
_WHERE = {
    "clear": "auction.clearing",
    "Mechanism": "auction.mechanism",
    "Rules": "auction.mechanism",
    "Outcome": "auction.outcome",
    "Competition": "environments.competition",
    "Contest": "environments.contest",
    "Contestants": "environments.contest",
    "HourlyBidding": "environments.hourly",
    "Advertiser": "evolution.objectives",
    "Game": "evolution.trained",
    "Objective": "evolution.objectives",
    "Search": "evolution.strategy",
    "Market": "market.market",
    "World": "market.world",
    "dual": "optimum.dual",
    "plan": "optimum.plan",
    "program": "optimum.program",
}

__all__ = [
    "Advertiser",
    "Competition",
    "Contest",
    "Contestants",
    "Game",
    "HourlyBidding",
    "Market",
    "Mechanism",
    "Objective",
    "Outcome",
    "Rules",
    "Search",
    "World",
    "clear",
    "dual",
    "plan",
    "program",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'auctionlab' has no attribute {name!r}")
    return getattr(import_module(f"auctionlab.{_WHERE[name]}"), name)
