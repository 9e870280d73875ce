"""Augmented Lagrangian multipliers for limits that a search must keep to (Hestenes 1969, Powell 1969).

A plain multiplier cannot hold a revenue floor here: profit + m x revenue = value - (1 - m) x revenue, and
value hardly moves when all bids scale together, so that the search drives bids to nothing below m = 1 and
without end above it. The quadratic term makes the floor itself the optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CURVATURE = 8.0
"""c: how steep the penalty is."""
STEP = 0.1
"""eta: how fast the multiplier of a revenue floor follows its violation."""
PPC_STEP = 0.03
"""The same for limits on the price of a click."""
MOST_EXCESS = 0.2
"""A price of a click counts as no further above its limit than this when its multiplier is updated."""


def penalty(multiplier: Floats | float, violation: Floats | float, curvature: float = CURVATURE) -> Floats:
    """psi(m, x) = (max(0, m + c x)^2 - m^2) / 2c, for a limit x <= 0."""
    pushed = np.maximum(0.0, np.asarray(multiplier) + curvature * np.asarray(violation))
    return np.asarray((pushed**2 - np.asarray(multiplier) ** 2) / (2 * curvature))


def updated(
    multiplier: Floats | float,
    violation: Floats | float,
    *,
    curvature: float = CURVATURE,
    step: float = STEP,
) -> Floats:
    """The next multiplier: m <- max(0, m + eta c x), x measured where nothing is perturbed."""
    return np.asarray(np.maximum(0.0, np.asarray(multiplier) + step * curvature * np.asarray(violation)))


def updated_ppc(multiplier: Floats, excess: Floats) -> Floats:
    """The next multipliers of limits on the price of a click.

    Slower than a floor's, and bounded upwards: a price can be many times its limit for as long as it takes
    an ad to lower its bids, and a multiplier that had summed all of that up would hold the ad far below its
    limit for as long again.
    """
    return updated(multiplier, np.minimum(excess, MOST_EXCESS), step=PPC_STEP)
