"""RMDP: the agent of one ad that sets a multiplier each hour.

"Robust" is SS-RTB's word for a decision process that hardly changes from day to day, because its states are
sums over an hour. AMDP's agent is the same learner on days divided into steps of 100 auctions
(`auctionlab.agents.auction_level`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from auctionlab.agents.dqn import DQN, Options, read_tensors, write_tensors
from auctionlab.agents.network import Networks
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.environments.observation import SIZE, Usual, blurred, observe
from auctionlab.pacing.policy import Status

Floats = NDArray[np.float64]


class Agent:
    """A learned policy: from what is known when an hour begins to a multiplier."""

    def __init__(self, network: Networks, grid: Floats, usual: Usual) -> None:
        """A network of one ad, the multipliers it chooses from, and the units it sees its results in."""
        self.network, self.grid, self.usual = network, grid, usual
        self._action = 0.0

    def begin(self) -> None:
        """Forget the day before."""
        self._action = 0.0

    def multiplier(self, status: Status) -> float:
        """The multiplier of the best action."""
        seen = observe(status, self.usual, self._action).astype(np.float32)
        with torch.no_grad():
            best = int(self.network(torch.from_numpy(seen)[None, None])[0, 0].argmax())
        self._action = best / (self.grid.size - 1)
        return float(self.grid[best])

    def save(self, path: Path | str) -> None:
        """Write the agent as one safetensors file."""
        facts = {"kind": _KIND, "sizes": self.network.sizes, "usual": asdict(self.usual)}
        tensors = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        tensors["grid"] = torch.from_numpy(np.ascontiguousarray(self.grid))
        write_tensors(Path(path), tensors, {"auctionlab": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path | str) -> Agent:
        """Read an agent. ValueError where the file is another's or cut short."""
        tensors, facts = read_tensors(Path(path), _KIND)
        grid = tensors.pop("grid").numpy()
        network = Networks(1, facts["sizes"])
        network.load_state_dict(tensors)
        return cls(network, grid, Usual(**facts["usual"]))


_KIND = "agent-1"


@dataclass(frozen=True)
class Progress:
    """Where training stands after an episode."""

    episode: int
    """Episodes done."""
    episodes: int
    """Episodes in all."""
    loss: float
    """Mean loss of the episode's updates."""
    gain: float
    """What the episode's day brought, exploration included."""
    greedy: float | None
    """What the first day brings without exploration, where it was tried."""


@dataclass(frozen=True)
class Trained:
    """What training gave."""

    agent: Agent
    """The agent whose greedy gain on the first day was the highest."""
    curve: tuple[tuple[int, float], ...]
    """Episodes done, and the greedy gain then."""


def train(
    environment: HourlyBidding,
    options: Options | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    try_every: int = 20,
    checkpoint: Path | str | None = None,
    resume: bool = False,
) -> Trained:
    """Learn a policy of one ad.

    Of the agents tried on the first training day, the best one is kept (ours): learned values go on moving
    a little while the best actions do not. With a checkpoint, the state is written after each trial, and
    `resume` goes on from it as if nothing had happened.

    Raises:
        ValueError: try_every is below 1; the checkpoint is of another environment or options.
        FileNotFoundError: nothing to resume from.

    """
    options = options or Options()
    if try_every < 1:
        raise ValueError(f"try_every must be at least 1, not {try_every}")
    steps = options.episodes * environment.hours
    best = _Best(environment)
    path = Path(checkpoint) if checkpoint is not None else None
    if resume:
        if path is None:
            raise ValueError("name the checkpoint to resume from")
        learner = DQN.load(path)
        if learner.options != options or learner.actions != environment.grid.size:
            raise ValueError(f"{path} was written with other options; resume with the same ones")
        best.restore(path, learner)
    else:
        learner = DQN(1, SIZE, environment.grid.size, options, updates=max(steps - options.warmup, 1))
    while learner.episode < options.episodes:
        # The day is drawn by the learner's chance, so that a resumed run draws the same ones.
        seed = int(learner.chance.integers(2**31))
        gain, loss = _episode(environment, learner, seed)
        tried = None
        if learner.episode % try_every == 0 or learner.episode == options.episodes:
            tried = best.try_out(learner)
            if path is not None:
                best.save(path)
                learner.save(path)
        if progress:
            progress(Progress(learner.episode, options.episodes, loss, gain, tried))
    return Trained(best.agent(learner), tuple(best.curve))


def _episode(environment: HourlyBidding, learner: DQN, seed: int) -> tuple[float, float]:
    blur, chance = learner.options.blur, learner.chance
    observation, _ = environment.reset(seed=seed)
    observation = blurred(observation, blur, chance)
    gain, losses, over = 0.0, [], False
    while not over:
        action = learner.explore(observation[None])
        following, reward, over, _, info = environment.step(action[0])
        following = blurred(following, blur, chance)
        learner.memory.add(
            observation[None], action, np.array([reward]), following[None], np.array([over]), np.array([True])
        )
        observation = following
        gain += info["gain"]
        if learner.memory.size >= min(learner.options.warmup, learner.memory.capacity):
            losses.append(learner.learn())
    learner.end_episode()
    return gain, float(np.mean(losses)) if losses else float("nan")


class _Best:
    """Remembers the network with the highest greedy gain on the first day."""

    def __init__(self, environment: HourlyBidding) -> None:
        self._environment = environment
        self._gain = -np.inf
        self._weights: dict[str, torch.Tensor] = {}
        self.curve: list[tuple[int, float]] = []

    def try_out(self, learner: DQN) -> float:
        gain = greedy_gain(self._environment, learner)
        self.curve.append((learner.episode, gain))
        if gain > self._gain:
            self._gain = gain
            self._weights = {name: value.clone() for name, value in learner.mean.state_dict().items()}
        return gain

    def agent(self, learner: DQN) -> Agent:
        network = Networks(1, learner.learned.sizes)
        network.load_state_dict(self._weights)
        return Agent(network, self._environment.grid, self._environment.usual)

    def save(self, path: Path) -> None:
        facts = {"kind": "best-1", "gain": self._gain, "curve": self.curve}
        write_tensors(_beside(path), self._weights, {"auctionlab": json.dumps(facts)})

    def restore(self, path: Path, learner: DQN) -> None:
        self._weights, facts = read_tensors(_beside(path), "best-1")
        self._gain = float(facts["gain"])
        self.curve = [(int(episode), float(gain)) for episode, gain in facts["curve"]]
        # A crash between the two files leaves a trial that the learner has yet to make.
        self.curve = [entry for entry in self.curve if entry[0] <= learner.episode]


def _beside(path: Path) -> Path:
    return path.with_name(path.stem + "-best" + path.suffix)


def greedy_gain(environment: HourlyBidding, learner: DQN, day: int = 0) -> float:
    """What a day brings without exploration."""
    observation, _ = environment.reset(options={"day": day})
    gain, over = 0.0, False
    while not over:
        action = learner.best(observation[None])
        observation, _, over, _, info = environment.step(action[0])
        gain += info["gain"]
    return gain
