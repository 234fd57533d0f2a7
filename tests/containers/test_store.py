"""The store under a region of 48 x 48 cells, in its container with compose.yaml's limits: the hourly task, and queries
that ask for too much."""

import dataclasses
import json
import time

import msgspec
import numpy as np
import pytest

from models.artifact import read_artifact
from schemas.spec import HOUR_S
from streaming.rehearse.incident_replay import ARTIFACTS
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from tests.containers.project import opened, wait
from tests.harness.grafana_world import pipeline, score_lines
from tests.harness.influxql import Store, table
from tests.harness.toy import toy_spec

pytestmark = pytest.mark.nightly
LIMIT_GIB = 4.0


@pytest.fixture(scope="module")
def world(client, tmp_path_factory):
    """A project of which only the store runs, and that store, opened with the admin's token."""
    with opened(tmp_path_factory.mktemp("store"), client) as project:
        project.run("make", "secrets")
        project.compose("up", "--detach", "influxdb-setup")
        project.wait_until_well()
        yield project, project.store((project.folder / "secrets" / "influxdb_admin_token").read_text().strip())


def spec_named(region):
    """The sample's categories and horizons on 48 x 48 cells of 1 km."""
    (folder,) = (ARTIFACTS / "montgomery").iterdir()
    spec = read_artifact(folder).spec
    grid = msgspec.structs.replace(spec.grid, cell_m=1000.0, rows=48, cols=48)
    return msgspec.structs.replace(spec, region=region, grid=grid)


def run_task(store, hour_s, limit_s=600):
    """Seconds of the run of the task for the hour that ended at `hour_s`."""
    (task,) = json.loads(store.request("GET", "/api/v2/tasks?name=risk_long").data)["tasks"]
    runs = f"/api/v2/tasks/{task['id']}/runs"
    asked = {"scheduledFor": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(hour_s))}
    run = json.loads(store.request("POST", runs, body=json.dumps(asked)).data)

    def state():
        return json.loads(store.request("GET", f"{runs}/{run['id']}").data)

    wait(lambda: state().get("status") in ("success", "failed", "canceled"), limit_s, state)
    logs = store.request("GET", f"{runs}/{run['id']}/logs").data
    assert state()["status"] == "success", logs.decode()[-2000:]
    began, ended = (np.datetime64(state()[name][:19]) for name in ("startedAt", "finishedAt"))
    return float((ended - began) / np.timedelta64(1, "s"))


def means_of(store, region, hour_s):
    """(cell, category, horizon) -> the hour's mean of `risk` in the bucket for long ranges."""
    where = f"WHERE region = '{region}' AND time = {hour_s * 1000}ms GROUP BY cell, category, horizon"
    long = dataclasses.replace(store, database="risk_long")
    rows = table(long.series("SELECT risk FROM risk " + where))  # noqa: S608 - names of this test
    return {(row["cell"], row["category"], row["horizon"]): row["risk"] for row in rows}


def test_the_hourly_task_takes_a_full_hour_of_a_large_region_within_the_limit(world, record_property):
    project, store = world
    spec, draw, before = spec_named("whole-hour"), np.random.default_rng(1), project.restarts("influxdb")
    hour_s = int(time.time()) // HOUR_S * HOUR_S
    ticks = range(hour_s - HOUR_S, hour_s, 60)
    rows = spec.series
    sums = {}
    for minute, tick_s in enumerate(ticks):
        lines = b"".join(score_lines([spec], [tick_s], draw))
        for line in lines.decode().splitlines():
            if line.startswith("risk,"):
                key, fields, _ = line.split(" ")
                tags = dict(part.split("=") for part in key.split(",")[1:])
                risk = dict(part.split("=") for part in fields.split(","))["risk"]
                where = (tags["cell"], tags["category"], tags["horizon"])
                sums[where] = sums.get(where, 0.0) + float(risk) / len(ticks)
        store.write(lines + pipeline(spec.region, tick_s, minute))
    with project.watched_memory("influxdb") as memory_gib:
        seconds = run_task(store, hour_s)
    means = means_of(store, spec.region, hour_s - HOUR_S)
    record_property("series", rows)
    record_property("task of one hour, s", seconds)
    record_property("store's peak, GiB", round(max(memory_gib), 2))
    assert means.keys() == sums.keys()
    assert len(means) > 10_000
    np.testing.assert_allclose([means[where] for where in sums], list(sums.values()), rtol=1e-5)
    assert project.restarts("influxdb") == before
    assert max(memory_gib) < LIMIT_GIB / 2


