"""When the job starts a query anew: after the store or Kafka was away, with longer and longer pauses, and not for ever;
and when the clock was set back.
"""

from contextlib import nullcontext
from threading import Event
from types import SimpleNamespace

import pytest

from schemas.errors import BrokerUnavailable, CheckpointError, SinkRefused, SinkUnavailable
from streaming import job as job_module
from streaming.artifacts_in_force import RosterWatch
from streaming.disk.checkpoint import CheckpointGuard, verify_checkpoint
from streaming.flow.dataflow import Dataflow
from streaming.job import ClockSetBack, ClockWatch, Job, Outside, RestartPauses, StoreIsAway
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import commit
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


@pytest.fixture
def job_of(settings, monkeypatch):
    """job_of(supervise, sink=, verify=, start=, longest_s=): a job without Kafka and Spark.

    supervise: what becomes of each query.
    """
    monkeypatch.setattr(job_module, "_ASK_STORE_EVERY_S", 0)
    monkeypatch.setattr(job_module, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(RosterWatch, "look", lambda self, now_s: None)

    def make(supervise, *, sink=None, verify=lambda stop: True, start=lambda *_: None, longest_s=600.0):
        monkeypatch.setattr(Dataflow, "start", start)
        monkeypatch.setattr(Job, "_supervise", lambda self, query, stop: supervise(query, stop))
        parts = {"verify": verify, "is_away": False, "comes": None, "unaccounted": None}
        topic = SimpleNamespace(watched=nullcontext, **parts)
        outside = Outside(spark=nullcontext, read=None, topic=topic, dead_letters=None, sink=sink or MemorySink())
        return Job(settings.model_copy(update={"kafka_timeout_s": longest_s}), outside, [])

    return make


@pytest.fixture
def job(job_of):
    """job(sink, ends): ends: what its queries raise, one after the other."""

    def make(sink, ends=(), **options):
        ends = list(ends)

        def supervise(query, stop):
            if ends:
                raise ends.pop(0)
            return True

        return job_of(supervise, sink=sink, **options)

    return make


def test_a_store_that_is_away_at_the_start_or_later_is_waited_for_and_said_once(job, caplog):
    sink = AwaySink(3)
    assert job(sink, [StoreIsAway(AWAY), StoreIsAway(AWAY)]).run(Event())
    assert sink.asked == -3  # three times in vain and once at the start, once after each query
    lines = [record.message for record in caplog.records if "Waiting for it" in record.message]
    assert lines == ["no answer: start the store. Waiting for it for up to 600 s: no new scores"]


def test_after_the_longest_absence_or_a_stop_the_wait_is_over_and_a_refusal_is_not_waited_for(job):
    with pytest.raises(SinkUnavailable):
        job(AwaySink(1_000_000), longest_s=0.05).run(Event())
    stop = Event()
    stop.set()
    assert job(AwaySink(1_000_000)).run(stop)
    with pytest.raises(SinkUnavailable):  # it answers, but never takes a batch
        job(AwaySink(0), [StoreIsAway(AWAY)] * 1000, longest_s=0.0).run(Event())


@pytest.mark.parametrize(("failure", "becomes"), [(AWAY, StoreIsAway), (SinkRefused("no", "a token"), SinkRefused)])
def test_only_an_absence_lets_a_new_query_begin(job, failure, becomes):
    ended = job(MemorySink())
    ended.publisher._failure = failure
    assert isinstance(ended._cause(RuntimeError("through Java"), Event()), becomes)


def test_pauses_double_up_to_half_a_minute_and_end_at_the_time_limit():
    starts = RestartPauses(600.0)
    times = [1000.0 + 70 * n for n in range(9)]
    assert [starts.pause_s(now_s, 5) for now_s in times] == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    with pytest.raises(BrokerUnavailable, match="could not read from it for 630 s") as caught:
        starts.pause_s(1630.0, 5)
    assert caught.value.exit_code == 5


def test_a_batch_between_two_starts_begins_the_count_anew():
    starts = RestartPauses(100.0)
    assert [starts.pause_s(now_s, 0) for now_s in (0.0, 50.0)] == [1, 2]
    assert starts.pause_s(200.0, 1) == 1
    assert starts.pause_s(299.0, 1) == 2
    with pytest.raises(BrokerUnavailable):
        starts.pause_s(300.0, 1)


@pytest.mark.parametrize(("back_s", "is_seen"), [(3600, True), (6.1, True), (5.9, False), (0, False), (-3600, False)])
def test_only_a_clock_that_went_back_is_seen(back_s, is_seen):
    clock = ClockWatch(1.0)
    for steady_s in range(10):
        clock.look(1_700_000_000.0 + steady_s, steady_s)
    if is_seen:
        with pytest.raises(ClockSetBack, match=f"set back by {back_s:.0f} s"):
            clock.look(1_700_000_010.0 - back_s, 10)
    else:
        clock.look(1_700_000_010.0 - back_s, 10)
    clock.look(1_700_000_011.0 - back_s, 11)  # said once


def test_a_clock_that_is_slowed_down_is_not_set_back():
    clock = ClockWatch(1.0)
    for second in range(10_000):
        clock.look(1_700_000_000.0 + 0.5 * second, second)


@pytest.fixture
def run(settings, job_of):
    """run(first): runs a job without Kafka and Spark; `first` happens in its first query, before the clock is set back.

    Gives, by query, the names of the state files that it began with.
    """
    state = settings.checkpoint / "spark" / "state" / "0" / "0"
    found = []

    def verify(stop):
        topic = Topic(id="1", first_offsets={}, end_offsets={})
        verify_checkpoint(settings.checkpoint, CheckpointGuard.of(settings, "1"), topic, audit=settings.audit)
        return True

    def start(dataflow, session, publish):
        found.append(sorted(path.name for path in state.glob("*")))

    def go(first):
        def supervise(query, stop):
            if len(found) == 1:
                state.mkdir(parents=True)
                first()
                raise ClockSetBack("the clock of this machine was set back by 3600 s")
            return True

        assert job_of(supervise, verify=verify, start=start, longest_s=1.0).run(Event())
        return found

    return go


def begin(settings, number, *, is_committed):
    """A batch with its offsets and its state, and its commit or not."""
    commit(settings.checkpoint, number, {}, is_done=is_committed)
    (settings.checkpoint / "spark" / "state" / "0" / "0" / f"{number + 1}.changelog").write_bytes(b"")


def test_after_a_set_back_clock_the_state_of_the_batch_that_was_cut_off_is_removed(settings, run):
    def first():
        begin(settings, 0, is_committed=True)
        begin(settings, 1, is_committed=False)

    assert run(first) == [[], ["1.changelog"]]


def test_after_a_set_back_clock_no_state_is_removed_for_want_of_a_commit(settings, run):
    def first():
        begin(settings, 0, is_committed=False)
        begin(settings, 1, is_committed=False)

    with pytest.raises(CheckpointError, match="the commit of batch 0 is missing"):
        run(first)
    assert len(list((settings.checkpoint / "spark" / "state" / "0" / "0").iterdir())) == 2
