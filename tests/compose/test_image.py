"""What the Dockerfile relies on, and the variables of Kafka's image on a real broker."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pyspark
import pytest
import typer
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from incident_risk import app
from streaming.jars import KAFKA_VERSION, java, kafka_class_path, listed_jars
from streaming.rehearse.broker import free_port
from tests.harness.compose_file import OUR_SERVICES, ROOT, SERVICES, arguments, variables
from tests.harness.processes import run, run_python

DOCKERFILE = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_copied_is_here_and_part_of_the_build_context_and_the_image_does_not_run_as_root():
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {Path(path).parts[0] for path in copied} == allowed
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_a_command_exists_and_takes_its_arguments(name):
    program, *words = arguments(SERVICES[name])
    if program == "/opt/compose_demo.py":
        assert words in (["artifact"], ["replay"])
        return
    if program == "generator":  # of Grafana's pages: it takes a folder
        assert len(words) == 1
        return
    assert program == "incident_risk"
    command = typer.main.get_command(app).commands[words[0]]
    command.make_context(words[0], words[1:])


def test_the_cpu_image_takes_all_pins_but_those_of_torch_and_cuda():
    (program,) = re.findall(r"awk '(.*?)'", DOCKERFILE)
    pins = ROOT / "constraints-hashes.txt"
    entries = re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", pins.read_text(), re.MULTILINE | re.DOTALL)
    gone = [entry for entry in entries if re.match(r"torch==|triton==|nvidia-|cuda-", entry)]
    assert {"torch", "triton"} < {entry.partition("==")[0] for entry in gone}
    left = re.sub(r"^#.*\n", "", run("/usr/bin/awk", program, pins).stdout, flags=re.MULTILINE)
    assert left == "".join(entry for entry in entries if entry not in gone)
    for expression in re.findall(r"sed -n '(.*?)' constraints-hashes\.txt", DOCKERFILE):
        found = run("/bin/sed", "-n", expression, pins).stdout  # one version of torch, or of uv
        assert len(re.findall(r"^(?:uv|torch)==[\d.]+", found, re.MULTILINE)) == 1


def test_what_the_stage_of_jars_copies_is_all_that_it_imports(tmp_path):
    stage = re.search(r"^FROM packages AS jars$(.*?)^FROM", DOCKERFILE, re.MULTILINE | re.DOTALL)[1]
    for line in re.findall(r"^COPY (.*)$", stage, re.MULTILINE):
        *sources, target = line.split()
        for source in sources if target.endswith("/") else ():
            (tmp_path / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / target)
    (module,) = re.findall(r"RUN python -m (\S+) /opt/jars connector", stage)
    alone = "import os, sys; sys.path = [path for path in sys.path if not os.path.exists(path + '/pyproject.toml')]"
    ran = run_python("-c", f"{alone}; import {module}", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_a_jar_that_pyspark_has_is_not_fetched_again_and_the_rest_fits_its_versions():
    own = {path.name for path in Path(pyspark.__file__).with_name("jars").glob("*.jar")}
    stores = {place.rpartition("/")[2] for place in listed_jars(["connector", "object-store"])}
    assert not stores & own
    (hadoop,) = (name.removeprefix("hadoop-client-api-") for name in own if name.startswith("hadoop-client-api-"))
    assert {f"hadoop-aws-{hadoop}", "spark-sql-kafka-0-10_2.13-4.2.0.jar"} <= stores
    assert f"org/apache/kafka/kafka_2.13/{KAFKA_VERSION}/kafka_2.13-{KAFKA_VERSION}.jar" in listed_jars(["broker"])


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


def is_open(port):
    """What the health check of compose.yaml asks."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
        deadline = time.monotonic() + 120
        while not is_open(ports[9092]):
            assert broker.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        with KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{ports[9092]}") as admin:
            resources = [ConfigResource(ConfigResourceType.BROKER, "1")]
            in_force = admin.describe_configs(resources, config_filter="all")["broker"]["1"]
    finally:
        broker.terminate()
        broker.wait(60)
    assert {
        name: in_force.get(name, {}).get("value") for name in asked
    } == asked  # a name that Kafka does not know has no value
