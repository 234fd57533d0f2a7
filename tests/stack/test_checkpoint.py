"""What the checkpoint stands for is kept: a second job, other settings, a gap or another topic are refused."""

import os
import signal
import time
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, TopicPartition

from streaming.topics.admin import ensure_topics
from streaming.topics.client import KafkaConnection
from tests.harness.toy import iso

START = 1_700_000_000
FIRST, MORE = 40, 10


def events(region, numbers):
    """One event a minute, into partition 0."""
    return [
        (0, region.event(number, cell=number % 36, at_s=START + 60 * number), 1000 * (START + 60 * number))
        for number in numbers
    ]


def command(scorer, *words):
    ran = scorer.command(*words)
    assert ran.returncode == 0, ran.stderr
    return " ".join(ran.stdout.split())


def assert_refused(scorer, code, said, **environment):
    """A start ends with this code and says this."""
    ran = scorer.command("run", **environment)
    assert "Traceback" not in ran.stderr
    assert (ran.returncode, said in ran.stderr) == (code, True), ran.stderr


@pytest.fixture
def started(new_scorer, new_topic, new_region):
    """started(name): (topic, region, scorer) of a job that runs and has counted the first events."""

    def start(name):
        topic, region = new_topic(name), new_region("riverton")
        topic.send(events(region, range(FIRST)))
        scorer = new_scorer(name, topic)
        region.publish(scorer.artifacts)
        scorer.start()
        scorer.wait_until(lambda: scorer.consumed() == FIRST)
        return topic, region, scorer

    return start


@pytest.mark.fault("F08", "F09", "F31", "F32")
def test_a_checkpoint_is_for_one_job_one_topic_and_its_settings(started):
    topic, region, scorer = started("guarded")
    assert_refused(scorer, 8, f"in use by process {scorer.process.pid}")
    assert scorer.end(signal.SIGTERM) == 0
    stored = scorer.points()

    shown = command(scorer, "checkpoint")
    assert f"topic {topic.name}" in shown
    assert f"offset by partition 0: {FIRST}" in shown

    assert_refused(scorer, 8, "RISK_CLOCK was event and is wall", RISK_CLOCK="wall")

    with newest_offsets(scorer) as (path, kept):
        changed = kept.replace(f'"0":{FIRST}}}', f'"0":{FIRST + 3}}}')
        assert changed != kept
        path.write_text(changed, encoding="utf-8")  # Kafka lost its last events, seen from here
        lost = f"partition 0 ends before offset {FIRST}, and was read up to offset {FIRST + 2}"
        assert_refused(scorer, 9, lost)

    with newest_offsets(scorer) as (path, _):
        path.write_bytes(b"")
        assert_refused(scorer, 8, "checkpoint --reset")

    topic.send(events(region, range(FIRST, FIRST + MORE)))
    delete_unread(topic)
    assert_refused(scorer, 9, f"4 of partition 0 (offsets {FIRST} to {FIRST + 3})")
    assert scorer.points() == stored, "a refused start wrote something"

    from_ = iso(START + 60 * (FIRST + 7))
    assert "the next run starts at" in command(scorer, "checkpoint", "--reset", from_)
    scorer.start()
    scorer.wait_until(lambda: scorer.totals().get("riverton", {}).get("consumed") == MORE - 7)
    assert scorer.end(signal.SIGTERM) == 0

    make_anew(topic)
    assert_refused(scorer, 8, "deleted and created again")


@contextmanager
def newest_offsets(scorer):
    """(The file, what stood in it); afterwards it is as it was."""
    folder = scorer.checkpoint / "spark" / "offsets"
    newest = max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    kept = newest.read_text(encoding="utf-8")
    yield newest, kept
    newest.write_text(kept, encoding="utf-8")


def make_anew(topic):
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_topics([topic.name])
        deadline = time.monotonic() + 60
        while topic.name in admin.list_topics():
            assert time.monotonic() < deadline, "Kafka does not delete the topic"
            time.sleep(0.2)
    ensure_topics(KafkaConnection(topic.bootstrap), {topic.name: 1})


def delete_unread(topic):
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_records({TopicPartition(topic.name, 0): FIRST + 4})


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
def test_what_kafka_loses_under_a_running_job_is_told_as_at_a_start(started, break_it, code, said):
    topic, region, scorer = started(f"lost{code}")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    topic.send(events(region, range(FIRST, FIRST + MORE)))
    break_it(topic)
    os.killpg(scorer.process.pid, signal.SIGCONT)
    assert scorer.end() == code, scorer.output
    assert said in scorer.output
    assert "Traceback" not in scorer.output
    assert scorer.consumed() == FIRST


@pytest.mark.fault("F09")
@pytest.mark.nightly
def test_a_topic_that_was_made_anew_and_grew_past_what_was_read_ends_the_running_job(started):
    """Spark itself reads on in it without a word: its offsets only ever grow."""
    topic, region, scorer = started("outgrown")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    make_anew(topic)
    topic.send(events(region, range(1000, 1000 + FIRST + MORE)))
    os.killpg(scorer.process.pid, signal.SIGCONT)
    began_s = time.monotonic()
    assert scorer.end() == 8, scorer.output
    assert time.monotonic() - began_s < 45
    assert "deleted and created again" in scorer.output
    assert "Traceback" not in scorer.output
    assert_refused(scorer, 8, "deleted and created again")
