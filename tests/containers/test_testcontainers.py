"""The sink on an InfluxDB 2 that testcontainers starts, without compose.yaml."""

import time

import numpy as np
import pytest

from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from tests.harness.grafana_world import score_lines
from tests.harness.influxql import Store, table
from tests.harness.toy import toy_spec

pytestmark = pytest.mark.nightly
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
        found = table(Store(url=url, token=TOKEN).series("SELECT count(risk) FROM risk GROUP BY category, horizon"))
    assert {(row["category"], row["horizon"]): row["count"] for row in found} == {
        (category, horizon): 1200 for category in ("fire", "ems", "traffic", "all") for horizon in ("1h", "4h", "24h")
    }
