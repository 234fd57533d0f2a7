"""Kafka's variables of compose.yaml as properties, by the image's rule, on a real broker of the same version."""

import re
import socket
import subprocess
import time

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from streaming.jars import KAFKA_VERSION, java, kafka_class_path
from streaming.rehearse.broker import free_port
from tests.harness.compose_file import SERVICES, variables
from tests.harness.processes import run

NOT_PROPERTIES = {"KAFKA_HEAP_OPTS"}  # the start script's own


def properties():
    """KAFKA_NODE_ID=1 becomes node.id=1."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in variables(SERVICES["kafka"]).items()
        if name.startswith("KAFKA_") and name not in NOT_PROPERTIES
    }


def on_this_machine(value, ports, data):
    value = re.sub(r"(?<=[@/])(kafka|0\.0\.0\.0)(?=:)", "127.0.0.1", value.replace("/var/lib/kafka/data", str(data)))
    for inside, port in ports.items():
        value = value.replace(f":{inside}", f":{port}")
    return value


def test_a_broker_starts_with_the_variables_and_knows_each_of_them(jar_cache, tmp_path):
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    ports = {port: free_port() for port in (19092, 29093, 9092)}
    asked = {name: on_this_machine(value, ports, tmp_path / "data") for name, value in properties().items()}
    config = tmp_path / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in asked.items()))
    start = [java(), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", kafka_class_path(jar_cache)]
    cluster = variables(SERVICES["kafka"])["CLUSTER_ID"]
    storage = ("kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", config)
    formatted = run(*start, *storage, cwd=tmp_path)
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    with (tmp_path / "log").open("wb") as log:
        broker = subprocess.Popen(
            [*start, "kafka.Kafka", str(config)], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        in_force = settings_in_force(ports[9092], broker, tmp_path / "log")
    finally:
        broker.terminate()
        broker.wait(60)
    assert {name: in_force.get(name) for name in asked} == asked  # a name that Kafka does not know has no value


def settings_in_force(port, broker, log):
    deadline = time.monotonic() + 120
    while not is_open(port):
        assert broker.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
    with KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}") as admin:
        asked = [ConfigResource(ConfigResourceType.BROKER, "1")]
        answer = admin.describe_configs(asked, config_filter="all")["broker"]["1"]
    return {name: one["value"] for name, one in answer.items()}


def is_open(port):
    """What the health check of compose.yaml asks."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
