"""What ends the job is told in one line, with an exit code of its own. What a start refuses: test_pipeline.py."""

import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import replace

import psutil
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import start_broker
from tests.faults.stores import START, Sent, events
from tests.harness.scorer import Topic, delete_up_to, make_anew

SECRET_CANARY = "numbat8087"


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # taken, but nobody listens


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def topic(new_topic):
    return new_topic("failures", partitions=2)


@pytest.fixture
def started(new_scorer, new_region, topic):
    """started(name, **settings): a job with one region that was just started."""

    def start(name, **settings):
        scorer = new_scorer(name, topic, **settings)
        new_region("riverton").publish(scorer.artifacts)
        scorer.start()
        return scorer

    return start


def health(scorer):
    return json.loads((scorer.checkpoint / "health.json").read_bytes())


def test_an_empty_folder_of_artifacts(new_scorer, topic):
    scorer = new_scorer("no_artifacts", topic)
    scorer.start()
    scorer.assert_ended(4, "no usable artifact", "risk train")


@pytest.mark.fault("F22")
def test_a_store_that_does_not_listen_is_waited_for(started, closed_port):
    settings = {"RISK_SINK": "influxdb", "INFLUXDB_V2_TOKEN": SECRET_CANARY, "RISK_KAFKA_TIMEOUT_S": "1"}
    scorer = started("no_store", INFLUXDB_V2_URL=f"http://127.0.0.1:{closed_port}", **settings)
    scorer.assert_ended(6, str(closed_port), "INFLUXDB_V2_URL")
    assert SECRET_CANARY not in scorer.output
    assert "Waiting for it for up to 1 s" in " ".join(scorer.output.split())


@pytest.mark.fault("F06")
def test_a_broker_that_does_not_listen(started, closed_port):
    settings = {"RISK_KAFKA_BOOTSTRAP": f"127.0.0.1:{closed_port}", "RISK_KAFKA_TIMEOUT_S": "1"}
    scorer = started("no_broker", **settings)
    scorer.assert_ended(5, str(closed_port), "has not answered for")
    assert "Waiting for it for up to 1 s" in " ".join(scorer.output.split())


def test_a_topic_that_does_not_exist(started):
    scorer = started("no_topic", RISK_TOPIC="nowhere")
    scorer.assert_ended(5, "nowhere")


@pytest.mark.nightly
def test_a_java_process_that_is_killed_and_then_a_checkpoint_of_another_spec(started, new_region):
    scorer = started("another_spec")
    (folder,) = scorer.artifacts.glob("riverton/*")
    scorer.wait_until(lambda: scorer.points())
    next(child for child in scorer.children if child.name() == "java").kill()
    scorer.assert_ended(7, "Java process is gone", "spark.log")

    folder.rename(scorer.folder / "put aside")
    new_region("riverton", categories=("ems",)).publish(scorer.artifacts, created="20260201T000000Z")
    (scorer.folder / "terminal.txt").unlink()
    scorer.start()
    scorer.assert_ended(4, "checkpoint --reset")


def ctrl_c(scorer):
    os.killpg(scorer.process.pid, signal.SIGINT)


def java_first(scorer):
    """As a supervisor may that ends a group one by one."""
    java = next(child for child in scorer.children if child.name() == "java")
    java.send_signal(signal.SIGTERM)
    scorer.wait_until(lambda: not java.is_running() or java.status() == psutil.STATUS_ZOMBIE)
    scorer.process.send_signal(signal.SIGTERM)


@pytest.mark.fault("F02")
@pytest.mark.nightly
@pytest.mark.parametrize("send", [ctrl_c, java_first])
def test_a_signal_to_all_processes_leaves_no_trace(started, send):
    """Java gets the signal too, and often ends first."""
    scorer = started(send.__name__)
    scorer.wait_until(lambda: scorer.points())
    scorer.note_children()
    send(scorer)
    assert scorer.end() == 0, scorer.output
    scorer.assert_no_trace()
    assert "stopping" in scorer.output
    ends = ("stopped between two batches", "stopped; the next start repeats")
    assert sum(map(scorer.output.count, ends)) == 1


def test_a_stop_while_java_starts_is_answered_at_once(started):
    scorer = started("stopped_early")
    scorer.wait_until(lambda: (scorer.checkpoint / "spark.log").exists())  # is opened for Java
    scorer.process.send_signal(signal.SIGTERM)
    scorer.wait_until(lambda: "stopping" in scorer.output)
    assert not (scorer.checkpoint / "spark" / "offsets").exists()
    assert scorer.end() == 0, scorer.output
    scorer.assert_no_trace()


