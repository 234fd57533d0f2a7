"""The whole job as an operator starts it: a real broker, a process of its own, scores in a file.

First a story that is read to its end, then what ends the job: told in one line, with an exit code of its own.
"""

import base64
import json
import os
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource

from schemas.audit import records, verify
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import free_port, start_broker
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.faults.stores import START, Sent, events
from tests.faults.witness import newest
from tests.harness.points import scraped
from tests.harness.scorer import LEDGER, Topic, delete_up_to, make_anew
from tests.harness.toy import iso

PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY = "zebrafinch7731", "quokka4419", "numbat8087"
GOOD = 240
TROUBLE = ("Traceback", "StackOverflow", "Exception", "Py4J", "at org.apache", "WARN", "ERROR")


def health_command(scorer):
    """(exit code, lines) of `health`, as a container's health check calls it."""
    ran = scorer.command("health")
    return ran.returncode, ran.stdout.splitlines()


class Story:
    """One run: good events with every kind of bad message between them, read to the end, then stopped."""

    def __init__(self, scorer, region, topic):
        self.scorer, self.region = scorer, region
        folder = region.publish(scorer.artifacts)
        self.version = folder.name
        poisons = poison_messages(template_event(region.spec, as_of_s=START + 600))
        bad = [(poison.reason, poison.value) for poison in poisons]
        bad += self._bad_with_canaries()
        self.kinds = len(bad)
        good = [(None, self._good(number)) for number in range(GOOD)]
        mixed = [message for pair in zip_longest(good, bad) for message in pair if message is not None]
        self.refused = {}
        address = f"127.0.0.1:{free_port()}"
        scorer.environment |= {"INFLUXDB_V2_TOKEN": SECRET_CANARY, "RISK_METRICS": address}
        scorer.start()
        sent = 0
        for part in (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]):  # the second comes while the job runs
            places = topic.send((number % 3, value, (START + 600) * 1000) for number, (_, value) in enumerate(part))
            self.refused |= {place: reason for place, (reason, _) in zip(places, part, strict=True) if reason}
            sent += len(part)
            scorer.wait_until(lambda so_far=sent: scorer.consumed() == so_far)
        self.ends = dict(sorted((partition, offset + 1) for partition, offset in places[-3:]))
        self.second_start = scorer.command("run")
        self.health_while_it_ran = health_command(scorer)
        self.metrics, self.figures = scraped(address)
        self.code = scorer.end(signal.SIGTERM)
        self.letters = scorer.letters()
        self.health_afterwards = health_command(scorer)

    def _good(self, number):
        return self.region.event(
            number,
            cell=number % 36,
            at_s=START + 600 - number,
            incident_id=f"{PAYLOAD_CANARY}-{number}",
            type_code=PAYLOAD_CANARY,
        )

    def _bad_with_canaries(self):
        good = self._good(0)
        return [
            ("not_json", good[:-1]),
            ("unknown_field", json.dumps({**json.loads(good), "weather": PAYLOAD_CANARY}).encode()),
            ("unknown_category", json.dumps({**json.loads(good), "category": PAYLOAD_CANARY}).encode()),
            ("schema", json.dumps({**json.loads(good), "status": PAYLOAD_CANARY}).encode()),
            ("schema", json.dumps({**json.loads(good), "lat": f'{PAYLOAD_CANARY} "quoted"'}).encode()),
            ("person_field", json.dumps({**json.loads(good), "caller_name": PERSON_CANARY}).encode()),
            ("person_field", json.dumps({**json.loads(good), "unit": {"driver": PERSON_CANARY}}).encode()),
            ("person_field", b'{"narrative": "' + PERSON_CANARY.encode()),
        ]


@pytest.fixture(scope="module")
def story(new_topic, new_region, new_scorer):
    topic = new_topic("poisoned", partitions=3)
    return Story(new_scorer("poisoned", topic), new_region("riverton"), topic)


@pytest.mark.fault("F11", "F12", "F19")
def test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place(story):
    assert story.kinds >= 80
    assert len(story.refused) == story.kinds
    reasons = {
        (letter["source_partition"], letter["source_offset"]): letter["reason"]
        for letter in story.letters
        if letter["source_topic"] == story.scorer.topic.name
    }
    assert reasons == story.refused
    assert len(story.letters) == story.kinds  # nothing was repeated, as nothing failed


def test_prometheus_gets_the_ledger_by_outcome_and_by_reason(story):
    figures, totals = story.figures, story.scorer.totals()
    assert figures["ready",] == 1
    assert figures["unaccounted_events",] == 0
    for region, ledger in totals.items():
        for outcome in LEDGER:
            assert figures.get(("events_total", region, outcome), 0) == ledger[outcome], (region, outcome)
    reasons = Counter(story.refused.values())
    assert {
        reason: sum(figures.get(("rejected_total", region, reason), 0) for region in totals) for reason in reasons
    } == reasons
    assert figures["model_info", "riverton", story.version] == 1
    assert figures["spark_phase_seconds", "addBatch"] > 0
    assert not [canary for canary in (PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY) if canary in story.metrics]


@pytest.mark.fault("F11")
def test_neighbours_of_bad_messages_are_counted(story):
    totals = story.scorer.totals()
    assert totals["riverton"]["counted"] == GOOD
    assert totals["riverton"]["rejected"] + totals["_unassigned"]["rejected"] == story.kinds
    assert totals["riverton"]["consumed"] + totals["_unassigned"]["consumed"] == GOOD + story.kinds


@pytest.mark.fault("F02")
def test_sigterm_ends_the_job_with_exit_code_0_one_line_and_no_trace(story):
    assert story.code == 0
    assert "stopped between two batches" in story.scorer.output
    assert not [word for word in TROUBLE if word in story.scorer.output]


