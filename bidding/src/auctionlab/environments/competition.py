"""The contest as a PettingZoo parallel environment, which multi-agent libraries read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pettingzoo import ParallelEnv

from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import Signal
from auctionlab.environments.contest import Contest, Contestants
from auctionlab.environments.observation import SIZE
from auctionlab.market.market import Market


class Competition(ParallelEnv):  # type: ignore[misc]  # PettingZoo has no types for its base class.
    """Several ads, each an agent named ad_0, ad_1 ...; an episode is a day, all agents end together.

    Every agent's info has its cost and gain of the hour, and the platform's revenue and welfare of it.
    """

    metadata = {"name": "auctionlab_competition_v0", "render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(
        self,
        days: Sequence[Market],
        contestants: Contestants,
        *,
        rules: Rules | None = None,
        signal: Signal = Signal.MODEL,
        grid: ArrayLike | None = None,
        seed: int | None = None,
    ) -> None:
        """As `Contest`."""
        self.contest = Contest(days, contestants, rules=rules, signal=signal, grid=grid, seed=seed)
        self.possible_agents = [f"ad_{ad}" for ad in contestants.ads]
        self.agents: list[str] = []
        self._box = gymnasium.spaces.Box(-10.0, 10.0, (SIZE,), np.float32)
        self._observation = {agent: self._box for agent in self.possible_agents}
        self._action = {
            agent: gymnasium.spaces.Discrete(self.contest.grid.size) for agent in self.possible_agents
        }
        self._random = np.random.default_rng()

    def observation_space(self, agent: str) -> gymnasium.spaces.Box:
        """The same object for an agent each time, as PettingZoo asks."""
        return self._observation[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Discrete:
        """The same object for an agent each time."""
        return self._action[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Begin a day: one drawn by chance, or options["day"]."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        chosen = (options or {}).get("day")
        day = int(self._random.integers(len(self.contest.days))) if chosen is None else int(chosen)
        self.agents = list(self.possible_agents)
        observations = self.contest.begin(day)
        return self._by_agent(observations), {agent: {"day": day} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One hour. ValueError for a missing or unknown agent or an action out of range."""
        if not self.agents:
            raise RuntimeError("the day is over; reset() begins the next")
        if missing := set(self.agents) - set(actions):
            raise ValueError(f"no action for {', '.join(sorted(missing))}")
        if unknown := set(actions) - set(self.agents):
            raise ValueError(f"there is no agent {', '.join(sorted(unknown))}")
        observations, rewards, gains = self.contest.step(
            np.array([int(actions[agent]) for agent in self.agents])
        )
        hour, outcome = self.contest.hour - 1, self.contest.outcome
        platform = {"revenue": float(outcome.cost[hour].sum()), "welfare": float(outcome.gmv[hour].sum())}
        agents = list(self.agents)
        over = self.contest.over
        if over:
            self.agents = []
        return (
            self._by_agent(observations),
            dict(zip(agents, rewards.tolist(), strict=True)),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {
                agent: {
                    **platform,
                    "cost": float(outcome.cost[hour, ad]),
                    "gain": float(gain),
                }
                for agent, ad, gain in zip(agents, self.contest.contestants.ads, gains, strict=True)
            },
        )

    def _by_agent(self, observations: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        rows = observations.astype(np.float32)
        return dict(zip(self.possible_agents, rows, strict=True))
