"""A job that is killed again and again stores the same as one that is left alone.

The topic is filled beforehand and the clock is that of the events, so both jobs cut the same micro-batches. The kill is
SIGKILL to the whole process group:

    offsets/N written ... tasks ... sink's write ... commits/N written ... offsets/N+1 written
                      ^b               ^c           ^d                 ^a
"""

import random
import signal
from pathlib import Path

import pytest

from streaming.rehearse.poison import poison_messages, template_event
from tests.faults.offsets import newest
from tests.harness.toy import OF_THE_MACHINE

pytestmark = pytest.mark.stack
START = 1_700_000_000
EVENTS, PER_BATCH = 600, 40
KILLED_JOB = str(Path(__file__).with_name("killed_job.py"))


def careless_stream(region):
    """(partition, value, time_ms): incidents, repeats, corrections, cancellations and bad messages, an hour of them."""
    draw = random.Random(7)
    bad = [one.value for one in poison_messages(template_event(region.spec, as_of_s=START))]
    sent = []
    for number in range(EVENTS):
        at_s = START + 6 * number
        incident = draw.randrange(EVENTS // 3)
        value = region.event(
            incident,
            cell=draw.randrange(36),
            at_s=at_s - draw.randrange(5000),
            revision=draw.randrange(4),
            status=draw.choice(["open", "open", "cancelled"]),
        )
        if draw.random() < 0.1:
            value = draw.choice(bad)
        sent.append((incident % 2, value, at_s * 1000))
    return sent


@pytest.fixture(scope="module")
def topic(new_topic, new_region):
    topic = new_topic("kills", partitions=2)
    topic.send(careless_stream(new_region("riverton")))
    return topic


@pytest.fixture(scope="module")
def undisturbed(new_scorer, new_region, topic):
    scorer = new_scorer("undisturbed", topic, RISK_MAX_EVENTS_PER_BATCH=str(PER_BATCH))
    new_region("riverton").publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == EVENTS)
    assert scorer.end(signal.SIGTERM) == 0
    return scorer


def ledger_of(scorer):
    """Stored points without the fields that tell of the machine and not of the events."""
    return {
        key: {name: value for name, value in fields.items() if name not in OF_THE_MACHINE}
        for key, fields in scorer.points().items()
    }


def places(letters):
    return {(one["source_partition"], one["source_offset"], one["reason"]) for one in letters}


@pytest.mark.fault("F01")
@pytest.mark.long
def test_four_kills_at_four_points_change_neither_scores_nor_ledger_nor_dead_letters(
    new_scorer, new_region, topic, undisturbed
):
    scorer = new_scorer("killed", topic, RISK_MAX_EVENTS_PER_BATCH=str(PER_BATCH))
    new_region("riverton").publish(scorer.artifacts)
    spark = scorer.checkpoint / "spark"

    # a: between two batches. Ten seconds from trigger to trigger leave room between a commit and the next offsets.
    scorer.start(RISK_TRIGGER_S="10")
    scorer.wait_until(lambda: (spark / "commits/1").exists(), poll_s=0.005)
    assert scorer.end(signal.SIGKILL) == -signal.SIGKILL
    at_a = newest(spark / "offsets"), newest(spark / "commits")

    # b: in the batch, right after its offsets were written
    scorer.start()
    next_batch = at_a[0] + 2
    scorer.wait_until(lambda: (spark / f"offsets/{next_batch}").exists(), poll_s=0.001)
    assert scorer.end(signal.SIGKILL) == -signal.SIGKILL
    at_b = newest(spark / "offsets"), newest(spark / "commits")

    # c: in the middle of the sink's write
    scorer.start(KILLED_JOB, "in-write", "2")
    assert scorer.end() == -signal.SIGKILL
    at_c = newest(spark / "offsets"), newest(spark / "commits")
    assert not (scorer.folder / "scores.lp").read_bytes().endswith(b"\n")

    # d: after the sink's write, before the commit
    scorer.start(KILLED_JOB, "after-write", "2")
    assert scorer.end() == -signal.SIGKILL
    at_d = newest(spark / "offsets"), newest(spark / "commits")

    assert scorer.consumed() < EVENTS, "all was over before the last kill"
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == EVENTS)
    assert scorer.end(signal.SIGTERM) == 0

    assert at_a[0] == at_a[1], "a: not between two batches"
    for offsets, commits in (at_b, at_c, at_d):
        assert offsets == commits + 1, "b, c, d: not inside a batch"
    assert at_a < at_b < at_c < at_d
    assert scorer.totals() == undisturbed.totals()
    assert ledger_of(scorer) == ledger_of(undisturbed)
    assert places(scorer.letters()) == places(undisturbed.letters())
    assert len(places(undisturbed.letters())) == len(undisturbed.letters())
