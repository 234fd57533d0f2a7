import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from schemas.errors import BrokerError, SettingsError
from streaming.rehearse.broker import free_port, start_broker
from streaming.topics.kafka import KafkaConnection, ensure_topics, topic_days

ROOT = Path(__file__).parents[2]
HOLDER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
from streaming.rehearse.broker import start_broker
with start_broker(Path(sys.argv[1]), cache=Path(sys.argv[2]), port=0):
    print("up", flush=True)
    sys.stdin.read()
"""


def processes_of(folder):
    """Processes whose command line names the folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ()) and process.pid != os.getpid()
    ]


@pytest.mark.fault("F07")
def test_it_answers_keeps_its_topics_over_a_kill_and_leaves_no_process(tmp_path, jar_cache, formatted):
    topics = {"incidents.v1": 4, "incidents.v1.dlq": 1}
    killed = start_broker(formatted(tmp_path), cache=jar_cache, port=0)
    ensure_topics(KafkaConnection(killed.bootstrap), topics)
    os.kill(killed.pid, signal.SIGKILL)
    killed.process.wait()

    with start_broker(tmp_path, cache=jar_cache, port=0) as broker:
        assert broker.pid != killed.pid
        ensure_topics(KafkaConnection(broker.bootstrap), topics)
        with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
            described = admin.describe_topics(list(topics))
        assert {topic["name"]: len(topic["partitions"]) for topic in described} == topics
        assert [process.pid for process in processes_of(tmp_path)] == [broker.pid]
    assert processes_of(tmp_path) == []


def test_it_says_for_how_long_it_keeps_a_topic(broker):
    kafka, kept = KafkaConnection(broker.bootstrap), {"kept-week": {"retention.ms": "604800000"},
                                                      "kept-for-ever": {"retention.ms": "-1"},
                                                      "kept-newest": {"cleanup.policy": "compact"}}  # fmt: skip
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.create_topics({name: {"num_partitions": 1, "configs": configs} for name, configs in kept.items()})
        admin.wait_for_topics(list(kept))
    days = topic_days(kafka, [*kept, "absent"])
    assert days == {"kept-week": 7, "kept-for-ever": math.inf, "kept-newest": math.inf}


def test_a_second_start_in_its_folder_is_refused_and_leaves_it_alone(broker, jar_cache):
    with pytest.raises(BrokerError, match=f"port {broker.port} .*another port by RISK_KAFKA_BOOTSTRAP"):
        start_broker(broker.folder, cache=jar_cache, port=broker.port)
    with pytest.raises(BrokerError, match=f"another broker runs in {broker.folder}"):
        start_broker(broker.folder, cache=jar_cache, port=0)
    assert broker.fault() is None


def test_the_command_makes_the_topics_and_runs_until_it_is_told_to_stop(tmp_path, jar_cache, formatted):
    folder, port = formatted(tmp_path), free_port()
    environment = {**os.environ, "RISK_KAFKA_BOOTSTRAP": f"localhost:{port}", "RISK_CACHE": str(jar_cache)}
    command = [sys.executable, "-m", "incident_risk", "broker", "--folder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline(), process.stdout.readline()]
        assert f"Kafka runs at 127.0.0.1:{port}" in said[1], said
        with KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}") as admin:
            assert {"incidents.v1", "incidents.v1.dlq", "feedback.v1"} <= set(admin.list_topics())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert processes_of(folder) == []


def test_a_missing_java_is_named_with_the_package(tmp_path, jar_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SettingsError, match="openjdk-17-jre-headless"):
        start_broker(tmp_path, cache=jar_cache, port=0)


def test_a_broker_that_cannot_start_says_what_its_log_says(tmp_path, jar_cache):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    with pytest.raises(BrokerError, match=r"(?s)exit code 1 .*node"):
        start_broker(tmp_path, cache=jar_cache, port=0)
    assert processes_of(tmp_path) == []


def once_it_runs(holder, folder):
    assert holder.stdout.readline() == b"up\n"
    (kafka,) = [process.pid for process in processes_of(folder) if process.pid != holder.pid]
    assert os.getpgid(kafka) != os.getpgid(holder.pid)  # so the terminal's Ctrl-C passes it by


def while_it_starts(holder, folder):
    deadline = time.monotonic() + 30
    while len(processes_of(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)  # the call that began Java has returned; Kafka itself starts for seconds


@pytest.mark.parametrize("wait", [once_it_runs, while_it_starts])
def test_ctrl_c_reaches_the_holder_only_and_the_holder_stops_the_broker(tmp_path, jar_cache, formatted, wait):
    command = [sys.executable, "-c", HOLDER, str(formatted(tmp_path)), str(jar_cache.expanduser())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, process_group=0, **pipes) as holder:
        wait(holder, tmp_path)
        os.killpg(holder.pid, signal.SIGINT)
        assert holder.wait(timeout=30) != 0
    assert processes_of(tmp_path) == []


def test_messages_stamped_years_back_and_ahead_are_kept(broker):
    ensure_topics(KafkaConnection(broker.bootstrap), {"stamps": 1})
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for stamp_ms in (86_400_000, 4_070_908_800_000):
            assert producer.send("stamps", value=b"x", timestamp_ms=stamp_ms).get(timeout=20).timestamp == stamp_ms


def test_topics_on_a_broker_that_is_not_there_are_an_error_with_its_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(BrokerError, match=address):
        ensure_topics(KafkaConnection(address), {"incidents.v1": 1})
