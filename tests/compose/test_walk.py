"""Each service's command of compose.yaml as a plain process, with the same arguments and variables.

Kafka is the tests' own broker, the store a stub; addresses and folders are theirs, all else is compose.yaml's.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.left_behind.frame_file import read_frames
from streaming.settings import INFLUX_PREFIX, PREFIX
from streaming.topics.admin import ensure_topics
from streaming.topics.client import KafkaConnection
from tests.harness.compose_file import ROOT, SERVICES, arguments, mounts, variables
from tests.harness.processes import run
from tests.harness.topic import Topic

DEADLINE_S = 240.0
PRODUCT = f"{ROOT}:{ROOT / 'grafana-provisioning'}"
TOPICS = {"RISK_TOPIC": "walked.v1", "RISK_DEAD_LETTER_TOPIC": "walked.v1.dlq"}


@pytest.fixture(scope="module")
def stores():
    from tests.conftest import serving

    with serving() as store:
        yield store


@pytest.fixture(scope="module")
def world(broker, jar_cache, stores, tmp_path_factory):
    """Gives environment_of(service): its variables, with this test's addresses and folders in place of the image's."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("artifacts", "state", "pages", "cells", "frames", "run"):
        (folder / name).mkdir()
    (folder / "run" / "scorer_influx_token").write_text("walked-token\n")

    def environment_of(name):
        service = SERVICES[name]
        targets = {target for _, target, _ in mounts(service)}
        places = {"/artifacts": "artifacts", "/state": "state", "/cells": "cells", "/frames": "frames"}
        places["/run/secrets"] = "run"

        def here(value):
            for target, place in places.items():
                if value == target or value.startswith(target + "/"):
                    assert target in targets or value.startswith("/state"), f"{name}: nothing is mounted at {target}"
                    return str(folder / place) + value.removeprefix(target)
            return value.replace("kafka:19092", broker.bootstrap).replace("http://influxdb:8086", stores.url)

        ours = {key: value for key, value in os.environ.items() if not key.startswith((PREFIX, INFLUX_PREFIX))}
        theirs = {key: here(value) for key, value in variables(service).items()}
        local = {"RISK_CACHE": str(jar_cache), "RISK_MASTER": "local[2,4]", "RISK_DRIVER_MEMORY": "1g"}
        return {**ours, **theirs, **TOPICS, **local, "PYTHONPATH": PRODUCT, "HERE": str(folder)}

    return environment_of


def command_of(name, environment):
    """The service's process: our Python in place of the image's, its program from this repository."""
    program, *rest = arguments(SERVICES[name])
    start = [str(ROOT / "deploy" / "demo.py")] if program == "/opt/demo.py" else ["-m", program]
    places = {"/pages": "pages", "/templates": "pages", "/cells": "cells"}

    def here(word):
        target = next((place for place in places if word == place or word.startswith(f"{place}/")), "")
        return (f"{environment['HERE']}/{places[target]}" if target else "") + word.removeprefix(target)

    return [sys.executable, *start, *map(here, rest)]


def run_once(name, environment):
    ran = run(*command_of(name, environment), cwd=environment["HERE"], env=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


@pytest.fixture
def topics(broker):
    """What the service `topics` makes; tests/containers/test_kafka.py runs it."""
    ensure_topics(KafkaConnection(broker.bootstrap), dict(zip(TOPICS.values(), (4, 1), strict=True)))


@pytest.fixture(scope="module")
def artifact(world):
    return run_once("demo-artifact", world("demo-artifact"))


def test_cells_of_the_demos_region_are_written_for_the_map(world, artifact):
    environment = world("cells")
    run_once("pages", environment)
    run_once("cells", environment)
    folder = Path(environment["HERE"]) / "cells"
    assert (folder / "chicago.geojson").is_file()
    dashboard = json.loads((folder / "dashboards" / "live-map.json").read_text(encoding="utf-8"))
    (view,) = (panel["options"]["view"] for panel in dashboard["panels"] if panel["type"] == "geomap")
    assert (round(view["lat"]), round(view["lon"])) == (42, -88)


@pytest.mark.nightly
def test_the_scorer_becomes_healthy_takes_the_replay_and_stops_in_time(world, topics, artifact, broker, stores):
    environment, log = world("scorer"), Path(world("scorer")["HERE"]) / "terminal.txt"
    with log.open("wb") as terminal:
        scorer = subprocess.Popen(
            command_of("scorer", environment), cwd=environment["HERE"], env=environment, stdin=subprocess.DEVNULL,
            stdout=terminal, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip
        replay = None
        try:
            health = [sys.executable, *health_check()[1:]]
            until(lambda: run(*health, env=environment).returncode == 0, log)
            replay = subprocess.Popen(command_of("replay", world("replay")), env=world("replay"))
            until(lambda: stored(stores, "pipeline", "consumed") >= 1, log)
            assert replay.poll() is None
            replay.terminate()
            scorer.send_signal(signal.SIGTERM)
            grace_s = int(SERVICES["scorer"]["stop_grace_period"].removesuffix("s"))
            assert scorer.wait(grace_s) == 0, log.read_text()
        finally:
            for process in (replay, scorer):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()
    assert read_frames(Path(environment["HERE"]) / "frames" / "chicago.frame").clock == "wall"  # for `serve`
    assert all(path.startswith("/api/v2/write?") for path, _, _ in stores.requests)
    assert all("org=risk" in path and "bucket=risk" in path for path, _, _ in stores.requests)
    assert all(headers["Authorization"] == "Token walked-token" for _, headers, _ in stores.requests)
    sent = Topic(broker.bootstrap, TOPICS["RISK_TOPIC"], 4).read()
    assert stored(stores, "pipeline", "consumed") <= len(sent)
    assert re.search(rb"^risk,\S*region=chicago\S* ", b"\n".join(stores.acknowledged), re.MULTILINE)


def health_check():
    """The image's health check: ["python", "-m", "streaming", "health"]."""
    text = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")
    (words,) = re.findall(r"^HEALTHCHECK .* CMD \[(.*)\]$", text, re.MULTILINE)
    return re.findall(r'"([^"]+)"', words)


def stored(stores, measurement, field):
    """The largest value of a field that the store was given, over all regions."""
    pattern = re.compile(rf"^{measurement},\S* (?:\S*,)?{field}=(\d+)".encode(), re.MULTILINE)
    return max((int(value) for body in stores.acknowledged for value in pattern.findall(body)), default=0)


def until(condition, log):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(2)  # each look costs a second of a core
