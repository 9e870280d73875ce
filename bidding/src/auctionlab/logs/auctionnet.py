"""AuctionNet's periods: every advertiser's bid for every page view, so that auctions can be ranked anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auctionlab.logs.table import read_frame
from auctionlab.market.market import Market

COLUMNS = (
    "deliveryPeriodIndex",
    "advertiserNumber",
    "advertiserCategoryIndex",
    "budget",
    "CPAConstraint",
    "timeStepIndex",
    "remainingBudget",
    "pvIndex",
    "pValue",
    "pValueSigma",
    "bid",
    "xi",
    "adSlot",
    "cost",
    "isExposed",
    "conversionAction",
    "leastWinningCost",
    "isEnd",
)
"""The 18 columns of a period's file."""


def read(path: Path | str) -> tuple[Market, np.ndarray]:
    """Read one period from CSV or Parquet: its market, and each advertiser's budget (A,).

    A row is an advertiser's bid for a page view. Conversions are what is bid for, and every exposure
    costs; so the click rate is 1 and the conversion rate is pValue. Raises FileNotFoundError, and
    ValueError where columns are missing, several periods are in one file, or a number is out of its range.
    """
    frame = read_frame(Path(path))
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ValueError(f"{path}: columns are missing: {', '.join(missing)}")
    if (periods := frame["deliveryPeriodIndex"].n_unique()) > 1:
        raise ValueError(f"{path} holds {periods} periods; give one at a time")
    frame = frame.sort("timeStepIndex", "pvIndex", "advertiserNumber")
    view = frame["pvIndex"].to_numpy()
    step = frame["timeStepIndex"].to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.append(True, view[1:] != view[:-1])) if view.size else np.zeros(0, int)
    advertiser = frame["advertiserNumber"].to_numpy().astype(np.int64)
    ads = int(advertiser.max(initial=-1)) + 1
    try:
        market = Market.of(
            offsets=np.append(starts, view.size),
            ad=advertiser,
            click=1.0,
            conversion=frame["pValue"].to_numpy().astype(np.float64),
            bid=frame["bid"].to_numpy().astype(np.float64),
            hour=step[starts],
            ads=ads,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    budgets = np.zeros(ads)
    budgets[advertiser] = frame["budget"].to_numpy()
    return market, budgets