def test_hours_without_a_run_of_the_task_are_caught_up_by_the_next(world):
    _, store = world
    everything = {"start": "1970-01-01T00:00:00Z", "stop": "2200-01-01T00:00:00Z"}
    gone = store.request("POST", "/api/v2/delete?org=risk&bucket=risk_long", body=json.dumps(everything), timeout=300.0)
    assert gone.status == 204
    hour_s = int(time.time()) // HOUR_S * HOUR_S
    missed = [hour_s - hours * HOUR_S for hours in (4, 3, 2)]
    for start_s in missed:
        store.write(b"".join(pipeline("outage", start_s + 60 * minute, minute) for minute in (0, 59)))
    run_task(store, hour_s - 3 * HOUR_S)
    long = dataclasses.replace(store, database="risk_long")
    query = "SELECT consumed FROM pipeline WHERE region = 'outage'"
    assert [row["Time"] // 1000 for row in table(long.series(query))] == missed[:1]
    run_task(store, hour_s)
    assert [row["Time"] // 1000 for row in table(long.series(query))] == missed


EVERYTHING = 'from(bucket: "risk") |> range(start: -2h) |> filter(fn: (r) => r._measurement == "risk")'
SORTED = "|> group() |> sort() |> limit(n: 1)"


def ask(world, record_property, flux):
    """The store's answer; it must live on."""
    project, store = world
    before = project.restarts("influxdb")
    with project.watched_memory("influxdb") as memory_gib:
        answer = store.request("POST", "/api/v2/query?org=risk", body=json.dumps({"query": flux}), timeout=300.0)
    record_property("answer", f"{answer.status} {answer.data[-160:].decode()}")
    record_property("store's peak, GiB", round(max(memory_gib), 2))
    assert project.restarts("influxdb") == before
    project.wait_until_well()
    return answer


def test_a_wasteful_query_over_an_hour_of_every_cell_is_answered(world, record_property):
    flux = f'{EVERYTHING} |> filter(fn: (r) => r._field == "risk") {SORTED}'
    assert b",whole-hour" in ask(world, record_property, flux).data


def test_a_query_that_needs_more_memory_than_it_may_have_is_refused_and_the_store_lives(world, record_property):
    numbers = '|> filter(fn: (r) => r._field != "model" and r._field != "support" and r._field != "challenger")'
    flux = f'{EVERYTHING} {numbers} |> group() |> sort(columns: ["_value", "cell"]) |> tail(n: 1)'
    assert b"memory allocation limit reached" in ask(world, record_property, flux).data


TOKEN = "a-token-of-this-test"
FIRST_START = {"MODE": "setup", "USERNAME": "risk", "PASSWORD": "risk-risk-risk", "ORG": "risk", "BUCKET": "risk"}


def test_influxdb_2_takes_the_sink_and_answers_influxql(client, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONFIG"):
        if name in client:
            monkeypatch.setenv(name, client[name])
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image has no stand-in
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    container = DockerContainer("influxdb:2.9.1").with_exposed_ports(8086)
    for name, value in (FIRST_START | {"ADMIN_TOKEN": TOKEN}).items():
        container.with_env(f"DOCKER_INFLUXDB_INIT_{name}", value)
    spec = toy_spec(30, 40, categories=("fire", "ems", "traffic"))
    lines = b"".join(score_lines([spec], [int(time.time()) - 600], np.random.default_rng(1)))
    with container.waiting_for(HttpWaitStrategy(8086, "/health").for_status_code(200)):
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8086)}"
        sink = InfluxSink(Settings(influx_url=url, influx_token=TOKEN))
        sink.check()
        assert sink.write(lines).lines == lines.count(b"\n") > 30 * 40 * 4 * 3
        sink.close()
        rows = table(Store(url=url, token=TOKEN).series("SELECT count(risk) FROM risk GROUP BY category, horizon"))
    assert {(row["category"], row["horizon"]): row["count"] for row in rows} == {
        (category, horizon): 1200 for category in ("fire", "ems", "traffic", "all") for horizon in ("1h", "4h", "24h")
    }
