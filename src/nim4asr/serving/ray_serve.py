"""The same application on Ray Serve, for many machines.

    serve run nim4asr.serving.ray_serve:app

or ``ray.serve.run(deployment())`` with settings of one's own. A live session is one request to one replica
from its beginning to its end, so a session's state is simply there. What is over ``max_ongoing_requests`` in
all replicas waits; the application's own limit, which is higher, refuses.
"""

from typing import Any

from ray import serve
from starlette.applications import Starlette

from nim4asr.runtime.loading import load
from nim4asr.serving.application import create_app
from nim4asr.serving.configuration import ServerConfig


def deployment(
    model: str | None = None,
    *,
    streams: int = 32,
    min_replicas: int = 1,
    max_replicas: int = 4,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    keys: tuple[str, ...] = (),
    drain_s: float = 60.0,
) -> Any:
    """A Ray Serve application of ``model`` (default: the bundled nano), with as many replicas as its load
    needs.

    A replica holds ``streams`` sessions; another is started when 70 % of those are open on average, and one
    without sessions is taken away after minutes. ``drain_s`` is the longest session that a replica which is
    to end waits for.
    """

    def application() -> Starlette:
        # In the replica: the model is loaded where it runs.
        device = "cuda" if num_gpus else "cpu"
        # Whoever reaches a replica comes through Ray's proxy, by its name.
        config = ServerConfig(max_streams=2 * streams, keys=keys, hosts=("*",))
        return create_app(load(model, device=device), config)

    @serve.deployment(
        name="nim4asr",
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": num_gpus},
        max_ongoing_requests=streams,
        graceful_shutdown_timeout_s=drain_s,
        autoscaling_config={
            "min_replicas": min_replicas,
            "max_replicas": max_replicas,
            "target_ongoing_requests": max(1.0, 0.7 * streams),
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 300.0,
        },
    )
    @serve.ingress(application)
    class Replica:
        """A process with an engine of its own."""

    replica: Any = Replica
    return replica.bind()


def __getattr__(name: str) -> Any:
    # ``serve run`` asks for the application by its name; nothing is built at import.
    if name == "app":
        return deployment()
    raise AttributeError(name)
