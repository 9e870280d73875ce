from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auctionlab.evolution.multipliers import penalty, updated, updated_ppc
from auctionlab.evolution.strategy import Search, State, centered_ranks, noise, step


def test_everyone_finds_the_bottom_of_its_own_bowl() -> None:
    goals = np.array([[1.0, -2.0], [0.5, 0.3], [-1.0, 2.0]])
    search = Search(profiles=32, iterations=300, spread=0.1, rate=0.05)
    state = State.start(np.zeros((3, 2)))
    while state.iteration < search.iterations:
        drawn = noise(search, state.iteration, state.theta.shape)
        tried = state.theta + search.spread * drawn
        state = step(search, state, drawn, -((tried - goals) ** 2).sum(axis=2))
    assert np.abs(state.theta - goals).max() < 0.05


@given(arrays(np.float64, (9, 2), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
def test_ranks_lie_around_zero_and_follow_the_order(fitness: np.ndarray) -> None:
    ranks = centered_ranks(fitness)
    assert np.abs(ranks.sum(axis=0)).max() < 1e-12 and np.abs(ranks).max() <= 0.5
    for column in range(2):
        order = np.sign(np.subtract.outer(fitness[:, column], fitness[:, column]))
        assert (np.sign(np.round(np.subtract.outer(ranks[:, column], ranks[:, column]), 12)) == order).all()


def test_ranks_of_four() -> None:
    np.testing.assert_allclose(
        centered_ranks(np.array([[10.0], [-3.0], [7.0], [7.0]]))[:, 0], [0.5, -0.5, 0, 0]
    )


def test_noise_comes_in_pairs_and_anew_at_every_step() -> None:
    search = Search(profiles=6, seed=3)
    drawn = noise(search, 4, (2, 1, 3))
    np.testing.assert_array_equal(drawn[:3], -drawn[3:])
    np.testing.assert_array_equal(drawn, noise(search, 4, (2, 1, 3)))
    assert not np.array_equal(drawn, noise(search, 5, (2, 1, 3)))


def test_common_noise_has_its_share_of_the_variance() -> None:
    drawn = noise(Search(profiles=4_000), 0, (2, 1, 1), common=0.3)[:2_000, :, 0, 0]
    assert np.var(drawn) == pytest.approx(1.0, abs=0.06)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(0.3, abs=0.06)


def test_the_first_step_is_adams() -> None:
    search = Search(profiles=2, spread=0.5, rate=0.2, iterations=10)
    drawn = np.array([[[1.0, -2.0]], [[-1.0, 2.0]]])
    after = step(search, State.start(np.zeros((1, 2))), drawn, np.array([[3.0], [1.0]]))
    # Ranks 1/2 and -1/2, so the slope is the noise's half over the spread; Adam's first step is its sign.
    np.testing.assert_allclose(after.mean, 0.1 * np.array([[1.0, -2.0]]))
    np.testing.assert_allclose(after.square, 0.01 * np.array([[1.0, 4.0]]))
    np.testing.assert_allclose(after.theta, 0.2 * np.array([[1.0, -1.0]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profiles": 3}, "profiles must be even"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"spread": 0.0}, "spread and rate must be above 0"),
        ({"rate": -1.0}, "spread and rate must be above 0"),
        ({"rate": 1e300}, "and at most 10"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Search(**changes)  # type: ignore[arg-type]


@given(st.floats(0, 5), st.floats(-2, 2))
def test_the_penalty_is_the_augmented_lagrangians(multiplier: float, violation: float) -> None:
    """Against its other definition: the greatest over m >= 0 of m x - (m - m0)^2 / 2c."""
    tried = np.linspace(0, 25, 250_001)
    best = float((tried * violation - (tried - multiplier) ** 2 / (2 * 8.0)).max())
    assert float(penalty(multiplier, violation)) == pytest.approx(best, abs=1e-6)


def test_multipliers_follow_violations_and_stay_above_zero() -> None:
    assert float(updated(1.0, 0.5)) == pytest.approx(1.0 + 0.1 * 8.0 * 0.5)
    assert float(updated(0.1, -0.5)) == 0.0


def test_limits_on_prices_follow_slowly_and_do_not_wind_up() -> None:
    found = updated_ppc(np.array([1.0, 1.0, 1.0]), np.array([0.1, 5.0, -0.5]))
    np.testing.assert_allclose(found, [1 + 0.24 * 0.1, 1 + 0.24 * 0.2, 1 - 0.24 * 0.5])


def test_the_rate_falls_to_a_tenth() -> None:
    search = Search(profiles=2, rate=0.2, iterations=10)
    drawn = np.array([[[1.0]], [[-1.0]]])
    for done in (0, 5, 9):
        begun = State(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), done)
        after = step(search, begun, drawn, np.array([[1.0], [0.0]]))
        # With empty moments Adam's corrected step depends on the count alone.
        count = done + 1
        slope = 0.5 / search.spread
        ahead = (0.1 * slope / (1 - 0.9**count)) / (np.sqrt(0.01 * slope**2 / (1 - 0.99**count)) + 1e-8)
        assert float(after.theta[0, 0]) == pytest.approx(0.2 * (1 - 0.09 * done) * ahead)
