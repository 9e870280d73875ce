from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="learning needs the extra rl")

from auctionlab.agents.dqn import DQN, Options  # noqa: E402
from auctionlab.agents.memory import Memory  # noqa: E402
from auctionlab.agents.network import Networks  # noqa: E402


def learner(**changes: Any) -> DQN:
    return DQN(
        2, 3, 4, Options(**{"layers": (8,), "batch": 16, "memory": 50, "warmup": 0, **changes}), updates=100
    )


def fill(dqn: DQN, steps: int = 60) -> None:
    chance = np.random.default_rng(1)
    for step in range(steps):
        dqn.memory.add(
            chance.random((2, 3)), chance.integers(4, size=2), chance.random(2), chance.random((2, 3)),
            np.full(2, step % 5 == 4), np.array([True, step % 7 != 0]),
        )  # fmt: skip


def test_networks_share_nothing() -> None:
    networks = Networks(3, (5, 8, 4), generator=torch.Generator().manual_seed(0))
    seen = torch.randn(3, 7, 5)
    whole = networks(seen)
    assert whole.shape == (3, 7, 4)
    for ad in range(3):
        hidden = torch.relu(seen[ad] @ networks.weights[0][ad] + networks.biases[0][ad])
        torch.testing.assert_close(whole[ad], hidden @ networks.weights[1][ad] + networks.biases[1][ad])
    gradient = torch.autograd.grad(whole[1].sum(), networks.weights[0])[0]
    assert gradient[1].abs().sum() > 0 and gradient[[0, 2]].abs().sum() == 0


