"""The broker that `risk broker` starts, and what passes through a real one: dead letters, which wait while it is away,
marks, which are kept once, and replayed files.
"""

import gc
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove
from typer.testing import CliRunner

from incident_risk import app
from schemas.errors import BrokerError, BrokerUnavailable, SettingsError
from schemas.incidents import Rejection
from streaming.kafka import DeadLetters, KafkaConnection, ensure_topics, topic_days
from streaming.marks import GROUP
from streaming.rehearse.broker import free_port, start_broker
from streaming.settings import Settings
from tests.harness.points import stored_points
from tests.harness.scorer import Topic
from tests.harness.toy import toy_artifact, toy_spec

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


def test_it_says_for_how_long_it_keeps_a_topic(broker):
    configs_of = {
        "kept-week": {"retention.ms": "604800000"},
        "kept-for-ever": {"retention.ms": "-1"},
        "kept-newest": {"cleanup.policy": "compact"},
    }
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.create_topics({name: {"num_partitions": 1, "configs": configs} for name, configs in configs_of.items()})
        admin.wait_for_topics(list(configs_of))
    days = topic_days(KafkaConnection(broker.bootstrap), [*configs_of, "absent"])
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
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert f"Kafka runs at 127.0.0.1:{port}" in lines[1], lines
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


# kafka-python leaves the sockets of refused connections to the garbage collector
sockets_are_left = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def collected(caplog):
    """What a test leaves to the garbage collector is collected while its filter of warnings holds."""
    caplog.set_level(logging.CRITICAL, logger="kafka")  # what pytest keeps of its lines would keep its sockets open
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.1)  # a producer that was closed before its time ends its threads a little later
    gc.collect()


@dataclass
class Clock:
    s: float = 1000.0

    def __call__(self):
        return self.s


def refused(offset):
    return {"riverton": [Rejection("schema", "", 0, offset, 1_700_000_000_000, b"{}")]}


@pytest.mark.fault("F07")
@sockets_are_left
def test_a_killed_broker_keeps_its_topics_and_takes_the_dead_letters_that_came_meanwhile(
    new_topic, jar_cache, tmp_path, formatted, collected
):
    clock, folder, topics = Clock(), formatted(tmp_path / "broker"), {"events": 4, "letters": 1}
    killed = start_broker(folder, cache=jar_cache, port=0)
    ensure_topics(KafkaConnection(killed.bootstrap), topics)
    settings = Settings(
        kafka_bootstrap=killed.bootstrap,
        topic="events",
        dead_letter_topic="letters",
        write_timeout_s=4,
        kafka_timeout_s=60,
        checkpoint=tmp_path,
    )
    letters = DeadLetters(settings, clock)
    letters.write(refused(1))
    os.kill(killed.pid, signal.SIGKILL)
    killed.process.wait()
    for seconds in (0, 59):
        clock.s = 1000.0 + seconds
        with pytest.raises(BrokerUnavailable, match="did not store 1 dead letters in topic letters"):
            letters.write(refused(2))
    clock.s += 1
    with pytest.raises(BrokerError) as ended:
        letters.write(refused(2))
    assert not isinstance(ended.value, BrokerUnavailable), "it would be tried for ever"
    with start_broker(folder, cache=jar_cache, port=killed.port) as broker:
        assert broker.pid != killed.pid
        ensure_topics(KafkaConnection(broker.bootstrap), topics)
        with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
            described = admin.describe_topics(list(topics))
        assert {topic["name"]: len(topic["partitions"]) for topic in described} == topics
        assert [process.pid for process in processes_of(folder)] == [broker.pid]
        letters.write(refused(2))
        letters.write(refused(3))
        written = replace(new_topic("not_this"), bootstrap=broker.bootstrap, name="letters").read()
        assert [json.loads(value)["source_offset"] for value in written] == [1, 2, 3]
        broker.stop()
        clock.s += 1000
        with pytest.raises(BrokerUnavailable):  # the broker was there in between: its time begins anew
            letters.write(refused(4))
        letters.close()
    assert processes_of(folder) == []


@sockets_are_left
def test_a_topic_of_dead_letters_that_is_gone_is_named(jar_cache, tmp_path, new_topic, collected):
    topic = new_topic("letters_gone")
    settings = Settings(
        kafka_bootstrap=topic.bootstrap, dead_letter_topic="no.such.topic", write_timeout_s=2, checkpoint=tmp_path
    )
    with pytest.raises(BrokerError, match=r"topic no\.such\.topic .* create the topic"):
        DeadLetters(settings).write(refused(1))
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        assert "no.such.topic" not in admin.list_topics()


