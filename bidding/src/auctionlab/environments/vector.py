"""Many days at once: a Gymnasium vector environment whose days are cleared in parallel threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from auctionlab.environments.hourly import HourlyBidding


class HourlyBiddingVector(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Several environments in step; the compiled core lets go of the interpreter, so threads help.

    After the end of a day, the next begins by itself: in the same step (the finished day's last observation
    is then in info["final_obs"]) or in the next one, whose action is not used.
    """

    def __init__(
        self,
        environments: Sequence[HourlyBidding],
        *,
        autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int = 2,
    ) -> None:
        """Put environments of the same grid side by side. ValueError where there is none, or grids differ."""
        if not environments:
            raise ValueError("at least one environment is needed")
        if autoreset is AutoresetMode.DISABLED:
            raise ValueError("days must begin by themselves here; use the environments one by one instead")
        if threads < 1:
            raise ValueError(f"at least one thread is needed, not {threads}")
        sizes = {environment.grid.size for environment in environments}
        if len(sizes) > 1:
            raise ValueError(f"all environments must have as many actions, not {sorted(sizes)}")
        self._environments = list(environments)
        self.num_envs = len(environments)
        self.metadata = {"autoreset_mode": autoreset}
        self.single_observation_space = environments[0].observation_space
        self.single_action_space = environments[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._same_step = autoreset is AutoresetMode.SAME_STEP
        self._waiting = np.zeros(self.num_envs, bool)
        self._pool = ThreadPoolExecutor(threads)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a day in each. One seed is counted up from the first environment to the last."""
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, list):
            seeds = seed or [None] * self.num_envs
        else:
            seeds = [seed + place for place in range(self.num_envs)]
        begun = [
            environment.reset(seed=own, options=options)
            for environment, own in zip(self._environments, seeds, strict=True)
        ]
        self._waiting[:] = False
        infos: dict[str, Any] = {}
        for place, (_, info) in enumerate(begun):
            infos = self._add_info(infos, info, place)
        return np.stack([observation for observation, _ in begun]), infos

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One hour in each. ValueError for another number of actions."""
        if len(actions) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments but {len(actions)} actions")
        results = list(self._pool.map(self._one, range(self.num_envs), actions))
        infos: dict[str, Any] = {}
        for place, (*_, info) in enumerate(results):
            infos = self._add_info(infos, info, place)
        observations = np.stack([observation for observation, *_ in results])
        rewards = np.array([reward for _, reward, _, _ in results])
        terminated = np.array([over for _, _, over, _ in results], np.bool_)
        return observations, rewards, terminated, np.zeros(self.num_envs, np.bool_), infos

    def _one(self, place: int, action: np.int64) -> tuple[NDArray[np.float32], float, bool, dict[str, Any]]:
        environment = self._environments[place]
        if self._waiting[place]:
            self._waiting[place] = False
            observation, info = environment.reset()
            return observation, 0.0, False, info
        observation, reward, over, _, info = environment.step(action)
        if over and self._same_step:
            last, final = observation, info
            observation, info = environment.reset()
            info = {**info, "final_obs": last, "final_info": final}
        self._waiting[place] = over and not self._same_step
        return observation, reward, over, info

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._pool.shutdown()


def register() -> None:
    """Make the single environment known to `gymnasium.make` as auctionlab/HourlyBidding-v0."""
    if "auctionlab/HourlyBidding-v0" not in gymnasium.registry:
        gymnasium.register(
            "auctionlab/HourlyBidding-v0", entry_point="auctionlab.environments.hourly:HourlyBidding"
        )
