"""The engine and the images that compose.yaml names."""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.containers.project import ROOT
from tests.harness.compose_file import COMPOSE, SERVICES

HERE = Path(__file__).parent
HOME = Path(os.environ.get("RISK_ENGINE", "/var/tmp/incident-risk-engine"))  # noqa: S108 - images of gigabytes


@pytest.fixture(scope="session")
def docker() -> Iterator[dict[str, str]]:
    """The environment of a client: of the engine that answers, or of one that is started for these tests."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RISK_", "COMPOSE_"))}
    if subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False).returncode == 0:  # noqa: S607
        if volumes := of_a_stack(environment, f"={COMPOSE['name']}", "volume", "ls"):
            pytest.skip(f"a stack lives on this Docker engine, and these tests would delete it: {' '.join(volumes)}")
        yield environment
        return
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "in-use").open("w") as lock:  # one run at a time: the project's name is the same for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = subprocess.run([HERE / "engine", "start", HOME], capture_output=True, text=True, check=False)
        if started.returncode == 3:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        own = environment | dict(line.split("=", 1) for line in started.stdout.splitlines())
        remove_what_a_killed_run_left(own)
        yield own
        subprocess.run([HERE / "engine", "stop", HOME], check=True)


def of_a_stack(environment: dict[str, str], project: str, *listing: str) -> list[str]:
    """What `docker compose` made on this engine, of "=PROJECT" or of all (""), as a command of docker lists it."""
    command = ["docker", *listing, "--quiet", "--filter", f"label=com.docker.compose.project{project}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def remove_what_a_killed_run_left(own: dict[str, str]) -> None:
    """On the engine of these tests: containers that start again with it would be taken for the next run's own."""
    for listing, removal in (
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("network", "ls"), ("network", "rm")),
        (("volume", "ls"), ("volume", "rm")),
    ):
        if ids := of_a_stack(own, "", *listing):  # the demo's project has another name
            subprocess.run(["docker", *removal, *ids], env=own, capture_output=True, check=True)  # noqa: S607


def torch() -> dict[str, str]:
    """Which PyTorch the image gets: that for the CPU, where its index is in reach."""
    (index,) = re.findall(r"--index-url (\S+)", (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8"))
    try:
        urllib3.request("GET", f"{index}/torch/", timeout=10.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return {"TORCH": "cuda"}
    return {}


def build(docker: dict[str, str], *named: str) -> "subprocess.CompletedProcess[str]":
    """Pulls the images, or builds their stand-ins."""
    return subprocess.run(
        [HERE / "images" / "build", HOME / "made", "debian:bookworm-slim", *named],
        env=docker, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def images(docker) -> list[str]:
    """A line for each image that the product's files name: the makers' own, or a stand-in and how it differs."""
    dockerfile = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")
    named = [*re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE)]
    named += sorted({service["image"] for service in SERVICES.values() if "risk-scorer" not in service["image"]})
    built = build(docker, *named)
    assert built.returncode == 0, built.stderr[-4000:]
    return built.stdout.splitlines()


@pytest.fixture(scope="session")
def client(docker, images) -> dict[str, str]:
    """The environment of a client of an engine that has all images."""
    return docker | torch()
