"""What Kafka loses under a running job is refused. What a start refuses: the end of test_pipeline.py."""

import os
import signal
import time

import pytest

from tests.faults.stores import events
from tests.harness.topic import delete_up_to, make_anew

FIRST, MORE = 40, 10


@pytest.fixture
def started(new_scorer, new_topic, new_region):
    """started(name): (topic, region, scorer) of a job that runs and has counted the first events."""

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
def test_what_kafka_loses_under_a_running_job_is_told_as_at_a_start(started, break_it, code, said):
    topic, region, scorer = started(f"lost{code}")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    topic.send(events(region, range(FIRST, FIRST + MORE), partitions=1))
    break_it(topic)
    os.killpg(scorer.process.pid, signal.SIGCONT)
    scorer.assert_ended(code, said)
    assert scorer.consumed() == FIRST


@pytest.mark.fault("F09")
@pytest.mark.nightly
def test_a_topic_that_was_made_anew_and_grew_past_what_was_read_ends_the_running_job(started):
    """Spark itself reads on in it without a word: its offsets only ever grow."""
    topic, region, scorer = started("outgrown")
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    make_anew(topic)
    topic.send(events(region, range(1000, 1000 + FIRST + MORE), partitions=1))
    os.killpg(scorer.process.pid, signal.SIGCONT)
    began_s = time.monotonic()
    scorer.assert_ended(8, "deleted and created again")
    assert time.monotonic() - began_s < 45
    scorer.assert_refused(8, "deleted and created again")
