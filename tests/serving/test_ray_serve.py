"""The application on Ray Serve: REST and sessions through its proxy."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
from websockets.sync.client import connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from serving.test_application import form

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"),
    # Ray's own.
    pytest.mark.filterwarnings("ignore"),
]
PORT = 18765


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    import ray
    from ray import serve

    from nim4asr.serving.ray_serve import deployment

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(deployment(streams=4, max_replicas=2, num_cpus=1), route_prefix="/")
    yield f"127.0.0.1:{PORT}"
    serve.shutdown()
    ray.shutdown()


def test_rest(address: str) -> None:
    body, kind = form([("model", "nano")])
    request = urllib.request.Request(
        f"http://{address}/v1/audio/transcriptions", body, {"content-type": kind}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["text"] == "他是中国人"


def test_sessions_stay_with_their_replica(address: str) -> None:
    pcm = (np.clip(read_audio(CLIP_FOLDER / "en-1.flac"), -1, 1) * 32767).astype("<i2").tobytes()
    format_ = {"format": {"type": "audio/pcm", "rate": 16000}}
    sockets = [connect(f"ws://{address}/v1/realtime").__enter__() for _ in range(3)]
    for socket in sockets:
        socket.send(json.dumps({"type": "session.update", "session": {"audio": {"input": format_}}}))
    for start in range(0, len(pcm), 9600):
        for socket in sockets:
            audio = base64.b64encode(pcm[start : start + 9600]).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    for socket in sockets:
        socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        while (row := json.loads(socket.recv(timeout=60)))["type"].rpartition(".")[2] != "completed":
            pass
        assert row["transcript"] == "what do you want"
        socket.close()


def test_more_sessions_than_a_replica_holds_bring_another(address: str) -> None:
    """Four fit into one; the fifth waits for the second, and the first four go on meanwhile."""
    from ray import serve

    def replicas() -> int:
        states = serve.status().applications["default"].deployments["nim4asr"].replica_states
        return sum(states.values())

    sockets = [connect(f"ws://{address}/v1/realtime", open_timeout=90).__enter__() for _ in range(5)]
    assert replicas() == 2
    for socket in sockets:
        assert json.loads(socket.recv(timeout=10))["type"] == "session.created"
        socket.close()