@pytest.fixture
def feedback(broker, new_topic, tmp_path, commands):
    """feedback("send", ...): how the command ended."""
    topic, letters = new_topic(f"{tmp_path.name}.marks"), new_topic(f"{tmp_path.name}.refused")
    toy_artifact(tmp_path / "artifacts", toy_spec())
    environment = os.environ | {
        "RISK_KAFKA_BOOTSTRAP": broker.bootstrap,
        "RISK_FEEDBACK_TOPIC": topic.name,
        "RISK_DEAD_LETTER_TOPIC": letters.name,
        "RISK_ARTIFACTS": str(tmp_path / "artifacts"),
        "RISK_SINK": f"file:{tmp_path / 'store' / 'marks.lp'}",
    }

    def run(*words, wait=True):
        if wait:
            ran = commands.run("incident_risk", "feedback", *words, env=environment, timeout=120)
            return ran.returncode, ran.stdout, ran.stderr
        with (tmp_path / "output").open("wb") as output:
            return commands.popen("incident_risk", "feedback", *words, env=environment, out=(output, output))

    run.topic, run.letters, run.store = topic, letters, tmp_path / "store"
    return run


def send_mark(feedback, cell, **changes):
    options = {"region": "toyville", "cell": cell, "mark": "useful", "desk": "north", "at": "2026-01-01T00:00:00Z"}
    words = [word for name, value in (options | changes).items() for word in (f"--{name}", value)]
    return feedback("send", *words)


def marks(feedback):
    path = feedback.store / "marks.lp"
    return stored_points([path.read_bytes()]) if path.exists() else {}


def test_marks_are_kept_once_and_refusals_go_to_the_dead_letters(feedback, broker):
    assert send_mark(feedback, "r000c001")[0] == 0
    assert send_mark(feedback, "r000c001", mark="great")[0] == 3
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        producer.send(feedback.topic.name, value=b'{"officer_name":"x"}').get(10)
    code, output, error = feedback("store", "--once")
    assert (code, output) == (0, "1 marks kept, 1 refused\n"), error
    assert len(marks(feedback)) == 1
    assert feedback("store", "--once")[1] == "0 marks kept, 0 refused\n"


def remove_members(broker):
    """The group without the dead process, which Kafka would remove 45 s after its last heartbeat."""
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        members = admin.describe_groups([GROUP])[GROUP]["members"]
        assert len(members) == 1
        admin.remove_group_members(GROUP, [MemberToRemove(member["member_id"]) for member in members])


def test_a_process_that_is_killed_before_its_store_answered_loses_nothing(feedback, broker):
    feedback.store.mkdir()
    blocked = feedback.store / "marks.lp"
    blocked.mkdir()  # the store refuses: a folder stands where its file must be
    for cell in ("r000c000", "r000c001"):
        assert send_mark(feedback, cell)[0] == 0
    assert feedback("store", "--once")[0] != 0
    blocked.rmdir()
    process = feedback("store", wait=False)
    deadline = time.monotonic() + 60
    while len(marks(feedback)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert len(marks(feedback)) == 2
    remove_members(broker)
    assert feedback("store", "--once")[0] == 0
    assert len(marks(feedback)) == 2


CALLS = "lat,lng,title,timeStamp\n" + "".join(
    f"40.1{minute:02d},-75.3,{'EMS: FALL' if minute % 2 else 'Fire: ALARM'},2016-01-23 12:{minute:02d}:00\n"
    for minute in range(60)
)
ALL_OF_IT = ("--layout", "montgomery", "--region", "county", "--speed", "0")


def replay(topic, *words):
    environment = {"RISK_KAFKA_BOOTSTRAP": topic[0], "RISK_TOPIC": topic[1], "RISK_AUDIT": ""}
    return CliRunner().invoke(app, ["replay", *map(str, words)], env=environment, catch_exceptions=False)


def test_a_replayed_file_arrives_with_its_keys_times_and_mix(tmp_path, broker):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    ensure_topics(KafkaConnection(broker.bootstrap), {"replayed": 4})

    ran = replay((broker.bootstrap, "replayed"), path, *ALL_OF_IT, "--mixed")

    assert ran.exit_code == 0
    output = " ".join(ran.output.split())
    assert "sent 68 messages" in output
    assert "60 incidents, 4 duplicates, 2 corrections, 2 bad" in output
    records = Topic(broker.bootstrap, "replayed", 4).records()
    assert len(records) == 68
    incidents = [record for record in records if record.key.startswith(b"montgomery-")]
    assert {record.key for record in incidents} == {b"montgomery-%07d" % row for row in range(1, 61)}
    for record in incidents:
        assert record.key.decode() == json.loads(record.value)["incident_id"]
        assert record.timestamp_type == 0  # the producer's time, not the broker's


def test_a_replay_into_a_topic_that_is_missing_names_it(tmp_path, broker):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    with pytest.raises(BrokerError, match="no topic nowhere"):
        replay((broker.bootstrap, "nowhere"), path, *ALL_OF_IT)
