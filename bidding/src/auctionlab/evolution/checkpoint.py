"""What a search carries from step to step, and how it is kept on disk.

A checkpoint is written beside the old one and then put in its place, so that there is a whole one whenever
the process ends. A search that goes on from it ends with the same last bit as one that was never stopped.
"""

from __future__ import annotations

import zipfile
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auctionlab.evolution.strategy import State
from auctionlab.files import replacing

Floats = NDArray[np.float64]

_VERSION = 1


@dataclass(frozen=True)
class Step:
    """One step, measured on the profile that nobody perturbs."""

    iteration: int
    """Steps done."""
    revenue: float
    """The platform's, relative to truthful bidding."""
    profit: float
    """Of all ads, relative to truthful bidding."""
    floor_multiplier: float
    """The multiplier rho of the revenue floor."""
    ppc_multiplier: float
    """The largest multiplier nu of a limit on the price of a click."""


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a search with its multipliers stands."""

    state: State
    """Center and moments."""
    floor_multiplier: float
    """The multiplier rho of the revenue floor."""
    ppc_multipliers: Floats
    """(A,) multipliers nu of the limits on the price of a click."""
    history: tuple[Step, ...] = ()
    """Every step so far."""
    tail: tuple[Floats, ...] = ()
    """Centers of the last quarter of the search, whose mean is the result."""


def save(path: Path, standing: Standing, game: str) -> None:
    """Write a checkpoint of a game, told by a text that must be the same when it is read."""
    state = standing.state
    # Given a file and not its name, numpy adds no ending of its own.
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(
            file,
            version=_VERSION,
            game=game,
            theta=state.theta,
            mean=state.mean,
            square=state.square,
            iteration=state.iteration,
            floor=standing.floor_multiplier,
            ppc=standing.ppc_multipliers,
            history=np.array([astuple(step) for step in standing.history], np.float64),
            tail=np.array(standing.tail) if standing.tail else np.zeros((0, *state.theta.shape)),
        )


def load(path: Path, game: str) -> Standing:
    """Read a checkpoint.

    Raises FileNotFoundError where there is none, and ValueError for a damaged file or one of another game.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path} to go on from")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if int(kept["version"]) != _VERSION or str(kept["game"]) != game:
                raise ValueError("another game")
            state = State(kept["theta"], kept["mean"], kept["square"], int(kept["iteration"]))
            history = tuple(Step(int(row[0]), *map(float, row[1:])) for row in kept["history"])
            tail = tuple(np.array(center) for center in kept["tail"])
            return Standing(state, float(kept["floor"]), kept["ppc"], history, tail)
    except (KeyError, EOFError, OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        if str(error) == "another game":
            raise ValueError(
                f"{path} is of another game, or of another version: go on with the same days, advertisers "
                f"and settings, or begin anew"
            ) from None
        raise ValueError(f"{path} is not a whole checkpoint of a game; begin anew") from error
