"""MACG's claims in miniature, and what a search must keep to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.small_games import RULES, small_game

from auctionlab.auction.mechanism import Rules
from auctionlab.evolution import games
from auctionlab.evolution.equilibrium import bids, deviations
from auctionlab.evolution.feasibility import InfeasibleError, most_revenue, refuse_conflict
from auctionlab.evolution.games import train
from auctionlab.evolution.objectives import Advertiser, Objective, ppc_excess, profit
from auctionlab.evolution.rollouts import Profiles, Table, Threads
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import Game, Shares, Trained, shares, truthful
from auctionlab.market.market import Market

QUICK = Search(iterations=40, profiles=16)


def told_of(trained: Trained, market: Market, advertisers: Sequence[Advertiser]) -> Shares:
    """Results of a day relative to truthful bidding's."""
    usual = truthful(market, advertisers, trained.game.rules)
    return shares(trained.play(market, advertisers), usual, advertisers)


def test_cooperation_alone_collapses_revenue_and_a_floor_holds_it() -> None:
    days, test, advertisers = small_game()
    free = train(days, advertisers, Game(1.0, rules=RULES))
    collapsed = told_of(free, test, advertisers)
    assert collapsed.revenue < 0.05 and collapsed.surplus > 1.5
    for floor in (0.6, 0.85):
        held = train(days, advertisers, Game(1.0, floor, rules=RULES))
        assert held.feasible
        # On the days it was trained on the floor holds with equality.
        trained = [
            shares(held.play(day, advertisers), truthful(day, advertisers, RULES), advertisers)
            for day in days
        ]
        assert np.mean([told.revenue for told in trained]) == pytest.approx(floor, rel=2e-3)
        told = told_of(held, test, advertisers)
        assert told.revenue == pytest.approx(floor, rel=0.04) and 1 < told.surplus < collapsed.surplus


def test_the_selfish_keep_revenue_up_and_cannot_gain_by_scaling() -> None:
    days, test, advertisers = small_game(1)
    selfish = train(days, advertisers, Game(rules=RULES))
    assert (
        shares(selfish.play(test, advertisers), truthful(test, advertisers, RULES), advertisers).revenue > 0.6
    )
    alone = deviations(selfish, days[0], test, advertisers)
    together = deviations(train(days, advertisers, Game(1.0, rules=RULES)), days[0], test, advertisers)
    assert alone.scaling.mean() < 0.1
    # Those who cooperate could all gain by betraying the others.
    assert together.best.min() > 0.2 and together.best.mean() > 5 * alone.best.mean()
    assert (alone.scaling >= 0).all() and (alone.plan >= 0).all()


def test_manual_advertisers_are_left_alone_and_gain_from_a_common_goal() -> None:
    days, test, advertisers = small_game(2, manual=2)
    selfish = train(days, advertisers, Game(0.0, rules=RULES))
    common = train(days, advertisers, Game(1.0, 0.8, rules=RULES))
    market = test
    row = market.ad < 2
    for trained in (selfish, common):
        np.testing.assert_allclose(bids(trained, market)[row], (market.predicted * market.price)[row])
    assert told_of(common, test, advertisers).manual > told_of(selfish, test, advertisers).manual


