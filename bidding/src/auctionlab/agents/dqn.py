"""DQN with the paper's three networks, for one ad or many at once.

Of each ad there are three networks: the learned one, the acting one, which takes over the learned weights
once an episode, and the target one, which takes them over every `target_every` updates (SS-RTB, algorithm
1). The paper initializes networks and memory inside its loop over episodes, and drops steps that overspend;
here they are made once, and such steps end the day.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from auctionlab.agents.memory import Memory
from auctionlab.agents.network import Networks
from auctionlab.files import replacing

Singles = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Options:
    """How to learn. `paper()` gives what SS-RTB's paper states; the defaults are ours."""

    layers: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    episodes: int = 1000
    """Days to learn from."""
    batch: int = 256
    """Transitions in an update."""
    memory: int = 20_000
    """Steps that are remembered."""
    warmup: int = 500
    """Steps before the first update."""
    learning_rate: float = 2e-3
    """Of RMSProp, at the start; it falls linearly to `final_rate` of it."""
    final_rate: float = 0.02
    """What is left of the learning rate at the end."""
    target_every: int = 200
    """Updates between refreshments of the target network."""
    exploration: float = 0.6
    """Share of the episodes over which the share of random actions falls from 1 to `least_random`."""
    least_random: float = 0.05
    """Share of random actions afterwards."""
    spread: float | None = 0.15
    """Standard deviation of random actions around the best one, as a share of the grid; None draws them
    evenly. Even draws empty the purse by noon, and evenings are never learned (ours)."""
    blur: float = 0.1
    """Relative error of the results that are seen while learning (ours); 0 for none. See
    `auctionlab.environments.observation.blurred`."""
    discount: float = 1.0
    """Of rewards an hour later."""
    average: float = 0.998
    """Share that the running mean of the learned weights keeps at each update; 0 for no mean. The mean is
    what is tried and kept: it moves less than the weights do from one update to the next (ours)."""
    double: bool = True
    """Whether the learned network chooses the action that the target network values (van Hasselt 2016)."""
    seed: int = 0
    """Of weights, exploration and memory."""

    @classmethod
    def paper(cls, **changes: Any) -> Options:
        """The paper's settings, where it states them."""
        stated: dict[str, Any] = {
            "layers": (300, 200, 100),
            "batch": 300,
            "memory": 1_000_000,
            "learning_rate": 1e-4,
            "final_rate": 1.0,
            "target_every": 10_000,
            "least_random": 0.0,
            "double": False,
            "spread": None,
            "average": 0.0,
            "blur": 0.0,
        }
        return cls(**{**stated, **changes})

    def __post_init__(self) -> None:
        for name in ("episodes", "batch", "memory", "target_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers must be widths of at least 1, not {self.layers}")
        for name in ("final_rate", "exploration", "least_random", "discount", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if not (self.warmup >= 0 and self.seed >= 0 and 0 <= self.blur < np.inf):
            raise ValueError("warmup, seed and blur must be 0 or more")


class DQN:
    """The learner of n ads that act in step."""

    def __init__(
        self, ads: int, inputs: int, actions: int, options: Options, *, device: str = "cpu", updates: int
    ) -> None:
        """Fresh networks.

        Args:
            ads: n.
            inputs: numbers in an observation.
            actions: to choose from.
            options: how to learn.
            device: where, by torch's name.
            updates: expected in all; the learning rate falls over so many.

        """
        self.options, self.device, self.updates_planned = options, torch.device(device), max(updates, 1)
        generator = torch.Generator().manual_seed(options.seed)
        sizes = (inputs, *options.layers, actions)
        self.learned = Networks(ads, sizes, generator=generator).to(self.device)
        self.acting = copy.deepcopy(self.learned)
        self.target = copy.deepcopy(self.learned)
        self.mean = copy.deepcopy(self.learned)
        self.optimizer = torch.optim.RMSprop(
            self.learned.parameters(), lr=options.learning_rate, foreach=True
        )
        self.memory = Memory(options.memory, ads, inputs)
        self.chance = np.random.default_rng(options.seed)
        self.episode = 0
        self.updates = 0
        self.ads, self.actions = ads, actions

    @property
    def random_share(self) -> float:
        """Share of random actions in this episode: from 1 down in a line, then constant."""
        length = self.options.exploration * self.options.episodes
        fallen = 1.0 - self.episode / length if length > 0 else 0.0
        return max(fallen, self.options.least_random, 0.0)

    def values(self, observations: Singles, network: Networks | None = None) -> NDArray[np.float32]:
        """(n, actions) of observations (n, inputs), by the acting network if none is named."""
        with torch.no_grad():
            seen = torch.as_tensor(np.asarray(observations, np.float32), device=self.device)
            answer = (network or self.acting)(seen[:, None, :])[:, 0]
        return np.asarray(answer.cpu().numpy(), np.float32)

    def best(self, observations: Singles) -> NDArray[np.int64]:
        """The best action for each ad (n,) by the mean network: what an agent does when it is done."""
        return np.asarray(np.argmax(self.values(observations, self.mean), axis=1), np.int64)

    def explore(self, observations: Singles) -> NDArray[np.int64]:
        """An action for each ad (n,): the best by the acting network, or a random one."""
        best = np.asarray(np.argmax(self.values(observations), axis=1), np.int64)
        random = self.chance.random(self.ads) < self.random_share
        if self.options.spread is None:
            other = self.chance.integers(self.actions, size=self.ads)
        else:
            steps = self.chance.normal(scale=self.options.spread * self.actions, size=self.ads)
            other = np.clip(best + np.rint(steps).astype(np.int64), 0, self.actions - 1)
        return np.where(random, other, best)

    def learn(self) -> float:
        """One update of the learned networks from the memory; the mean loss over ads."""
        options = self.options
        batch = self.memory.draw(options.batch, self.chance)
        observations, following = (
            torch.from_numpy(array).to(self.device) for array in (batch.observations, batch.following)
        )
        actions = torch.from_numpy(batch.actions).to(self.device)[..., None]
        rewards = torch.from_numpy(batch.rewards).to(self.device)
        going_on = torch.from_numpy(~batch.ended).to(self.device)
        counts = torch.from_numpy(batch.counts).to(self.device)
        with torch.no_grad():
            later = self.target(following)
            if options.double:
                chosen = self.learned(following).argmax(dim=2, keepdim=True)
                later = later.gather(2, chosen)[..., 0]
            else:
                later = later.max(dim=2).values
            goal = rewards + options.discount * going_on * later
        value = self.learned(observations).gather(2, actions)[..., 0]
        losses = torch.nn.functional.smooth_l1_loss(value, goal, reduction="none") * counts
        # A mean over each ad's transitions, a sum over ads: each network learns as if it were alone.
        loss = (losses.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).sum()
        rate = 1.0 - (1.0 - options.final_rate) * min(self.updates / self.updates_planned, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.updates += 1
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.mean.parameters()), list(self.learned.parameters()), 1.0 - options.average
            )
        if self.updates % options.target_every == 0:
            self.target.load_state_dict(self.learned.state_dict())
        return float(loss.detach()) / self.ads

    def end_episode(self) -> None:
        """The acting network takes over what was learned."""
        self.acting.load_state_dict(self.learned.state_dict())
        self.episode += 1

    def save(self, path: Path | str) -> None:
        """Write everything that is needed to go on to the last bit, whole or not at all."""
        tensors: dict[str, torch.Tensor] = {}
        for name in _NETWORKS:
            for key, tensor in getattr(self, name).state_dict().items():
                tensors[f"{name}.{key}"] = tensor.cpu().contiguous()
        for index, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).cpu().contiguous()
        for name, array in self.memory.state().items():
            tensors[f"memory.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
        facts = {
            "kind": _KIND,
            "options": asdict(self.options),
            "chance": self.chance.bit_generator.state,
            "episode": self.episode,
            "updates": self.updates,
            "planned": self.updates_planned,
            "shape": [self.ads, *self.learned.sizes],
        }
        write_tensors(Path(path), tensors, {"auctionlab": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> DQN:
        """Go on from what `save` wrote. ValueError where the file is another's or cut short."""
        tensors, facts = read_tensors(Path(path), _KIND)
        options = dict(facts["options"])
        options["layers"] = tuple(options["layers"])
        ads, inputs, *_, actions = facts["shape"]
        learner = cls(ads, inputs, actions, Options(**options), device=device, updates=int(facts["planned"]))
        groups: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            group, key = name.split(".", 1)
            groups.setdefault(group, {})[key] = tensor
        for name in _NETWORKS:
            getattr(learner, name).load_state_dict(groups[name])
        stored = learner.optimizer.state_dict()
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in groups.get("optimizer", {}).items():
            index, item = key.split(".", 1)
            states.setdefault(int(index), {})[item] = tensor
        learner.optimizer.load_state_dict({**stored, "state": states})
        learner.memory.restore({name: tensor.numpy() for name, tensor in groups["memory"].items()})
        learner.chance.bit_generator.state = facts["chance"]
        learner.episode, learner.updates = int(facts["episode"]), int(facts["updates"])
        return learner


_NETWORKS = ("learned", "acting", "target", "mean")
_KIND = "dqn-checkpoint-1"


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that a crash, or a full disk, leaves the one before."""
    with replacing(path) as draft:
        save_file(tensors, str(draft), metadata=metadata)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote. ValueError where the file is another's or cut short."""
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {})["auctionlab"])
        tensors = load_file(str(path))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} was not written by auctionlab, or it is cut short") from error
    if facts.get("kind") != kind:
        raise ValueError(
            f"{path} holds {facts.get('kind')!r}, not {kind!r}; it is of another version or kind"
        )
    return tensors, facts
