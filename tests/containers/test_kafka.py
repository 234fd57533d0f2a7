"""Kafka alone, as compose.yaml starts it: quick enough for `make test` wherever an engine can be had."""

import json
import subprocess

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from tests.containers.conftest import build
from tests.containers.project import opened, wait
from tests.harness.compose_file import SERVICES

HOST = "127.0.0.1:9093"


@pytest.fixture(scope="module")
def kafka(docker, tmp_path_factory):
    """The broker and its topics."""
    built = build(docker, SERVICES["kafka"]["image"])
    if built.returncode:
        pytest.skip(f"Kafka's image can be neither pulled nor built here: {built.stderr.strip()[-300:]}")
    with opened(tmp_path_factory.mktemp("kafka"), docker | {"KAFKA_PORT": "9093"}) as project:
        project.run("make", "secrets")
        project.compose("up", "--detach", "topics")
        project.wait_until_well()
        yield project


def test_both_topics_are_there_and_a_second_run_of_their_service_changes_nothing(kafka):
    with KafkaAdminClient(bootstrap_servers=HOST) as admin:
        for is_second in (False, True):
            if is_second:
                kafka.compose("run", "--rm", "topics")
            there = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
            assert {"incidents.v1": 4, "incidents.v1.dlq": 1}.items() <= there.items()
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in ("incidents.v1", "incidents.v1.dlq")]
        configs = admin.describe_configs(asked, config_filter="all")["topic"]
    assert {config["retention.ms"]["value"] for config in configs.values()} == {str(7 * 86_400_000)}


@pytest.mark.nightly
def test_what_was_acknowledged_is_there_after_a_kill(kafka):
    producer = KafkaProducer(bootstrap_servers=HOST, acks="all")
    for number in range(100):
        producer.send("incidents.v1", json.dumps(number).encode()).get(timeout=30)
    producer.close()
    before = kafka.restarts("kafka")
    kafka.kill("kafka")
    wait(lambda: kafka.restarts("kafka") > before, 60, kafka.containers)
    kafka.wait_until_well()
    consumer = KafkaConsumer(
        "incidents.v1", bootstrap_servers=HOST, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )
    assert sorted(json.loads(message.value) for message in consumer) == list(range(100))
    consumer.close()


@pytest.mark.nightly
def test_a_broker_that_hangs_is_not_healthy_though_its_port_is_open(kafka):
    kafka.compose("exec", "-T", "kafka", "sh", "-c", "kill -STOP -1")
    try:
        kafka.compose("exec", "-T", "kafka", "nc", "-z", "127.0.0.1", "19092")
        wait(lambda: "kafka" in kafka.unhappy(), 120, lambda: kafka.containers()["kafka"]["State"])
    finally:
        kafka.compose("exec", "-T", "kafka", "sh", "-c", "kill -CONT -1")
    kafka.wait_until_well()


def test_its_log_is_the_containers_alone_and_so_has_an_end(kafka):
    assert 1 < len(kafka.compose("logs", "kafka").splitlines()) < 200, "it would drown what the others say"
    assert kafka.compose("exec", "kafka", "find", "/tmp", "-name", "*.log*") == ""  # noqa: S108


def test_no_more_than_its_ports_can_be_reached_from_the_host(kafka):
    listening = subprocess.run(["ss", "-Htln"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    own = {line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(":9093")}
    assert own == {"127.0.0.1:9093"}
