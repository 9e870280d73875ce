"""The canonical log: a Parquet table with a row for each candidate of each auction.

Columns: auction (integer), time (seconds from the start of the day), keyword, ad, click_rate, and of these
any: conversion_rate, price, bid, predicted_rate. Rows of an auction stand together, auctions in order of
time. Keywords and ads may be numbers or strings; they become numbers from 0, in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from auctionlab.market.fidelity import Fidelity
from auctionlab.market.market import Market

REQUIRED = ("auction", "time", "keyword", "ad", "click_rate")
"""Columns that a log must have."""
OPTIONAL = ("conversion_rate", "price", "bid", "predicted_rate")
"""Columns that it may have; without them rates and prices are 1, bids 0, and predictions are true."""

_SECONDS = 3600


@dataclass(frozen=True, eq=False)
class Log:
    """A log, and what its numbers stand for."""

    market: Market
    """The auctions."""
    ads: tuple[str, ...]
    """Name of each ad."""
    keywords: tuple[str, ...]
    """Name of each keyword."""


def read(path: Path | str, *, hours: int | None = None) -> Log:
    """Read a canonical log from Parquet or CSV (by its ending; .csv.gz too).

    Args:
        path: of the file.
        hours: of the day, more than its last auction needs; the latter if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns are missing, rows are out of order, or a number is out of its range.

    """
    frame = read_frame(Path(path))
    if missing := [name for name in REQUIRED if name not in frame.columns]:
        raise ValueError(
            f"{path}: columns are missing: {', '.join(missing)}; a log has {', '.join(REQUIRED)}"
        )
    fidelity = _fidelity(Path(path))
    try:
        return _log(frame, hours, fidelity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _log(frame: pl.DataFrame, hours: int | None, fidelity: Fidelity) -> Log:
    for name in (*REQUIRED, *OPTIONAL):
        if name in frame.columns and (nulls := frame[name].null_count()):
            row = int(np.flatnonzero(frame[name].is_null().to_numpy())[0])
            raise ValueError(f"{name} is empty in {nulls} rows, the first being row {row}")
    auction = frame["auction"].to_numpy()
    starts = (
        np.flatnonzero(np.append(True, auction[1:] != auction[:-1])) if auction.size else np.zeros(0, int)
    )
    if np.unique(auction).size != starts.size:
        raise ValueError("rows of an auction must stand together; sort the table by time and auction")
    time = _seconds(frame["time"])[starts]
    if time.size and not (time >= 0).all():
        raise ValueError("time must be seconds from the start of the day, 0 or more")
    if (falls := np.flatnonzero(np.diff(time) < 0)).size:
        raise ValueError(
            f"auctions must be in order of time: it falls after auction {auction[starts[falls[0]]]}"
        )
    ad, ads = _numbered(frame["ad"])
    keyword, keywords = _numbered(frame["keyword"])
    market = Market.of(
        offsets=np.append(starts, auction.size),
        ad=ad,
        click=_column(frame, "click_rate"),
        conversion=_column(frame, "conversion_rate"),
        price=_column(frame, "price"),
        bid=_column(frame, "bid", 0.0),
        predicted=_column(frame, "predicted_rate") if "predicted_rate" in frame.columns else None,
        hour=(time // _SECONDS).astype(np.int64),
        keyword=keyword[starts],
        ads=max(len(ads), 1),
        hours=hours,
        fidelity=fidelity,
    )
    return Log(market, ads, keywords)


def _seconds(column: pl.Series) -> NDArray[np.float64]:
    if column.dtype.is_numeric():
        return column.to_numpy().astype(np.float64)
    raise ValueError(f"time must be seconds from the start of the day, as numbers, not {column.dtype}")


def _column(frame: pl.DataFrame, name: str, absent: float = 1.0) -> NDArray[np.float64] | float:
    if name not in frame.columns:
        return absent
    if not frame[name].dtype.is_numeric():
        raise ValueError(f"{name} must be numbers, not {frame[name].dtype}")
    return frame[name].to_numpy().astype(np.float64)


def _numbered(column: pl.Series) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers from 0 in the order of the values, and each one's name."""
    values = column.unique().sort()
    numbers = values.search_sorted(column) if len(column) else column.cast(pl.Int64)
    return np.asarray(numbers.to_numpy(), np.int64), tuple(str(value) for value in values)


def write(market: Market, path: Path | str) -> None:
    """Write a market as a canonical log, whole or not at all; reading it gives the same market.

    Times are the hours' starts, so that hours keep their numbers. Empty auctions cannot be written:
    ValueError says how many there are. The fidelity is kept in a file beside it, `<name>.json`.
    """
    target = Path(path)
    sizes = np.diff(market.offsets)
    if (empty := int((sizes == 0).sum())) > 0:
        raise ValueError(f"{empty} auctions have no candidate; a table of candidates cannot hold them")
    frame = pl.DataFrame(
        {
            "auction": np.repeat(np.arange(market.auctions), sizes),
            "time": np.repeat(market.hour * _SECONDS, sizes),
            "keyword": np.repeat(market.keyword, sizes),
            "ad": market.ad,
            "click_rate": market.click,
            "conversion_rate": market.conversion,
            "price": market.price,
            "bid": market.bid,
            "predicted_rate": market.predicted,
        }
    )
    draft = target.with_name(target.name + ".part")
    try:
        frame.write_parquet(draft)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    _beside(target).write_text(json.dumps({"fidelity": market.fidelity.value}) + "\n", encoding="utf-8")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _fidelity(path: Path) -> Fidelity:
    beside = _beside(path)
    if not beside.is_file():
        return Fidelity.COMPLETE
    try:
        return Fidelity(json.loads(beside.read_text(encoding="utf-8"))["fidelity"])
    except (ValueError, KeyError, TypeError) as error:
        known = ", ".join(fidelity.value for fidelity in Fidelity)
        raise ValueError(f"{beside} must hold a fidelity, one of {known}") from error


def read_frame(path: Path, *, separator: str = ",", columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A table from Parquet or text, its columns named by its first line, or as given where it has none.

    Text may be gzipped, begin with a byte order mark, end its lines either way, and quote its fields.
    Raises FileNotFoundError, and ValueError where the file is cut short or not such a table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=columns is None,
            new_columns=list(columns) if columns is not None else None,
            infer_schema_length=10_000,
        )
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a table: {reason}") from error
    # Numbers too long for 64 bits are no counts; as decimals they are checked like the others.
    frame = frame.with_columns(pl.col(pl.Int128).cast(pl.Float64))
    if repeated := [name for name in frame.columns if "_duplicated_" in name]:
        raise ValueError(f"{path}: the column {repeated[0].split('_duplicated_')[0]} stands there twice")
    return frame
