from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="learning needs the extra rl")

from auctionlab.agents import auction_level, massive, robust  # noqa: E402
from auctionlab.agents.dqn import Options  # noqa: E402
from auctionlab.auction.mechanism import Rules  # noqa: E402
from auctionlab.bids.signals import Signal  # noqa: E402
from auctionlab.environments.contest import Contest, Contestants  # noqa: E402
from auctionlab.environments.hourly import HourlyBidding  # noqa: E402
from auctionlab.market.world import World  # noqa: E402
from auctionlab.optimum.landscape import landscape  # noqa: E402
from auctionlab.optimum.plan import plan  # noqa: E402
from auctionlab.pacing.constant import Constant  # noqa: E402
from auctionlab.pacing.day import BiddingDay  # noqa: E402

DAY = World(auctions=1_200).day(1)
RULES = Rules(positions=(1.0, 0.7, 0.5))
QUICK = Options(layers=(16,), episodes=8, batch=16, memory=500, warmup=24, target_every=20)


def environment() -> HourlyBidding:
    return HourlyBidding([DAY], budget=60.0, rules=RULES)


def test_training_stopped_and_resumed_is_training_in_one_go(tmp_path: Path) -> None:
    whole = robust.train(environment(), QUICK, try_every=2)

    class StopError(Exception):
        pass

    def stop(state: robust.Progress) -> None:
        if state.episode == 5:
            raise StopError

    with pytest.raises(StopError):
        robust.train(environment(), QUICK, try_every=2, checkpoint=tmp_path / "state", progress=stop)
    resumed = robust.train(environment(), QUICK, try_every=2, checkpoint=tmp_path / "state", resume=True)
    assert resumed.curve == whole.curve
    for one, other in zip(whole.agent.network.parameters(), resumed.agent.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_from_nothing_or_from_another(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        robust.train(environment(), QUICK, checkpoint=tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match="name the checkpoint"):
        robust.train(environment(), QUICK, resume=True)
    robust.train(environment(), QUICK, checkpoint=tmp_path / "state")
    with pytest.raises(ValueError, match="written with other options"):
        robust.train(environment(), Options(episodes=3), checkpoint=tmp_path / "state", resume=True)
    with pytest.raises(ValueError, match="try_every"):
        robust.train(environment(), QUICK, try_every=0)


def test_a_saved_agent_bids_the_same(tmp_path: Path) -> None:
    agent = robust.train(environment(), QUICK).agent
    agent.save(tmp_path / "agent")
    again = robust.Agent.load(tmp_path / "agent")
    first, second = (BiddingDay(DAY, 0, rules=RULES).follow(policy, 60.0) for policy in (agent, again))
    assert np.array_equal(first.cost, second.cost)
    with pytest.raises(ValueError, match="holds 'agent-1', not 'agents-1'"):
        massive.Agents.load(tmp_path / "agent")


def test_an_agents_day_is_the_environments_greedy_day() -> None:
    trained = robust.train(environment(), QUICK, try_every=4)
    got = BiddingDay(DAY, 0, rules=RULES).follow(trained.agent, 60.0).of(0)["gmv"]
    assert got == pytest.approx(max(gain for _, gain in trained.curve), rel=1e-3)


def test_the_auction_level_agent_bids_flat_in_steps() -> None:
    process = auction_level.environment([DAY], budget=60.0, rules=RULES)
    assert process.signal is Signal.FLAT and process.reset()[0].shape == (15,)
    assert process.hours == 12
    with pytest.raises(ValueError, match="at least one auction"):
        auction_level.environment([DAY], step=0)


@pytest.mark.slow
def test_learning_beats_the_constant_multiplier_and_nears_the_plan() -> None:
    torch.set_num_threads(1)
    process = environment()
    options = Options(episodes=250)
    agent = robust.train(process, options).agent
    day = BiddingDay(DAY, 0, rules=RULES)
    learned = day.follow(agent, 60.0).of(0)["gmv"]
    constant = day.follow(Constant(process.grid[20]), 60.0).of(0)["gmv"]
    best = plan(landscape(DAY, 0, process.grid, RULES), 60.0).values[0, -1]
    assert learned > constant
    assert learned > 0.93 * best


def contest(weight: float = 0.0) -> Contest:
    world = World(auctions=1_200, ads=5)
    return Contest([world.day(1)], Contestants((0, 1, 3), (40.0,) * 5, weight), rules=RULES)


def test_many_agents_resume_to_the_last_bit(tmp_path: Path) -> None:
    whole = massive.train(contest(), QUICK)

    class StopError(Exception):
        pass

    def stop(state: massive.Progress) -> None:
        if state.episode == 5:
            raise StopError

    path = tmp_path / "state"
    with pytest.raises(StopError):
        massive.train(contest(), QUICK, checkpoint=path, checkpoint_every=4, progress=stop)
    resumed = massive.train(contest(), QUICK, checkpoint=path, resume=True)
    for one, other in zip(whole.networks.parameters(), resumed.networks.parameters(), strict=True):
        assert torch.equal(one, other)
    resumed.save(tmp_path / "agents")
    again = massive.Agents.load(tmp_path / "agents")
    assert np.array_equal(again.play(contest()).cost, whole.play(contest()).cost)


def test_cooperation_changes_what_is_learned() -> None:
    alone, together = (massive.train(contest(weight), QUICK) for weight in (0.0, 1.0))
    pairs = zip(alone.networks.parameters(), together.networks.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_agents_of_another_contest_are_refused() -> None:
    agents = massive.train(contest(), QUICK)
    other = Contest([World(auctions=100, ads=5).day(1)], Contestants((0,), (1.0,) * 5))
    with pytest.raises(ValueError, match="agents of 3 ads, but the contest has 1"):
        agents.play(other)
