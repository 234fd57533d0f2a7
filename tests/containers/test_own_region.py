"""An own region by the pages' own commands: start, tokens, back-up, restore, upgrade, going back.

The tests go on where the one before them ended.
"""

import json
import re
import time
from datetime import UTC, datetime

import pytest
import urllib3
from kafka import KafkaProducer

from streaming.rehearse.sample import SAMPLE
from tests.containers.conftest import torch
from tests.containers.project import ROOT, Project, checkout, fence, wait
from tests.harness.influxql import table

pytestmark = [pytest.mark.docker, pytest.mark.long]
DEPLOY, OPERATIONS = "deploy/README.md", "docs/how-to/operations.md"


@pytest.fixture(scope="module")
def ours(docker, images, tmp_path_factory):
    folder = checkout(tmp_path_factory.mktemp("ours"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    project = Project(folder=folder, environment=docker | torch())
    yield project
    project.compose("down", "--volumes", "--timeout", "20")


def send(count):
    """Calls of now in the middle of the region; returns when Kafka has them."""
    producer = KafkaProducer(bootstrap_servers="127.0.0.1:9092")
    now = datetime.now(UTC).isoformat()
    for number in range(count):
        call = {"incident_id": f"{now}-{number}", "region": "mycity", "occurred_at": now, "category": "theft"}
        place = {"lat": 41.88, "lon": -87.63, "origin": "public_call"}
        producer.send("incidents.v1", json.dumps(call | place).encode())
    producer.close()


def ledger(project):
    found = table(project.store(project.token("grafana")).series("SELECT last(*) FROM pipeline GROUP BY region"))
    return {row["region"]: {name.removeprefix("last_"): value for name, value in row.items()} for row in found}


def wait_for_consumed(project, least):
    def is_there():
        try:
            return sum(one["consumed"] for one in ledger(project).values()) >= least
        except (AssertionError, urllib3.exceptions.HTTPError, KeyError):  # the store starts, or has no point yet
            return False

    wait(is_there, 300, lambda: project.compose("logs", "--tail", "60", "scorer"))


def has_scored_since(project, began_s):
    store = project.store(project.token("grafana"))
    found = store.series("SELECT last(risk) FROM risk WHERE region = 'mycity' AND time > now() - 10m")
    return bool(found) and found[0]["values"][0][0] / 1000 > began_s


def test_it_starts_as_its_page_says(ours):
    block = fence(DEPLOY, "models train")
    block = (
        block.replace(".ci/setup\n", "")
        .replace("incidents.csv", str(SAMPLE))
        .replace("--layout ...", "--layout sample")
    )
    start, _, health = block.rpartition("docker compose exec")
    ours.shell(start, limit_s=3600)
    ours.wait_until_well()
    ours.shell("docker compose exec" + health)
    send(50)
    wait_for_consumed(ours, 50)
    assert ledger(ours)["mycity"]["consumed"] == 50


@pytest.mark.parametrize("of", ["scorer", "grafana"])
def test_a_token_is_replaced_and_the_old_one_is_refused(ours, of):
    old, began_s = ours.token(of), time.time()
    ours.shell(fence(DEPLOY, "-f /tokens/scorer").replace("scorer", of))
    ours.wait_until_well()
    assert ours.token(of) != old
    assert ours.store(old).request("POST", "/write?db=risk", body=b"x y=1").status == 401
    wait(lambda: has_scored_since(ours, began_s), 300, lambda: ours.compose("logs", "--tail", "60", "scorer"))


def test_the_admins_password_and_token_are_replaced(ours):
    password, token, _ = fence(OPERATIONS, "influx user password").strip().splitlines()
    ours.shell(f"printf 'another-password\\nanother-password\\n' | {password.replace('exec ', 'exec -T ')}")
    printed = ours.shell(token.replace("exec ", "exec -T "))
    new = re.search(r"\s(\S{86}==)\s", printed)[1]
    old = (ours.folder / "secrets" / "influxdb_admin_token").read_text()
    ours.run("install", "-m", "444", "/dev/stdin", "secrets/influxdb_admin_token", answer=new)
    ours.compose("restart", "influxdb")
    ours.wait_until_well()
    said = ours.compose("run", "--rm", "influxdb-setup")
    assert said.count("kept") == 2
    auths = json.loads(ours.store(new).request("GET", "/api/v2/authorizations").data)["authorizations"]
    (old_id,) = (one["id"] for one in auths if one["description"] == "admin's Token")
    ours.compose("exec", "influxdb", "influx", "auth", "delete", "--id", old_id, "--token", new)
    assert ours.store(old).request("GET", "/api/v2/authorizations").status == 401
    assert ours.compose("run", "--rm", "influxdb-setup").count("kept") == 2


def test_what_was_backed_up_is_there_again_after_a_restore(ours, record_property):
    before = ledger(ours)["mycity"]["consumed"]
    ours.shell(fence(OPERATIONS, "tar cz"))
    ours.wait_until_well()
    send(20)
    wait_for_consumed(ours, before + 20)
    began = time.time()
    ours.shell(fence(OPERATIONS, "tar xz"))
    ours.wait_until_well()
    record_property("restored after, s", round(time.time() - began))
    wait(lambda: has_scored_since(ours, began), 300, lambda: ours.compose("logs", "--tail", "60", "scorer"))
    assert ledger(ours)["mycity"]["consumed"] == before


def test_an_upgrade_and_the_way_back_lose_nothing(ours, record_property):
    send(10)
    wait_for_consumed(ours, 60)
    upgrade = fence(OPERATIONS, "docker tag incident").replace(
        "git pull", "echo '# a change' >> streaming/flow/ledger.py"
    )
    began = time.time()
    ours.shell(upgrade)
    record_property("upgrade with a changed line, s", round(time.time() - began))
    ours.wait_until_well()
    send(10)
    wait_for_consumed(ours, 70)
    ours.shell("docker compose stop")
    ours.shell("docker tag incident-risk-scorer:before incident-risk-scorer:0.1.0")
    ours.shell("docker compose up --detach --no-build")
    ours.wait_until_well()
    send(10)
    wait_for_consumed(ours, 80)
    assert ledger(ours)["mycity"]["consumed"] == 80


def test_dead_letters_are_shown(ours):
    producer = KafkaProducer(bootstrap_servers="127.0.0.1:9092")
    producer.send("incidents.v1", b"rubbish")
    producer.close()
    wait_for_consumed(ours, 81)
    assert "not_json" in ours.shell(fence(OPERATIONS, "kafka-console-consumer"))
