"""The image of deploy/Dockerfile: built, run, stopped, where Docker's daemon is at hand.

``NIM4_IMAGE_BASE`` names another base image. Building installs packages, so it needs a registry of them.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from nim4asr.cli.main import parser
from serving.conftest import wait_for
from serving.test_application import form

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"


def why_not() -> str | None:
    """Why no image can be built here."""
    docker = shutil.which("docker")
    if docker is None:
        return "needs Docker"
    done = subprocess.run([docker, "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True)
    told = (done.stderr or done.stdout).strip().splitlines()
    return None if done.returncode == 0 else f"needs Docker's daemon: {told[-1] if told else 'no answer'}"


def docker(*arguments: object) -> str:
    done = subprocess.run(["docker", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def instructions(kind: str) -> list[str]:
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.removeprefix(f"{kind} ") for line in text.splitlines() if line.startswith(f"{kind} ")]


def test_the_image_is_made_of_what_there_is() -> None:
    ignored = DOCKERFILE.with_suffix(".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for line in instructions("COPY"):
        for name in shlex.split(line)[:-1]:
            assert (ROOT / name).exists() and f"!{name}" in ignored, name
    (run,) = instructions("RUN")
    (extras,) = re.findall(r'"\.\[(.*?)\]"', run)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(known["optional-dependencies"])
    program, *arguments = json.loads(instructions("CMD")[0])
    assert program in known["scripts"]
    options = parser().parse_args(arguments)
    # What is published to other machines listens to them, at the port that is told.
    assert options.host == "0.0.0.0" and instructions("EXPOSE") == [str(options.port)]


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    if why_not():
        pytest.skip("needs Docker's daemon")
    base = os.environ.get("NIM4_IMAGE_BASE")
    options = ["--build-arg", f"BASE={base}"] if base else []
    docker("build", "--quiet", "--file", DOCKERFILE, "--tag", "nim4asr-test", *options, ROOT)
    name = docker(
        "run", "--detach", "--publish", "127.0.0.1::8000", "--env", "NIM4_API_KEY=key", "nim4asr-test"
    )
    yield name
    docker("rm", "--force", name)


def status(port: int, method: str, path: str, *rest: object, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, *rest, headers=headers)  # type: ignore[arg-type]
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_serves_and_ends_when_it_is_told(container: str) -> None:
    port = int(docker("port", container, "8000").rpartition(":")[2])
    wait_for(lambda: status(port, "GET", "/ready")[0] == 200)
    body, kind = form([("model", "nano")])
    headers = {"content-type": kind}
    assert status(port, "POST", "/v1/audio/transcriptions", body, **headers)[0] == 401
    headers["authorization"] = "Bearer key"
    code, answer = status(port, "POST", "/v1/audio/transcriptions", body, **headers)
    assert code == 200 and json.loads(answer)["text"] == "他是中国人"
    (health,) = instructions("HEALTHCHECK")
    docker("exec", container, *json.loads(health.partition("CMD ")[2]))
    assert docker("exec", container, "id", "-un") == "nim4"
    docker("stop", "--time", 60, container)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