def test_a_plain_multiplier_cannot_hold_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented failure: fitness linear in revenue is bang-bang, so the floor is missed by far.

    profit + m revenue = value - (1 - m) revenue, and value hardly moves when all bids scale together.
    """
    days, _, advertisers = small_game()
    floor = 0.8

    def spread(game: Game) -> float:
        history = train(days, advertisers, game).history
        late = [told.revenue for told in history[len(history) // 2 :]]
        return float(np.mean(np.abs(np.array(late) - floor)))

    game = Game(1.0, floor, rules=RULES)
    augmented = spread(game)
    monkeypatch.setattr(games, "penalty", lambda multiplier, violation: np.asarray(multiplier * violation))
    plain = spread(game)
    assert augmented < 0.05 and plain > 3 * augmented


def test_limits_on_the_price_of_a_click_are_kept() -> None:
    days, test, advertisers = small_game(3, ads=4)
    usual = truthful(days[0], [Advertiser()] * 4, RULES)
    limit = 0.8 * float(usual[0, 3] / usual[0, 2])
    limited = [Advertiser(Objective.CLICKS, ppc_limit=limit), *advertisers[1:]]
    held = train(days, limited, Game(0.0, rules=RULES))
    free = train(days, [Advertiser(Objective.CLICKS), *advertisers[1:]], Game(0.0, rules=RULES))
    assert held.feasible and held.ppc_multipliers[0] > 0.5
    assert abs(ppc_excess(held.play(test, limited), limited)[0]) < 0.05
    assert ppc_excess(free.play(test, limited), limited)[0] > 0.2


def test_fitness_is_the_formula() -> None:
    days, _, advertisers = small_game(4, ads=3)
    advertisers[1] = replace(advertisers[1], objective=Objective.CLICKS, ppc_limit=1.0)
    base = truthful(days[0], advertisers, RULES)
    sums = np.stack([0.5 * base, 1.2 * base])
    game = Game(0.3, 0.9, rules=RULES)
    found = games.fitness(sums, base, advertisers, game, 0.7, np.array([0.0, 0.4, 0.0]))
    for profile, scale in enumerate((0.5, 1.2)):
        for ad in range(3):
            # What is wanted, profit, and revenue all scale alike here; the price of a click does not.
            own = np.sign(profit(base)[ad]) * scale if ad != 1 else scale
            expected = 0.7 * own + 0.3 * scale
            pushed = max(0.0, 0.7 + 8 * (0.9 - scale))
            expected -= (pushed**2 - 0.7**2) / 16
            if ad == 1:
                excess = base[1, 3] / base[1, 2] / 1.0 - 1.0
                expected -= (max(0.0, 0.4 + 8 * excess) ** 2 - 0.4**2) / 16
            assert found[profile, ad] == pytest.approx(expected)


@pytest.mark.parametrize("floor", [1.3, 5.0])
def test_a_floor_above_all_budgets_is_refused_before_the_search(floor: float) -> None:
    days, _, advertisers = small_game()
    told: list[object] = []
    with pytest.raises(InfeasibleError, match=r"budgets and limits can pay .* the highest floor is"):
        train(days, advertisers, Game(1.0, floor, rules=RULES), progress=told.append)
    assert not told


def test_a_limit_below_the_reserve_is_refused() -> None:
    days, _, advertisers = small_game()
    limited = [Advertiser(ppc_limit=0.2), *advertisers[1:]]
    with pytest.raises(InfeasibleError, match=r"ad 0 may pay 0.2 for a click, but the reserve is 0.5"):
        train(days, limited, Game(rules=Rules(positions=(1.0,), reserve=0.5)))


def test_limits_that_cannot_pay_a_floor_are_refused_before_the_search() -> None:
    days, _, _ = small_game()
    usual = truthful(days[0], [Advertiser()] * 6, RULES)
    prices = usual[:, 3] / usual[:, 2]
    limited = [Advertiser(Objective.CLICKS, ppc_limit=0.3 * float(price)) for price in prices]
    with pytest.raises(InfeasibleError, match=r"the highest floor is 0\.[34]"):
        train(days, limited, Game(1.0, 0.95, rules=RULES))
    most = most_revenue(days[0], limited, RULES)
    assert float(usual[:, 3].sum()) * 0.25 < most < float(usual[:, 3].sum()) * 0.5


@pytest.mark.parametrize("positions", [(1.0,), (1.0, 0.6, 0.3)])
def test_what_auctions_can_pay_is_the_best_clicks_at_their_limits(positions: tuple[float, ...]) -> None:
    days, _, _ = small_game(auctions=40)
    market = days[0]
    limits = np.random.default_rng(0).uniform(0.5, 2.0, market.ads)
    limited = [Advertiser(ppc_limit=float(limit)) for limit in limits]
    most = 0.0
    for auction in range(market.auctions):
        rows = slice(market.offsets[auction], market.offsets[auction + 1])
        worth = sorted(market.click[rows] * limits[market.ad[rows]], reverse=True)
        most += sum(effect * value for effect, value in zip(positions, worth, strict=False))
    by_ad = float((np.bincount(market.ad, market.click) * limits).sum())
    assert most_revenue(market, limited, Rules(positions=positions)) == pytest.approx(min(most, by_ad))
    assert most < by_ad


def test_a_floor_in_conflict_with_limits_is_found_within_20_steps() -> None:
    days, _, _ = small_game(5)
    usual = truthful(days[0], [Advertiser()] * 6, RULES)
    prices = usual[:, 3] / usual[:, 2]
    # A single ad may pay without end, so arithmetic shows nothing; the others may pay a tenth.
    limited = [
        Advertiser(budget=np.inf if ad == 0 else 50.0, ppc_limit=np.inf if ad == 0 else 0.1 * float(price))
        for ad, price in enumerate(prices)
    ]
    told: list[object] = []
    with pytest.raises(InfeasibleError, match="after 20 steps revenue stands at"):
        train(days, limited, Game(1.0, 1.5, rules=RULES), progress=told.append)
    assert len(told) == 20


def test_a_floor_that_comes_nearer_is_no_conflict() -> None:
    rising, stuck = np.linspace(0.2, 0.7, 20).tolist(), [0.5] * 20
    pushed = np.linspace(0.1, 2, 20).tolist()
    refuse_conflict(0.9, rising, pushed)
    refuse_conflict(None, stuck, pushed)
    refuse_conflict(0.9, stuck, [0.0] * 20)
    with pytest.raises(InfeasibleError, match=r"stands at 0.500"):
        refuse_conflict(0.9, stuck, pushed)


def test_threads_change_nothing() -> None:
    days, _, advertisers = small_game()
    game = Game(0.5, 0.9, rules=RULES, search=replace(QUICK, iterations=6))
    found = [train(days, advertisers, game, threads=threads) for threads in (1, 2, 4)]
    assert found[0].theta.tobytes() == found[1].theta.tobytes() == found[2].theta.tobytes()
    assert found[0].history == found[1].history == found[2].history


def test_a_search_goes_on_to_the_same_last_bit(tmp_path: Path) -> None:
    days, _, advertisers = small_game(auctions=300)
    game = Game(0.5, 0.9, rules=RULES, search=Search(iterations=13, profiles=8))
    whole = train(days, advertisers, game)
    for stop in range(1, 13):
        path = tmp_path / f"{stop}.npz"

        def interrupt(step: games.Step, stop: int = stop) -> None:
            if step.iteration == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(days, advertisers, game, checkpoint=path, progress=interrupt)
        found = train(days, advertisers, game, checkpoint=path, resume=True)
        assert found.theta.tobytes() == whole.theta.tobytes() and found.history == whole.history


KILLED = """
import sys
from auctionlab.evolution.games import train
from auctionlab.evolution.trained import Game
from auctionlab.evolution.strategy import Search
from auctionlab.market.market import Market
from tests.small_games import RULES, small_game
days, _, advertisers = small_game(auctions=1500)
game = Game(0.5, 0.9, rules=RULES, search=Search(iterations=60, profiles=16))
found = train(days, advertisers, game, checkpoint=sys.argv[1], checkpoint_every=1, resume=sys.argv[2] == "1",
              progress=lambda step: print(step.iteration, flush=True))
