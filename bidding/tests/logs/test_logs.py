from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.logs import auctionnet, avito, criteo, ipinyou, table
from auctionlab.market.fidelity import Fidelity
from auctionlab.market.world import World

DAY = World(auctions=200, ads=5).day(1)


def assert_same(first: object, second: object) -> None:
    for name in ("offsets", "ad", "click", "conversion", "price", "bid", "hour", "keyword", "predicted"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_reading_what_was_written_is_the_same_market(tmp_path: Path) -> None:
    table.write(DAY, tmp_path / "day.parquet")
    assert_same(table.read(tmp_path / "day.parquet", hours=24).market, DAY)
    limited = replace(DAY, fidelity=Fidelity.MARKET_PRICE)
    table.write(limited, tmp_path / "day.parquet")
    assert table.read(tmp_path / "day.parquet").market.fidelity is Fidelity.MARKET_PRICE


CSV = """auction,time,keyword,ad,click_rate,conversion_rate,price,bid
7,10,shoes,b,0.1,0.5,20,1.5
7,10,shoes,a,0.2,0.5,20,2.5
9,3700,"red, shoes",a,0.3,0.5,20,3.5
"""


@pytest.mark.parametrize("form", ["plain", "bom", "crlf", "gzip"])
def test_text_in_all_its_forms(tmp_path: Path, form: str) -> None:
    text = CSV.replace("\n", "\r\n") if form == "crlf" else CSV
    data = (b"\xef\xbb\xbf" if form == "bom" else b"") + text.encode()
    path = tmp_path / ("log.csv.gz" if form == "gzip" else "log.csv")
    path.write_bytes(gzip.compress(data) if form == "gzip" else data)
    log = table.read(path)
    assert log.ads == ("a", "b") and log.keywords == ("red, shoes", "shoes")
    assert log.market.ad.tolist() == [1, 0, 0] and log.market.hour.tolist() == [0, 1]
    assert log.market.keyword.tolist() == [1, 0] and log.market.bid.tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auction,time,keyword,ad\n1,2,3,4\n", "columns are missing: click_rate"),
        (CSV.replace("conversion_rate", "click_rate"), "the column click_rate stands there twice"),
        (CSV.replace("0.2", "1.2"), "click is 1.2 in row 1"),
        (CSV.replace("0.2", "x"), "click_rate must be numbers"),
        (CSV.replace("0.2", ""), "click_rate is empty in 1 rows, the first being row 1"),
        (CSV.replace("3700", "5"), "time: it falls after auction 7"),
        (CSV.replace("7,10", "7,-10"), "time must be seconds"),
        (CSV.replace("7,10", "7,noon"), "time must be seconds from the start of the day, as numbers"),
        (CSV + "7,9000,shoes,a,0.1,0.1,1,1\n", "rows of an auction must stand together"),
        (CSV.replace("shoes,a,0.2", "shoes,b,0.2"), "ad 1 stands twice in auction 0"),
        (CSV.replace(",2.5", ",-2.5"), "bid is -2.5 in row 1"),
        ("", "cannot be read as a table"),
    ],
)
def test_what_is_wrong_in_a_log_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        table.read(path)