def test_the_memory_is_a_ring() -> None:
    memory = Memory(3, 1, 1)
    for step in range(5):
        flag = np.array([False])
        memory.add(np.array([[step]]), np.array([step]), np.array([step]), np.array([[step]]), flag, ~flag)
    assert memory.size == 3 and sorted(memory.actions[:, 0].tolist()) == [2, 3, 4]
    drawn = memory.draw(200, np.random.default_rng(0))
    assert set(drawn.actions[0].tolist()) == {2, 3, 4}
    with pytest.raises(ValueError, match="the memory is empty"):
        Memory(3, 1, 1).draw(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one step"):
        Memory(0, 1, 1)


@pytest.mark.parametrize("double", [True, False])
def test_an_update_is_its_equation(double: bool) -> None:
    """One update against the loss written out, for each ad and transition."""
    dqn = learner(double=double, learning_rate=0.01, final_rate=1.0)
    fill(dqn)
    with torch.no_grad():
        for weight in dqn.target.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    before, target = copy.deepcopy(dqn.learned), copy.deepcopy(dqn.target)
    batch = copy.deepcopy(dqn.memory).draw(16, copy.deepcopy(dqn.chance))
    total = torch.zeros(())
    for ad in range(2):
        losses, counted = torch.zeros(()), 0
        for place in range(16):
            if not batch.counts[ad, place]:
                continue
            now = before(torch.from_numpy(batch.observations))[ad, place]
            with torch.no_grad():
                after = target(torch.from_numpy(batch.following))[ad, place]
                chooser = before(torch.from_numpy(batch.following))[ad, place] if double else after
                later = 0.0 if batch.ended[ad, place] else float(after[chooser.argmax()])
            error = now[int(batch.actions[ad, place])] - (float(batch.rewards[ad, place]) + later)
            losses = losses + (0.5 * error**2 if abs(float(error.detach())) < 1 else abs(error) - 0.5)
            counted += 1
        total = total + losses / counted
    expected = torch.autograd.grad(total, list(before.parameters()))
    loss = dqn.learn()
    assert loss == pytest.approx(float(total.detach()) / 2, rel=1e-5)
    for gradient, weight in zip(expected, dqn.learned.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_three_networks_keep_their_times() -> None:
    dqn = learner(target_every=3, average=0.5)
    fill(dqn)

    def equal(first: Networks, second: Networks) -> bool:
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    dqn.learn()
    mean = copy.deepcopy(dqn.mean)
    assert not equal(dqn.learned, dqn.acting) and not equal(dqn.learned, dqn.target)
    dqn.learn()
    for old, new, learned in zip(
        mean.parameters(), dqn.mean.parameters(), dqn.learned.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.5 * old + 0.5 * learned)
    dqn.learn()
    assert equal(dqn.learned, dqn.target) and not equal(dqn.learned, dqn.acting)
    dqn.end_episode()
    assert equal(dqn.learned, dqn.acting)


def test_exploration_falls_and_stays_near_the_best() -> None:
    dqn = DQN(1, 3, 41, Options(episodes=10, exploration=0.5, least_random=0.1, spread=0.05), updates=1)
    shares = []
    for _ in range(10):
        shares.append(dqn.random_share)
        dqn.end_episode()
    np.testing.assert_allclose(shares, [1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    dqn.episode = 0
    seen = np.ones((1, 3))
    best = int(np.argmax(dqn.values(seen)))
    tried = np.array([dqn.explore(seen)[0] for _ in range(300)])
    assert np.abs(tried - best).max() <= 12 and np.unique(tried).size > 3
    even = DQN(1, 3, 41, Options(spread=None), updates=1)
    assert np.unique([even.explore(seen)[0] for _ in range(600)]).size > 38


def test_a_checkpoint_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    dqn = learner(target_every=7)
    fill(dqn, 70)
    for _ in range(20):
        dqn.learn()
    dqn.save(tmp_path / "state")
    again = DQN.load(tmp_path / "state")
    for other in (dqn, again):
        fill(other, 5)
    losses = [[other.learn() for _ in range(15)] for other in (dqn, again)]
    assert losses[0] == losses[1]
    for name in ("learned", "acting", "target", "mean"):
        pairs = zip(getattr(dqn, name).parameters(), getattr(again, name).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_checkpoints_that_are_not(tmp_path: Path) -> None:
    dqn = learner()
    fill(dqn)
    path = tmp_path / "state"
    dqn.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="it is cut short"):
        DQN.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not written by auctionlab"):
        DQN.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        DQN.load(tmp_path / "none")


def test_a_failed_write_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dqn = learner()
    fill(dqn)
    dqn.save(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("auctionlab.agents.dqn.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        dqn.save(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_corridor_with_a_known_optimum_is_learned() -> None:
    """Five places: right costs 0.1 and pays 1 at the end, left pays 0.05 and ends. The best is 0.6."""
    options = Options(
        layers=(32,),
        episodes=600,
        batch=32,
        memory=2_000,
        warmup=50,
        learning_rate=3e-3,
        spread=None,
        target_every=50,
    )
    dqn = DQN(1, 5, 2, options, updates=2500)
    for _ in range(options.episodes):
        place, over = 0, False
        while not over:
            seen = np.eye(5)[[place]]
            action = dqn.explore(seen)
            forward = bool(action[0])
            reward = (1.0 if place == 4 else -0.1) if forward else 0.05
            over = not forward or place == 4
            following = np.eye(5)[[min(place + 1, 4)]]
            dqn.memory.add(seen, action, np.array([reward]), following, np.array([over]), np.array([True]))
            place += 1
            if dqn.memory.size > options.warmup:
                dqn.learn()
        dqn.end_episode()
    assert [int(dqn.best(np.eye(5)[[place]])[0]) for place in range(5)] == [1] * 5
    assert float(dqn.values(np.eye(5)[[0]], dqn.mean).max()) == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [{"episodes": 0}, {"batch": 0}, {"layers": ()}, {"layers": (0,)}, {"discount": 1.5},
     {"learning_rate": 0.0}, {"seed": -1}, {"exploration": float("nan")}, {"blur": -1.0}],
)  # fmt: skip
def test_options_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Options(**changes)


def test_the_papers_settings() -> None:
    paper = Options.paper(episodes=7)
    assert (paper.layers, paper.batch, paper.memory) == ((300, 200, 100), 300, 1_000_000)
    assert (paper.learning_rate, paper.target_every, paper.episodes) == (1e-4, 10_000, 7)
    assert not paper.double and paper.spread is None and paper.average == paper.blur == 0.0


def test_networks_that_cannot_be() -> None:
    for ads, sizes in itertools.product((0, 1), ((5,), (5, 0))):
        with pytest.raises(ValueError, match="networks need"):
            Networks(ads, sizes)
