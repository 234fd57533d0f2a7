"""A batch that hangs ends the job; one that is slow, or waits for Kafka, does not."""

import time
from itertools import count

import pytest

from streaming.job import Watchdog


def ended_after(work_s, **facts):
    """What a watchdog did to a job that worked so long: the kill of Java, and the exit code."""
    done = []
    dog = Watchdog(
        **{"batches": lambda: 7, "is_waiting": lambda: False, "longest_s": 0.2, "end_s": 0.1} | facts,
        kill=lambda: done.append("kill"),
        exit_at_once=done.append,
    )
    with dog.watching():
        time.sleep(work_s)
    time.sleep(0.3)
    return done


def test_a_job_whose_batch_hangs_loses_java_and_then_its_process():
    assert ended_after(1.5) == ["kill", 7]


def test_a_job_that_ends_once_java_is_gone_ends_in_its_own_way():
    assert ended_after(0.6, end_s=30.0) == ["kill"]


@pytest.mark.parametrize(
    "facts",
    [{"batches": count().__next__}, {"is_waiting": lambda: True}, {"longest_s": 5.0}],
    ids=lambda facts: next(iter(facts)),
)
def test_a_job_with_batches_or_without_kafka_or_with_a_slow_batch_goes_on(facts):
    assert ended_after(0.8, **facts) == []
