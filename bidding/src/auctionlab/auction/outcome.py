"""What a day of auctions came to, for each ad and hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMES = ("impressions", "top", "clicks", "cost", "conversions", "gmv")
"""The sums, in the order in which they are kept."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Sums by hour and ad, and the money that was left."""

    sums: Floats
    """(H, A, 6) all sums; an ad's six stand side by side, as the core adds to all of them at once."""
    left: Floats
    """(A,) money left at the end, per ad; infinite where there was no budget."""

    @classmethod
    def empty(cls, hours: int, left: Floats) -> Outcome:
        """Nothing yet, with the money there is (A,)."""
        return cls(np.zeros((hours, left.size, len(NAMES))), np.array(left, np.float64))

    @property
    def impressions(self) -> Floats:
        """(H, A) how often the ad was shown."""
        return self.sums[:, :, 0]

    @property
    def top(self) -> Floats:
        """(H, A) how often it was shown in the first position."""
        return self.sums[:, :, 1]

    @property
    def clicks(self) -> Floats:
        """(H, A) clicks, expected or counted."""
        return self.sums[:, :, 2]

    @property
    def cost(self) -> Floats:
        """(H, A) money charged for them."""
        return self.sums[:, :, 3]

    @property
    def conversions(self) -> Floats:
        """(H, A) purchases, expected or counted."""
        return self.sums[:, :, 4]

    @property
    def gmv(self) -> Floats:
        """(H, A) gross merchandise value: money that buyers spent."""
        return self.sums[:, :, 5]

    @property
    def revenue(self) -> float:
        """What the platform earned."""
        return float(self.cost.sum())

    @property
    def welfare(self) -> float:
        """What all ads' clicks were worth to their advertisers, before payments."""
        return float(self.gmv.sum())

    def of(self, ad: int) -> dict[str, float]:
        """The day's sums of one ad, by NAMES."""
        return dict(zip(NAMES, self.sums[:, ad].sum(axis=0).tolist(), strict=True))