def test_files_cut_short_and_files_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        table.read(tmp_path / "none.csv")
    table.write(DAY, tmp_path / "day.parquet")
    whole = (tmp_path / "day.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress((CSV * 100).encode())[:60])
    for name in ("half.parquet", "half.csv.gz"):
        with pytest.raises(ValueError, match="cannot be read as a table"):
            table.read(tmp_path / name)
    (tmp_path / "day.parquet.json").write_text('{"fidelity": "perfect"}')
    with pytest.raises(ValueError, match="must hold a fidelity, one of complete"):
        table.read(tmp_path / "day.parquet")


def test_a_market_price_log_is_an_auction_of_two(tmp_path: Path) -> None:
    path = tmp_path / "test.txt.gz"
    path.write_bytes(gzip.compress(b"0 70 0.002\n1 6 0.003\n0 8 0.001\n"))
    market = ipinyou.read_prepared(path)
    assert market.fidelity is Fidelity.MARKET_PRICE and market.auctions == 3
    bids = np.array(market.bid)
    bids[market.rows_of(ipinyou.BIDDER)] = 8.0
    got = clear(market, bids, [20.0, np.inf], Rules(positions=(1.0,))).of(ipinyou.BIDDER)
    # It wins the second at 6 and, the bids being equal, the third at 8.
    assert (got["impressions"], got["conversions"], got["cost"]) == (2, 1, 14)


def test_the_raw_log_of_27_columns(tmp_path: Path) -> None:
    rows = []
    for day, hour, click, price in (("20130606", 5, 0, 50), ("20130606", 6, 1, 20), ("20130607", 0, 0, 30)):
        facts = {name: "x" for name in ipinyou.RAW_COLUMNS}
        facts |= {
            "click": str(click),
            "hour": str(hour),
            "timestamp": f"{day}0500001",
            "payprice": str(price),
        }
        rows.append("\t".join(facts[name] for name in ipinyou.RAW_COLUMNS))
    path = tmp_path / "imp.txt"
    path.write_text("\n".join(["\t".join(ipinyou.RAW_COLUMNS), *rows]) + "\n")
    market = ipinyou.read_raw(path)
    assert market.hour.tolist() == [5, 6, 24]
    assert market.bid[1::2].tolist() == [50, 20, 30]
    np.testing.assert_allclose(market.predicted[::2], 1 / 3)
    path.write_text("click\tprice\n1\t2\n")
    with pytest.raises(ValueError, match="columns are missing: weekday"):
        ipinyou.read_raw(path)


def test_counts_of_training_days(tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    path.write_text(
        json.dumps({"imp_train": 4, "clk_train": 1, "cost_train": 10, "price_counter_train": [0, 1, 3]})
    )
    training = ipinyou.read_training(path)
    assert (training.click_rate, training.mean_price) == (0.25, 2.5)
    np.testing.assert_allclose(training.price_rates, [1 / 7, 2 / 7, 4 / 7])
    path.write_text("{}")
    with pytest.raises(ValueError, match="must be JSON with imp_train"):
        ipinyou.read_training(path)


def test_an_auctionnet_period(tmp_path: Path) -> None:
    rows = [
        {
            **dict.fromkeys(auctionnet.COLUMNS, 0),
            "pvIndex": view,
            "timeStepIndex": view // 2,
            "advertiserNumber": who,
            "pValue": 0.1 * (who + 1),
            "bid": 10.0 - who,
            "budget": 100.0 + who,
        }
        for who in (1, 0)
        for view in (3, 1, 0)
    ]
    path = tmp_path / "period.csv"
    pl.DataFrame(rows).write_csv(path)
    market, budgets = auctionnet.read(path)
    assert market.hour.tolist() == [0, 0, 1] and market.ad.tolist() == [0, 1] * 3
    assert budgets.tolist() == [100, 101]
    np.testing.assert_allclose(market.value[:2], [0.1, 0.2])
    pl.DataFrame([*rows, {**rows[0], "deliveryPeriodIndex": 8}]).write_csv(path)
    with pytest.raises(ValueError, match="holds 2 periods"):
        auctionnet.read(path)


def test_criteos_sums_fit_a_world(tmp_path: Path) -> None:
    path = tmp_path / "criteo.tsv"
    lines = [f"{3600 * hour + 5}\t{hour % 2}\t{hour % 3 == 0:d}\t1\t0.5\t2.0" for hour in range(48)]
    path.write_text("\n".join(["timestamp\tcampaign\tconversion\tclick\tcost\tcpo", *lines]) + "\n")
    sums = criteo.read(path)
    assert sums.fidelity is Fidelity.AGGREGATE and sums.impressions.tolist() == [1.0] * 48
    assert sums.cost.sum() == 24.0 and sums.conversions.sum() == 16.0
    assert World(traffic=sums.traffic(), auctions=240).day(1).hours == 24
    assert criteo.read(path, campaign=1).impressions.sum() == 24
    with pytest.raises(ValueError, match="there is no campaign 9"):
        criteo.read(path, campaign=9)


def test_avitos_shares(tmp_path: Path) -> None:
    path = tmp_path / "avito.csv"
    rows = [
        f"{region},{day},{hour},{0.01 * (hour + region)}"
        for region in (1, 2)
        for day in (1, 2)
        for hour in range(24)
    ]
    path.write_text("\n".join(["region_id,dow,hour,traffic_share", *rows]) + "\n")
    shares = avito.read(path)
    assert shares.shape == (2, 2, 24)
    np.testing.assert_allclose(shares.sum(axis=2), 1.0)
    path.write_text("\n".join(["region_id,dow,hour,traffic_share", *rows[:-1]]) + "\n")
    with pytest.raises(ValueError, match="every region must have every day"):
        avito.read(path)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    from auctionlab.market.market import Market

    with pytest.raises(ValueError, match="1 auctions have no candidate"):
        table.write(Market.of(offsets=[0, 0, 1], ad=[0], click=[0.5]), tmp_path / "day.parquet")
    with pytest.raises(OSError, match=r".+"):
        table.write(DAY, tmp_path / "no" / "day.parquet")
