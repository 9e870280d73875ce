from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from auctionlab.auction.mechanism import Rules
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.environments.observation import NAMES, SIZE, blurred
from auctionlab.environments.vector import HourlyBiddingVector, register
from auctionlab.market.market import Market
from auctionlab.market.world import World

WORLD = World(auctions=1_200)
DAYS = [WORLD.day(seed) for seed in (1, 2)]
RULES = Rules(positions=(1.0, 0.7, 0.5))


def make(**changes: object) -> HourlyBidding:
    return HourlyBidding(DAYS, budget=40.0, rules=RULES, **changes)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*The environment.*:UserWarning")
def test_gymnasiums_own_checker_accepts_it() -> None:
    register()
    check_env(
        gymnasium.make("auctionlab/HourlyBidding-v0", days=DAYS, budget=40.0).unwrapped,
        skip_render_check=True,
    )


def test_rewards_sum_to_the_outcome() -> None:
    environment = make(price_of_money=0.0)
    environment.reset(seed=1, options={"day": 0})
    total, cost, over = 0.0, 0.0, False
    while not over:
        _, reward, over, truncated, info = environment.step(20)
        total, cost = total + reward, cost + info["cost"]
        assert not truncated
    got = environment._day.outcome.of(0)
    assert total * environment.usual.gmv == pytest.approx(got["gmv"])
    assert cost == pytest.approx(got["cost"])


def test_shaping_takes_the_price_of_the_budget() -> None:
    plain, shaped = make(price_of_money=0.0), make(price_of_money=0.7)
    sums = []
    for environment in (plain, shaped):
        environment.reset(options={"day": 0})
        total, over = 0.0, False
        while not over:
            _, reward, over, *_ = environment.step(15)
            total += reward
        sums.append(total * environment.usual.gmv)
    assert sums[1] == pytest.approx(sums[0] - 0.7 * 40.0)


def test_an_empty_purse_ends_the_day() -> None:
    environment = HourlyBidding(DAYS, budget=300.0, rules=RULES, grid=[1.0, 5.0])
    environment.reset(options={"day": 0})
    steps, over = 0, False
    while not over:
        _, _, over, _, _ = environment.step(1)
        steps += 1
    assert steps < 24


def test_the_same_seed_is_the_same_days() -> None:
    first, second = make(), make()
    first.reset(seed=5)
    second.reset(seed=5)
    assert [first.reset()[1] for _ in range(10)] == [second.reset()[1] for _ in range(10)]


def test_the_observation_is_what_its_names_say() -> None:
    environment = make()
    observation, _ = environment.reset(options={"day": 0})
    assert observation.shape == (SIZE,) == (len(NAMES),) == (15,)
    assert observation[:5].tolist() == [1, 0, 0, 1, 0]
    observation, _, _, _, info = environment.step(30)
    assert observation[0] == pytest.approx(1 - info["cost"] / 40.0)
    assert observation[1] == pytest.approx(1 / 24)
    assert observation[7] == pytest.approx(info["cost"] / (40.0 / 24), rel=1e-5)
    assert observation[13] == pytest.approx(30 / 40)
    assert observation[14] == pytest.approx(observation[0] - 23 / 24, abs=1e-6)


def test_blur_touches_results_only() -> None:
    seen = np.arange(30.0).reshape(2, 15)
    off = blurred(seen, 0.1, np.random.default_rng(0))
    untouched = [0, 1, 2, 3, 4, 13, 14]
    assert np.array_equal(off[:, untouched], seen[:, untouched])
    assert (off[:, 5:13] != seen[:, 5:13]).all() and 0.02 < np.std(off[:, 5:13] / seen[:, 5:13]) < 0.2
    assert blurred(seen, 0.0, np.random.default_rng(0)) is seen


@pytest.mark.parametrize("action", [-1, 41, 1.5, np.nan, "a", [0, 1], None])
def test_actions_out_of_range_are_refused(action: object) -> None:
    environment = make()
    environment.reset()
    with pytest.raises(ValueError, match="the action must be an index from 0 to 40"):
        environment.step(action)


def test_steps_after_the_end_and_days_that_are_not() -> None:
    environment = make()
    with pytest.raises(RuntimeError, match=r"reset\(\) begins the next"):
        environment.step(0)
    with pytest.raises(ValueError, match="there is no day 2"):
        environment.reset(options={"day": 2})
    with pytest.raises(ValueError, match="at least one day"):
        HourlyBidding([])
    with pytest.raises(ValueError, match="there are 2 days but 3 budgets"):
        HourlyBidding(DAYS, budget=[1.0, 1.0, 1.0])
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a day's budget must be above 0"):
            HourlyBidding(DAYS, budget=wrong)


def test_a_day_without_the_ad_or_without_auctions() -> None:
    empty = Market.of(offsets=[0], ad=np.zeros(0, int), click=[], ads=1, hours=3)
    environment = HourlyBidding([empty], budget=1.0)
    environment.reset()
    for hour in range(3):
        observation, reward, over, _, _ = environment.step(0)
        assert np.isfinite(observation).all() and reward == 0.0
        assert over == (hour == 2)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_the_vector_is_its_environments(mode: AutoresetMode) -> None:
    vector = HourlyBiddingVector([make(), make(), make()], autoreset=mode, threads=2)
    alone = make()
    seen, _ = vector.reset(seed=3)
    first, _ = alone.reset(seed=4)
    assert np.array_equal(seen[1], first)
    over = False
    while not over:
        expected, reward, over, _, _ = alone.step(22)
        observations, rewards, terminated, truncated, infos = vector.step(np.array([10, 22, 30]))
        assert rewards[1] == reward and terminated[1] == over and not truncated.any()
        if not over:
            assert np.array_equal(observations[1], expected)
    if mode is AutoresetMode.SAME_STEP:
        assert np.array_equal(infos["final_obs"][1], expected)
        assert observations[1][1] == 0.0
    else:
        assert np.array_equal(observations[1], expected)
        observations, rewards, terminated, _, _ = vector.step(np.array([10, 40, 30]))
        assert observations[1][1] == 0.0 and rewards[1] == 0.0 and not terminated[1]
    vector.close()


def test_vectors_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one environment"):
        HourlyBiddingVector([])
    with pytest.raises(ValueError, match="as many actions"):
        HourlyBiddingVector([make(), make(grid=[1.0, 2.0])])
    with pytest.raises(ValueError, match="begin by themselves"):
        HourlyBiddingVector([make()], autoreset=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="at least one thread"):
        HourlyBiddingVector([make()], threads=0)
    with pytest.raises(ValueError, match="1 environments but 2 actions"):
        HourlyBiddingVector([make()]).step(np.array([1, 2]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_stable_baselines_learns_on_it() -> None:
    dqn = pytest.importorskip("stable_baselines3").DQN
    environment = make()
    model = dqn("MlpPolicy", environment, learning_starts=100, seed=0, device="cpu")
    model.learn(500)
    action, _ = model.predict(environment.reset(seed=0)[0], deterministic=True)
    assert 0 <= int(action) < 41
