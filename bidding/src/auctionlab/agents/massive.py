"""M-RMDP: an agent for every ad, learning side by side in the same auctions.

All networks are one batched matrix product (`auctionlab.agents.network`), so a thousand agents learn in one
update. Each one's reward is its own gain and, by the weight of cooperation, the mean of all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from auctionlab.agents.dqn import DQN, Options, read_tensors, write_tensors
from auctionlab.agents.network import Networks
from auctionlab.auction.outcome import Outcome
from auctionlab.environments.contest import Contest
from auctionlab.environments.observation import SIZE, blurred

Floats = NDArray[np.float64]


class Agents:
    """Learned policies of n ads on a common grid."""

    def __init__(self, networks: Networks, grid: Floats) -> None:
        """Networks of n ads and the multipliers they choose from."""
        self.networks, self.grid = networks, grid

    def choose(self, observations: Floats) -> NDArray[np.int64]:
        """The best action of each (n,), from observations (n, 15)."""
        with torch.no_grad():
            seen = torch.as_tensor(observations.astype(np.float32))[:, None, :]
            return np.asarray(self.networks(seen)[:, 0].argmax(dim=1).numpy(), np.int64)

    def play(self, contest: Contest, day: int = 0) -> Outcome:
        """A day of a contest with the same contestants. ValueError where there are more or fewer."""
        ads = int(self.networks.weights[0].shape[0])
        if ads != contest.size:
            raise ValueError(f"these are agents of {ads} ads, but the contest has {contest.size}")
        observations = contest.begin(day)
        while not contest.over:
            observations, _, _ = contest.step(self.choose(observations))
        return contest.outcome

    def save(self, path: Path | str) -> None:
        """Write the agents as one safetensors file."""
        tensors = {name: tensor.cpu() for name, tensor in self.networks.state_dict().items()}
        tensors["grid"] = torch.from_numpy(np.ascontiguousarray(self.grid))
        ads = int(self.networks.weights[0].shape[0])
        facts = {"kind": _KIND, "ads": ads, "sizes": self.networks.sizes}
        write_tensors(Path(path), tensors, {"auctionlab": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path | str) -> Agents:
        """Read agents. ValueError where the file is another's or cut short."""
        tensors, facts = read_tensors(Path(path), _KIND)
        grid = tensors.pop("grid").numpy()
        networks = Networks(int(facts["ads"]), facts["sizes"])
        networks.load_state_dict(tensors)
        return cls(networks, grid)


_KIND = "agents-1"


@dataclass(frozen=True)
class Progress:
    """Where training stands after an episode."""

    episode: int
    """Episodes done."""
    episodes: int
    """Episodes in all."""
    loss: float
    """Mean loss over ads and updates."""
    gain: float
    """What all agents' purchases were worth."""
    revenue: float
    """What the platform earned."""


def train(
    contest: Contest,
    options: Options | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 20,
    resume: bool = False,
) -> Agents:
    """Learn policies of all contestants at once. Their weights are the running means of the last updates.

    With a checkpoint, `resume` goes on as if nothing had happened. Raises ValueError where it is of another
    contest or options, FileNotFoundError where there is none.
    """
    options = options or Options()
    path = Path(checkpoint) if checkpoint is not None else None
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, not {checkpoint_every}")
    if resume:
        if path is None:
            raise ValueError("name the checkpoint to resume from")
        learner = DQN.load(path, device=device)
        if learner.options != options or (learner.ads, learner.actions) != (contest.size, contest.grid.size):
            raise ValueError(f"{path} was written with other options or ads; resume with the same ones")
    else:
        updates = max(options.episodes * contest.hours - options.warmup, 1)
        learner = DQN(contest.size, SIZE, contest.grid.size, options, device=device, updates=updates)
    while learner.episode < options.episodes:
        loss = _episode(contest, learner)
        if path is not None and (
            learner.episode % checkpoint_every == 0 or learner.episode == options.episodes
        ):
            learner.save(path)
        if progress:
            outcome = contest.outcome
            gain = float(outcome.gmv[:, contest.ads].sum())
            progress(Progress(learner.episode, options.episodes, loss, gain, outcome.revenue))
    networks = Networks(contest.size, learner.learned.sizes)
    networks.load_state_dict({name: tensor.cpu() for name, tensor in learner.mean.state_dict().items()})
    return Agents(networks, contest.grid)


def _episode(contest: Contest, learner: DQN) -> float:
    blur, chance = learner.options.blur, learner.chance
    observations = blurred(contest.begin(int(chance.integers(len(contest.days)))), blur, chance)
    active = np.ones(contest.size, bool)
    losses = []
    while not contest.over:
        actions = learner.explore(observations)
        following, rewards, _ = contest.step(actions)
        following = blurred(following, blur, chance)
        ended = contest.exhausted | contest.over
        learner.memory.add(observations, actions, rewards, following, ended, active)
        active = active & ~ended
        observations = following
        if learner.memory.size >= min(learner.options.warmup, learner.memory.capacity):
            losses.append(learner.learn())
    learner.end_episode()
    return float(np.mean(losses)) if losses else float("nan")
