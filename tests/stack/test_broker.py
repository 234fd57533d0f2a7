import fcntl
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

import streaming.rehearse.broker
from schemas.errors import BrokerError
from streaming.rehearse.broker import running_broker, start_broker, stop_broker
from streaming.topics.admin import ensure_topics
from streaming.topics.client import KafkaConnection

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
def test_it_answers_keeps_its_topics_over_a_kill_and_leaves_no_process(tmp_path, jar_cache):
    topics = {"incidents.v1": 4, "incidents.v1.dlq": 1}
    killed = start_broker(tmp_path, cache=jar_cache, port=0)
    ensure_topics(KafkaConnection(killed.bootstrap), topics)
    os.kill(killed.pid, signal.SIGKILL)
    killed.process.wait()
    assert running_broker(tmp_path) is None
    assert stop_broker(tmp_path) is False

    with start_broker(tmp_path, cache=jar_cache, port=0) as broker:
        assert broker.pid != killed.pid
        ensure_topics(KafkaConnection(broker.bootstrap), topics)
        with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
            described = admin.describe_topics(list(topics))
        assert {topic["name"]: len(topic["partitions"]) for topic in described} == topics
        assert [process.pid for process in processes_of(tmp_path)] == [broker.pid]
    assert processes_of(tmp_path) == []
    assert running_broker(tmp_path) is None


def test_a_second_start_finds_the_first_and_does_not_stop_it(broker, jar_cache):
    with start_broker(broker.folder, cache=jar_cache, port=broker.port) as found:
        assert (found.pid, found.port, found.already_ran) == (broker.pid, broker.port, True)
    assert running_broker(broker.folder).pid == broker.pid
    with pytest.raises(BrokerError, match=f"already runs, on port {broker.port}"):
        start_broker(broker.folder, cache=jar_cache, port=broker.port + 1)


def test_a_taken_port_is_named_with_the_remedy(tmp_path, jar_cache):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} .*--port"):
            start_broker(tmp_path, cache=jar_cache, port=port)
    assert processes_of(tmp_path) == []


def test_a_missing_java_is_named_with_the_package(tmp_path, jar_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="openjdk-17-jre-headless"):
        start_broker(tmp_path, cache=jar_cache, port=0)


def test_a_broker_that_cannot_start_says_what_its_log_says(tmp_path, jar_cache):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    with pytest.raises(BrokerError, match=r"(?s)exit code 1 .*node"):
        start_broker(tmp_path, cache=jar_cache, port=0)
    assert processes_of(tmp_path) == []
    assert running_broker(tmp_path) is None


def test_ctrl_c_reaches_the_holder_only_and_the_holder_stops_the_broker(tmp_path, jar_cache, formatted):
    formatted(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(jar_cache.expanduser())]
    holder = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )
    with holder:
        assert holder.stdout.readline() == b"up\n"
        broker = running_broker(tmp_path)
        assert os.getpgid(broker.pid) != os.getpgid(holder.pid)  # so the terminal's Ctrl-C passes it by
        os.killpg(holder.pid, signal.SIGINT)
        assert holder.wait(timeout=30) != 0
    assert running_broker(tmp_path) is None
    assert processes_of(tmp_path) == []


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path, jar_cache, formatted):
    formatted(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(jar_cache.expanduser())]
    holder = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    with holder:
        deadline = time.monotonic() + 30
        lock = tmp_path / "broker.lock"
        while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:  # written once Java runs
            time.sleep(0.02)
        os.killpg(holder.pid, signal.SIGINT)
        assert holder.wait(timeout=30) != 0
    assert processes_of(tmp_path) == []


def test_an_interrupt_before_the_process_is_known_leaves_nothing(tmp_path, jar_cache, monkeypatch, formatted):
    formatted(tmp_path)
    launch, launched = streaming.rehearse.broker._launch, []

    def interrupted(*words):
        launched.append(launch(*words))
        raise KeyboardInterrupt

    monkeypatch.setattr(streaming.rehearse.broker, "_launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_broker(tmp_path, cache=jar_cache, port=0)
    assert launched[0].wait(timeout=30) != 0
    assert processes_of(tmp_path) == []


def test_a_broker_of_another_version_is_named_and_not_touched(tmp_path):
    lock = tmp_path / "broker.lock"
    lock.write_text('{"pid":123,"port":9092}')
    with lock.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(BrokerError, match='"pid":123'):
            stop_broker(tmp_path)


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
