"""Ray plays what threads play, to the last bit, and a worker's death changes nothing."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.small_games import RULES, small_game

from auctionlab.evolution.cluster import Cluster
from auctionlab.evolution.games import train
from auctionlab.evolution.rollouts import Profiles, Table
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import Game

GAME = Game(0.5, 0.9, rules=RULES, search=Search(iterations=8, profiles=16))


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    pytest.importorskip("ray", reason="a cluster needs the extra cluster")
    package = importlib.import_module("ray")
    package.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield package
    package.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_finds_what_threads_find(ray: Any) -> None:
    days, _, advertisers = small_game()
    here = train(days, advertisers, GAME)
    for tasks in (None, 5):
        there = train(
            days, advertisers, GAME, rollouts=lambda table, tasks=tasks: Cluster(table, tasks=tasks)
        )
        assert here.theta.tobytes() == there.theta.tobytes() and here.history == there.history


class Killing(Cluster):
    """A cluster one of whose workers is killed in the middle of every other step."""

    def __call__(self, day: int, profiles: Profiles) -> np.ndarray:
        if profiles.iteration % 2:
            worker = self._ray.remote(lambda: os.getpid()).remote()
            os.kill(self._ray.get(worker), signal.SIGKILL)
        return super().__call__(day, profiles)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_killed_workers_change_nothing(ray: Any) -> None:
    days, _, advertisers = small_game()
    here = train(days, advertisers, GAME)
    there = train(days, advertisers, GAME, rollouts=Killing)
    assert here.theta.tobytes() == there.theta.tobytes()


def test_without_ray_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    days, _, advertisers = small_game(auctions=50)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'auctionlab\[cluster\]'"):
        train(days, advertisers, GAME, rollouts=Cluster)


def test_a_cluster_needs_a_task() -> None:
    pytest.importorskip("ray", reason="a cluster needs the extra cluster")
    days, _, advertisers = small_game(auctions=50)
    trained = train(days, advertisers, replace(GAME, search=Search(iterations=1, profiles=2)))
    table = Table(tuple(days), trained.policies, np.zeros(6), RULES)
    with pytest.raises(ValueError, match="at least one task"):
        Cluster(table, tasks=0)