print(found.theta.tobytes().hex())
"""


def test_kill_9_changes_nothing(tmp_path: Path) -> None:
    def start(path: Path, resume: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(path), "1" if resume else "0"]
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
        )

    whole = start(tmp_path / "whole.npz", False).communicate()[0].splitlines()[-1]
    path = tmp_path / "killed.npz"
    for kill in range(3):
        process = start(path, path.exists())
        assert process.stdout is not None
        for _ in range(6 + kill):
            process.stdout.readline()
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert start(path, True).communicate()[0].splitlines()[-1] == whole


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    days, test, advertisers = small_game(auctions=200)
    game, path = Game(rules=RULES, search=replace(QUICK, iterations=2)), tmp_path / "state.npz"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        train(days, advertisers, game, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="name the checkpoint"):
        train(days, advertisers, game, resume=True)
    train(days, advertisers, game, checkpoint=path)
    for other in (
        {"days": [test, days[1]]},
        {"advertisers": [Advertiser(), *advertisers[1:]]},
        {"game": replace(game, cooperation=0.5)},
    ):
        with pytest.raises(ValueError, match="is of another game"):
            train(
                **{"days": days, "advertisers": advertisers, "game": game, **other},
                checkpoint=path,
                resume=True,
            )  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        train(days, advertisers, game, checkpoint=path, resume=True)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    days, test, advertisers = small_game(auctions=200, manual=1)
    game = Game(0.5, 0.5, rules=Rules(positions=(1.0, 0.5)), search=replace(QUICK, iterations=3), parts=2)
    trained = train(days, advertisers, game)
    trained.save(tmp_path / "game.json", advertisers)
    again, who = Trained.read(tmp_path / "game.json")
    assert who == advertisers
    assert again.game == trained.game and again.history == trained.history
    assert again.play(test, advertisers).tobytes() == trained.play(test, advertisers).tobytes()
    for text in ("{}", "[1]", '{"auctionlab": "game"}', "nonsense", ""):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="is not a game that"):
            Trained.read(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Trained.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"days": []}, "at least one day"),
        ({"threads": 0}, "at least one thread"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
    ],
)
def test_misuse_is_named(changes: dict[str, object], message: str) -> None:
    days, _, advertisers = small_game(auctions=50)
    given: dict[str, object] = {"days": days, "advertisers": advertisers, **changes}
    with pytest.raises(ValueError, match=message):
        train(**given)  # type: ignore[arg-type]


def test_games_out_of_range_are_refused() -> None:
    for changes in ({"cooperation": 1.5}, {"floor": 0.0}, {"floor": -1.0}):
        with pytest.raises(ValueError, match="must"):
            Game(**changes)  # type: ignore[arg-type]


def test_a_profile_is_the_same_wherever_it_is_played() -> None:
    days, _, advertisers = small_game(auctions=300)
    trained = train(days, advertisers, Game(rules=RULES, search=replace(QUICK, iterations=1)))
    table = Table(tuple(days), trained.policies, np.array([who.budget for who in advertisers]), RULES)
    profiles = Profiles(QUICK, trained.theta, 7, 0.0)
    whole = Threads(table)(1, profiles)
    pieces = [table.play(1, profiles, which) for which in (range(5), range(5, 17))]
    assert whole.tobytes() == np.concatenate(pieces).tobytes() and len(whole) == QUICK.profiles + 1