@pytest.mark.fault("F06")
@pytest.mark.nightly
def test_a_broker_that_ends_while_the_job_runs_is_noticed_and_waited_for(
    new_scorer, new_topic, new_region, jar_cache, tmp_path, record_property, stack
):
    with start_broker(tmp_path / "broker", cache=jar_cache, port=0) as broker:
        ensure_topics(KafkaConnection(broker.bootstrap), {"short": 1, "short.dlq": 1})
        port = int(broker.bootstrap.rpartition(":")[2])
        scorer = new_scorer("lost_broker", replace(new_topic("not_this"), bootstrap=broker.bootstrap, name="short"))
        scorer.environment |= {"RISK_KAFKA_BOOTSTRAP": broker.bootstrap, "RISK_DEAD_LETTER_TOPIC": "short.dlq"}
        scorer.dead_letters = Topic(broker.bootstrap, "short.dlq", 1)
        region = new_region("riverton")
        region.publish(scorer.artifacts)
        sent = Sent(scorer)
        stack.enter_context(sent.witness)
        scorer.start()
        sent.send(events(region, range(20), partitions=1))
        sent.wait()
        scorer.wait_until(lambda: health(scorer)["ready"])
        broker.stop()
        scorer.wait_until(lambda: "does not answer, so there are no new" in scorer.output)
        scorer.wait_until(lambda: health(scorer)["reason"] == "Kafka does not answer")
        time.sleep(60)  # Spark asks three times for 20 s each
        scorer.wait_until(lambda: "TimeoutException" in (scorer.checkpoint / "spark.log").read_text(encoding="utf-8"))
        time.sleep(5)  # Spark's query has given up by now; the job has not
    with start_broker(tmp_path / "broker", cache=jar_cache, port=port):
        began = time.monotonic()
        sent.send([(0, b"rubbish", START * 1000), *events(region, range(20, 40), partitions=1)])
        sent.recovers(began, record_property)
        assert "answers again" in " ".join(scorer.output.split())
        scorer.wait_until(lambda: health(scorer)["ready"])
        assert "Spark had no answer from Kafka" in " ".join(scorer.output.split())
        assert "reading continues after the last committed batch" in " ".join(scorer.output.split())
        assert scorer.end(signal.SIGTERM) == 0
        sent.check()
        scorer.assert_no_trace()


@pytest.mark.fault("F19")
@pytest.mark.nightly
def test_a_kafka_timestamp_that_spark_cannot_read_is_named(new_scorer, new_topic, new_region, broker):
    topic = new_topic("far_future")
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.alter_configs([ConfigResource("TOPIC", topic.name, {"message.timestamp.after.max.ms": f"{2**63 - 1}"})])
    scorer, region = new_scorer("far_future", topic), new_region("riverton")
    region.publish(scorer.artifacts)
    topic.send([(0, region.event(1, cell=3, at_s=START + 60), 2**63 - 1)])
    scorer.start()
    scorer.assert_ended(5, "topic far_future partition 0 offset 0", "message.timestamp.after.max.ms")


FIRST, MORE = 40, 10


@pytest.fixture
def counted(new_scorer, new_topic, new_region):
    """counted(name): (topic, region, scorer) of a job that runs and has counted the first events."""

    def start(name):
        topic, region = new_topic(name), new_region("riverton")
        topic.send(events(region, range(FIRST), partitions=1))
        scorer = new_scorer(name, topic)
        region.publish(scorer.artifacts)
        scorer.start()
        scorer.wait_until(lambda: scorer.consumed() == FIRST)
        return topic, region, scorer

    return start


def delete_unread(topic):
    delete_up_to(topic, FIRST + 4)


@pytest.mark.fault("F08", "F09")
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("break_it", "code", "said"),
    [
        (delete_unread, 9, f"4 of partition 0 (offsets {FIRST} to {FIRST + 3})"),
        (make_anew, 8, "deleted and created again"),
    ],
    ids=["deleted events", "another topic"],
)
def test_what_kafka_loses_under_a_running_job_is_told_as_at_a_start(counted, break_it, code, said):
    topic, region, scorer = counted(f"lost{code}")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    topic.send(events(region, range(FIRST, FIRST + MORE), partitions=1))
    break_it(topic)
    os.killpg(scorer.process.pid, signal.SIGCONT)
    scorer.assert_ended(code, said)
    assert scorer.consumed() == FIRST


@pytest.mark.fault("F09")
@pytest.mark.nightly
def test_a_topic_that_was_made_anew_and_grew_past_what_was_read_ends_the_running_job(counted):
    """Spark itself reads on in it without a word: its offsets only ever grow."""
    topic, region, scorer = counted("outgrown")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    make_anew(topic)
    topic.send(events(region, range(1000, 1000 + FIRST + MORE), partitions=1))
    os.killpg(scorer.process.pid, signal.SIGCONT)
    began_s = time.monotonic()
    scorer.assert_ended(8, "deleted and created again")
    assert time.monotonic() - began_s < 45
    scorer.assert_refused(8, "deleted and created again")