def test_the_health_check_says_ready_while_it_runs_and_stopped_afterwards(story):
    code, lines = story.health_while_it_ran
    assert (code, lines[0]) == (0, "ready"), lines
    assert f"process {story.scorer.process.pid}, " in lines[1]
    assert {"ledger balanced", "Kafka's offsets and the ledger agree", "Kafka answers"} <= set(lines)
    assert any(line.startswith("scores of riverton as of 2023-11-14 22:2") for line in lines)
    code, lines = story.health_afterwards
    assert (code, lines[0]) == (1, "not ready: stopped")


def test_the_audit_log_tells_the_run_from_start_to_stop(story):
    content = (story.scorer.folder / "audit.jsonl").read_bytes()
    verdict = verify(content)
    assert (verdict.faults, verdict.torn) == ([], [])
    entries = list(records(content))
    assert [entry.event for entry in entries] == ["start", "settings", "artifact_in_force", "stop"]
    assert entries[2].details["version"] == story.version
    assert entries[3].details["between_batches"] is True
    assert f"head={verdict.head}\n" in story.scorer.output


@pytest.mark.fault("F43")
def test_payloads_and_secrets_are_in_no_output_and_person_payloads_nowhere(story):
    folder, checkpoint = story.scorer.folder, story.scorer.checkpoint
    outputs = [folder / "scores.lp", folder / "terminal.txt", checkpoint / "spark.log", folder / "audit.jsonl"]
    for path in outputs:
        content = path.read_bytes()
        for canary in (PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY):
            assert canary.encode() not in content, path
    payloads = [base64.b64decode(letter["payload_base64"] or "") for letter in story.letters]
    assert any(PAYLOAD_CANARY.encode() in payload for payload in payloads)
    assert not any(PERSON_CANARY.encode() in payload for payload in payloads)
    assert not any(
        PERSON_CANARY in json.dumps(letter) or PAYLOAD_CANARY in letter["detail"] for letter in story.letters
    )
    for path in (path for path in story.scorer.checkpoint.rglob("*") if path.is_file()):
        assert not [canary for canary in (PERSON_CANARY, SECRET_CANARY) if canary.encode() in path.read_bytes()], path


def checkpoint_command(scorer, *words):
    ran = scorer.command("checkpoint", *words)
    assert ran.returncode == 0, ran.stderr
    return " ".join(ran.stdout.split())


@pytest.mark.fault("F08", "F09", "F31", "F32")
def test_a_checkpoint_is_for_one_job_one_topic_and_its_settings(story):
    """The last test of the story: its job goes on, and its topic is made anew."""
    scorer, topic, end, more = story.scorer, story.scorer.topic, story.ends[0], 10
    assert (story.second_start.returncode, f"in use by process {scorer.process.pid}" in story.second_start.stderr) == (
        8,
        True,
    )
    stored = scorer.points()
    shown = checkpoint_command(scorer)
    assert f"topic {topic.name}" in shown
    assert f"offset by partition {', '.join(f'{partition}: {end}' for partition, end in story.ends.items())}" in shown

    scorer.assert_refused(8, "RISK_CLOCK was event and is wall", RISK_CLOCK="wall")

    folder = scorer.checkpoint / "spark" / "offsets"
    offsets = folder / str(newest(folder))
    content = offsets.read_bytes()
    offsets.write_bytes(b"")
    scorer.assert_refused(8, "checkpoint --reset")
    offsets.write_bytes(content)

    times_s = [START + 1200 + 60 * number for number in range(more)]
    topic.send(
        (0, story.region.event(GOOD + number, cell=number, at_s=at_s), 1000 * at_s)
        for number, at_s in enumerate(times_s)
    )
    delete_up_to(topic, end + 4)
    scorer.assert_refused(9, f"4 of partition 0 (offsets {end} to {end + 3})")
    assert scorer.points() == stored, "a refused start wrote something"

    assert "the next run starts at" in checkpoint_command(scorer, "--reset", iso(times_s[7]))
    scorer.start()
    scorer.wait_until(lambda: scorer.totals()["riverton"]["consumed"] == more - 7)
    assert scorer.end(signal.SIGTERM) == 0

    make_anew(topic)
    scorer.assert_refused(8, "deleted and created again")


RUBBISH = b"x" * 8_000
FLOOD, CALLS = 150_000, 20  # 1.2 GB; spark.driver.maxResultSize is 1 GiB


@pytest.mark.fault("F13")
@pytest.mark.nightly
def test_a_batch_of_rubbish_larger_than_sparks_limit_is_refused_and_its_neighbours_counted(
    new_scorer, new_topic, new_region
):
    topic, region = new_topic("flood"), new_region("riverton")
    good = [(0, region.event(n, cell=n, at_s=START + 60 * n), 1000 * (START + 60 * n)) for n in range(CALLS)]
    topic.send(good[: CALLS // 2])
    options = {"compression_type": "gzip", "batch_size": 900_000, "linger_ms": 50, "max_request_size": 1 << 20}
    with KafkaProducer(bootstrap_servers=topic.bootstrap, **options) as producer:
        for _ in range(FLOOD):
            producer.send(topic.name, value=RUBBISH, partition=0, timestamp_ms=1000 * START)
        producer.flush(timeout=200)
    topic.send(good[CALLS // 2 :])
    scorer = new_scorer("flood", topic)
    region.publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == FLOOD + CALLS)
    driver_bytes = psutil.Process(scorer.process.pid).memory_info().rss
    assert scorer.end(signal.SIGTERM) == 0
    totals = scorer.totals()
    assert totals["riverton"]["counted"] == CALLS
    assert sum(ledger["rejected"] for ledger in totals.values()) == FLOOD
    assert driver_bytes < 2 << 30


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
