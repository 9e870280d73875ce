"""iPinYou's display auctions: one position, second price, and what the winner had to pay.

A log of one bidder is an auction with a second ad, whose bid is the market price. So the same core clears
it, and no second path of code is needed. A click there is the impression: money is paid per impression, so
the click rate of both ads is 1, and "conversion" is the click.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from auctionlab.logs.table import read_frame
from auctionlab.market.fidelity import Fidelity
from auctionlab.market.market import Market
from auctionlab.optimum.display import Training

BIDDER, MARKET = 0, 1
"""The two ads of a market-price log."""

RAW_COLUMNS = (
    "click",
    "weekday",
    "hour",
    "bidid",
    "timestamp",
    "logtype",
    "ipinyouid",
    "useragent",
    "IP",
    "region",
    "city",
    "adexchange",
    "domain",
    "url",
    "urlid",
    "slotid",
    "slotwidth",
    "slotheight",
    "slotvisibility",
    "slotformat",
    "slotprice",
    "creative",
    "bidprice",
    "payprice",
    "keypage",
    "advertiser",
    "usertag",
)
"""The 27 columns of the log as it is commonly prepared, tab-separated, with a header."""


def market_of(
    price: ArrayLike, predicted: ArrayLike, clicked: ArrayLike, *, hour: ArrayLike | None = None
) -> Market:
    """A market-price log as a market of two ads.

    Args:
        price: (n,) market price of each impression.
        predicted: (n,) predicted click rate: what the bidder sees.
        clicked: (n,) 1 where it was clicked: what the bidder gets.
        hour: (n,) of each impression; all in one if not given.

    """
    prices = np.asarray(price, np.float64)
    count = prices.size
    both = np.zeros((3, count, 2))
    both[0, :, BIDDER] = clicked
    both[1, :, BIDDER] = predicted
    both[2, :, MARKET] = prices
    # The bidder stands first, so it wins where bids are equal, as in the published replays.
    return Market.of(
        offsets=np.arange(count + 1) * 2,
        ad=np.tile([BIDDER, MARKET], count),
        click=1.0,
        conversion=both[0].ravel(),
        predicted=both[1].ravel(),
        bid=both[2].ravel(),
        hour=hour,
        ads=2,
        fidelity=Fidelity.MARKET_PRICE,
    )


def read_prepared(path: Path | str) -> Market:
    """Read rows of "click price predicted-click-rate", separated by spaces; gzipped or not.

    Raises FileNotFoundError, and ValueError where the file is cut short or has other columns.
    """
    frame = read_frame(Path(path), separator=" ", columns=("click", "price", "predicted"))
    _require(Path(path), frame.columns, ("click", "price", "predicted"))
    try:
        return market_of(
            *(frame[name].to_numpy().astype(np.float64) for name in ("price", "predicted", "click"))
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_raw(path: Path | str) -> Market:
    """Read the 27 columns with a header, tab-separated. The bidder predicts the mean click rate.

    Raises FileNotFoundError, and ValueError where columns are missing or a number is out of its range.
    """
    frame = read_frame(Path(path), separator="\t")
    _require(Path(path), frame.columns, RAW_COLUMNS)
    try:
        click = frame["click"].to_numpy().astype(np.float64)
        # The prepared log holds several days, each from midnight: their hours follow one another.
        day = frame["timestamp"].cast(str).str.slice(0, 8).rank("dense").to_numpy().astype(np.int64) - 1
        hour = frame["hour"].to_numpy().astype(np.int64) + 24 * day
        rate = np.full(click.size, click.mean() if click.size else 0.0)
        return market_of(frame["payprice"].to_numpy().astype(np.float64), rate, click, hour=hour)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_training(path: Path | str) -> Training:
    """Counts of the training days from JSON: imp_train, clk_train, cost_train, price_counter_train."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Training(
            impressions=int(facts["imp_train"]),
            clicks=int(facts["clk_train"]),
            cost=int(facts["cost_train"]),
            prices=np.asarray(facts["price_counter_train"], np.int64),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} must be JSON with imp_train, clk_train, cost_train and price_counter_train"
        ) from error


def _require(path: Path, columns: list[str], needed: tuple[str, ...]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"{path}: columns are missing: {', '.join(missing)}")
