"""Addresses that are told before Ray is asked, which would try for minutes."""

import socket
import sys
from types import ModuleType

import pytest

from nim4asr.bulk import Cluster
from nim4asr.errors import InputError


@pytest.fixture(autouse=True)
def _ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, with nothing begun."""
    ray = ModuleType("ray")
    ray.is_initialized = lambda: False  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)


@pytest.mark.parametrize("address", ["here", "here:", ":6379", "here:port", "here:99999"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InputError, match="is no address of a Ray cluster: local, auto or HOST:PORT"):
        Cluster(address).connected().__enter__()


def test_rays_client() -> None:
    with pytest.raises(InputError, match="run this on a machine of the cluster, with the address auto"):
        Cluster("ray://localhost:10001").connected().__enter__()


def test_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=f"there is no Ray cluster at 127.0.0.1:{port} .*ray start --head"
        ):
            Cluster(f"127.0.0.1:{port}").connected().__enter__()


def test_a_cluster_with_too_little_is_told() -> None:
    has = {"CPU": 8.0, "GPU": 2.0}
    assert Cluster()._room(has) == 8 and Cluster(cpus_per_worker=3)._room(has) == 2
    assert Cluster(gpus_per_worker=0.25)._room(has) == 8 and Cluster(gpus_per_worker=1)._room(has) == 2
    with pytest.raises(InputError, match="8 cores and 2 GPUs, too little for a worker of 1 and 4"):
        Cluster(gpus_per_worker=4)._room(has)
    with pytest.raises(InputError, match="0 cores"):
        Cluster()._room({})
