"""Two million events on a Spark cluster in containers: a worker is killed, another one frozen for a minute."""

import json
import os
import re
import signal
import time
from datetime import UTC, datetime

import pytest
from kafka import KafkaProducer

from tests.containers.project import KAFKA, ROOT, fence, first_start, opened
from tests.containers.test_own_region import artifact_of

pytestmark = pytest.mark.nightly
EVENTS, PART = 2_000_000, 250_000
FROZEN_S = 60
SOUTH, WEST, STEP_DEG = 41.80, -87.70, 0.001


@pytest.fixture(scope="module")
def cluster(client, tmp_path_factory):
    with opened(tmp_path_factory.mktemp("cluster"), client) as project:
        (project.folder / ".venv").symlink_to(ROOT / ".venv")
        yield project


def send(numbers):
    """Events of all categories, all over the region, now."""
    producer = KafkaProducer(bootstrap_servers=KAFKA, linger_ms=50, batch_size=1 << 18, compression_type="gzip")
    at = datetime.now(UTC).isoformat()
    for number in numbers:
        place = {"lat": SOUTH + STEP_DEG * (number % 150), "lon": WEST + STEP_DEG * (number // 150 % 150)}
        what = {"region": "mycity", "occurred_at": at, "category": "theft", "origin": "public_call"}
        producer.send("incidents.v1", json.dumps({"incident_id": f"c-{number}", **what, **place}).encode())
    producer.flush()
    producer.close()


def workers(project):
    """Ids of the workers' containers that run."""
    return project.compose("ps", "--quiet", "spark-worker").split()


def test_a_killed_and_a_frozen_worker_change_no_count_and_no_score(cluster, record_property):
    start, _, _ = first_start(cluster.folder).rpartition("docker compose exec")
    settings, _ = fence("docs/how-to/containers.md", "deploy/cluster.yaml >>").strip().splitlines()
    cluster.shell(f"{settings}\n{start}", limit_s=3600)
    record_property("all well after, s", round(cluster.wait_until_well()))
    assert artifact_of(cluster).name not in cluster.compose("exec", "spark-worker", "ls", "/artifacts", "/state")

    began = time.monotonic()
    send(range(PART))
    cluster.wait_for_consumed(PART)

    send(range(PART, EVENTS // 2))
    os.kill(int(cluster.run("docker", "inspect", "--format", "{{.State.Pid}}", workers(cluster)[0])), signal.SIGKILL)
    killed = time.monotonic()
    cluster.wait_for_consumed(EVENTS // 2)
    record_property("counted on after a worker's SIGKILL, s", round(time.monotonic() - killed))

    send(range(EVENTS // 2, EVENTS - PART))
    frozen = workers(cluster)[-1]
    cluster.run("docker", "pause", frozen)
    time.sleep(FROZEN_S)
    cluster.run("docker", "unpause", frozen)
    send(range(EVENTS - PART, EVENTS))
    cluster.wait_for_consumed(EVENTS)
    record_property("two million sent and counted, s", round(time.monotonic() - began))
    cluster.wait_for_new_scores()

    cluster.compose("stop", "scorer")
    again = ["--entrypoint", "python", "scorer", "-c", (ROOT / "tests/harness/recount.py").read_text(encoding="utf-8")]
    printed = cluster.compose("run", "--rm", "-T", *again, limit_s=1800)
    assert re.search(r"recounted [1-9][\d,]* frames, 0 differ", printed), printed
    record_property("recounted without Spark", printed.strip().splitlines()[-1])
