"""The store is away, at the start or later: the job waits for it as for Kafka, in one process, and not for ever."""

from contextlib import nullcontext
from threading import Event
from types import SimpleNamespace

import pytest

from schemas.errors import SinkRefused, SinkUnavailable
from streaming.job import job as job_module
from streaming.job.job import Job, Outside
from streaming.job.query_starts import RestartPauses
from streaming.job.supervise import StoreIsAway, Supervisor
from tests.harness.memory_sink import MemorySink

AWAY = SinkUnavailable("no answer", "start the store")


class AwaySink(MemorySink):
    def __init__(self, asked):
        super().__init__()
        self.asked = asked  # in vain, before it answers

    def check(self):
        self.asked -= 1
        if self.asked >= 0:
            raise AWAY


def job_of(checkpoint, supervise, *, sink=None, verify=lambda stop: True, start=lambda *_: None, longest_s=600.0):
    """A job without Kafka and Spark. supervise: what becomes of each query."""
    topic = SimpleNamespace(watched=nullcontext, verify=verify)
    return Job(
        checkpoint=checkpoint,
        spark_state="",
        outside=Outside(spark=nullcontext, read=None, topic=topic, dead_letters=None, sink=sink or MemorySink()),
        dataflow=SimpleNamespace(start=start),
        publisher=SimpleNamespace(batches=0, end_minute=lambda: None),
        supervisor=SimpleNamespace(roster=SimpleNamespace(look=lambda now_s: None), supervise=supervise),
        watchdog=SimpleNamespace(watching=nullcontext),
        pauses=RestartPauses(longest_s),
    )


@pytest.fixture
def job(settings, monkeypatch):
    """job(sink, ends): ends: what its queries raise, one after the other."""
    monkeypatch.setattr(job_module, "_ASK_STORE_EVERY_S", 0)

    def make(sink, ends=(), **options):
        ends = list(ends)

        def supervise(query, stop):
            if ends:
                raise ends.pop(0)
            return True

        return job_of(settings.checkpoint, supervise, sink=sink, **options)

    return make


def test_a_store_that_is_away_at_the_start_or_later_is_waited_for_and_said_once(job, caplog, monkeypatch):
    monkeypatch.setattr("streaming.job.query_starts._FIRST_PAUSE_S", 0.0)
    sink = AwaySink(3)
    assert job(sink, [StoreIsAway(AWAY), StoreIsAway(AWAY)]).run(Event())
    assert sink.asked == -3  # three times in vain and once at the start, once after each query
    lines = [record.message for record in caplog.records if "Waiting for it" in record.message]
    assert lines == ["no answer: start the store. Waiting for it for up to 600 s: no new scores"]


def test_after_the_longest_absence_or_a_stop_the_wait_is_over_and_a_refusal_is_not_waited_for(job, monkeypatch):
    with pytest.raises(SinkUnavailable):
        job(AwaySink(1_000_000), longest_s=0.05).run(Event())
    stop = Event()
    stop.set()
    assert job(AwaySink(1_000_000)).run(stop)
    monkeypatch.setattr("streaming.job.query_starts._FIRST_PAUSE_S", 0.0)
    with pytest.raises(SinkUnavailable):  # it answers, but never takes a batch
        job(AwaySink(0), [StoreIsAway(AWAY)] * 1000, longest_s=0.0).run(Event())


@pytest.mark.parametrize(("failure", "becomes"), [(AWAY, StoreIsAway), (SinkRefused("no", "a token"), SinkRefused)])
def test_only_an_absence_lets_a_new_query_begin(failure, becomes):
    publisher = SimpleNamespace(take_failure=lambda: failure)
    supervisor = Supervisor(
        **dict.fromkeys(("roster", "topic", "rest", "diagnosis", "checkpoint")),
        publisher=publisher,
        trigger_s=1,
        write_timeout_s=1,
    )
    assert isinstance(supervisor._cause(RuntimeError("through Java"), Event()), becomes)
