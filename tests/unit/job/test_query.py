"""When the job starts a query anew, rests, is ended for a hung batch, and refuses another topic."""

import socket
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from threading import Event
from types import SimpleNamespace

import pytest

from schemas.errors import BrokerUnavailable, CheckpointError, SinkRefused, SinkUnavailable
from schemas.records import Entry
from streaming import job as job_module
from streaming import source_topic
from streaming.artifacts_in_force import RosterWatch
from streaming.checkpoint import CheckpointGuard, take_over_checkpoint
from streaming.flow.dataflow import Dataflow
from streaming.flow.publish import ASK_EVERY_S
from streaming.flow.rows import Summary
from streaming.job import (
    LONGEST_REST_S,
    ClockSetBack,
    ClockWatch,
    Job,
    Outside,
    Rest,
    RestartPauses,
    StoreIsAway,
    Watchdog,
)
from streaming.job_health import LONGEST_SILENCE_S
from streaming.kafka import Topic
from streaming.settings import Settings
from streaming.source_topic import SourceTopic
from tests.harness.batch import MemorySink
from tests.harness.checkpoint import begin_at, commit
from tests.harness.toy import toy_artifact, toy_frame, toy_published, toy_spec

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
    """job_of(supervise, sink=, take_over=, start=, longest_s=): a job without Kafka and Spark.

    supervise: what becomes of each query.
    """
    monkeypatch.setattr(job_module, "_ASK_STORE_EVERY_S", 0)
    monkeypatch.setattr(job_module, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(RosterWatch, "look", lambda self, now_s: None)

    def make(supervise, *, sink=None, take_over=lambda stop: True, start=lambda *_: None, longest_s=600.0):
        monkeypatch.setattr(Dataflow, "start", start)
        monkeypatch.setattr(Job, "_supervise", lambda self, query, stop: supervise(query, stop))
        parts = {"take_over": take_over, "is_away": False, "comes": None, "unaccounted": None}
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


def test_pauses_double_up_to_half_a_minute_and_end_at_the_time_limit_which_a_batch_begins_anew():
    starts = RestartPauses(600.0)
    times = [1000.0 + 70 * n for n in range(9)]
    assert [starts.pause_s(now_s, 5) for now_s in times] == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    with pytest.raises(BrokerUnavailable, match="could not read from it for 630 s") as caught:
        starts.pause_s(1630.0, 5)
    assert caught.value.exit_code == 5
    assert [starts.pause_s(now_s, 6) for now_s in (1630.0, 2229.0)] == [1, 2]
    with pytest.raises(BrokerUnavailable):
        starts.pause_s(2230.0, 6)


@pytest.mark.parametrize(("back_s", "is_seen"), [(3600, True), (6.1, True), (5.9, False), (0, False), (-3600, False)])
def test_only_a_clock_that_went_back_is_seen_and_not_one_that_is_slowed_down(back_s, is_seen):
    clock = ClockWatch(1.0)
    for steady_s in range(-10_000, 10):
        clock.look(1_700_000_000.0 + (steady_s if steady_s > 0 else 0.5 * steady_s), steady_s)
    if is_seen:
        with pytest.raises(ClockSetBack, match=f"set back by {back_s:.0f} s"):
            clock.look(1_700_000_010.0 - back_s, 10)
    else:
        clock.look(1_700_000_010.0 - back_s, 10)
    clock.look(1_700_000_011.0 - back_s, 11)  # said once


@pytest.fixture
def run(settings, job_of):
    """run(first): runs a job without Kafka and Spark; `first` happens in its first query, before the clock is set back.

    Gives, by query, the names of the state files that it began with.
    """
    state = settings.checkpoint / "spark" / "state" / "0" / "0"
    found = []

    def take_over(stop):
        topic = Topic(id="1", first_offsets={}, end_offsets={})
        take_over_checkpoint(settings.checkpoint, CheckpointGuard.of(settings, "1"), topic, audit=settings.audit)
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

        assert job_of(supervise, take_over=take_over, start=start, longest_s=1.0).run(Event())
        return found

    return go


def begin(settings, number, *, is_committed):
    """A batch with its offsets and its state, and its commit or not."""
    commit(settings.checkpoint, number, {}, is_done=is_committed)
    (settings.checkpoint / "spark" / "state" / "0" / "0" / f"{number + 1}.changelog").write_bytes(b"")


@pytest.mark.parametrize("is_committed", [True, False])
def test_after_a_set_back_clock_the_state_of_the_batch_that_was_cut_off_is_removed_if_no_commit_is_missing(
    settings, run, is_committed
):
    def first():
        begin(settings, 0, is_committed=is_committed)
        begin(settings, 1, is_committed=False)

    if is_committed:
        assert run(first) == [[], ["1.changelog"]]
        return
    with pytest.raises(CheckpointError, match="the commit of batch 0 is missing"):
        run(first)
    assert len(list((settings.checkpoint / "spark" / "state" / "0" / "0").iterdir())) == 2


EMPTY, CALL, REFUSED, WITHIN_A_MINUTE = (
    toy_published(3, summaries={"riverton": Summary(as_of_s=as_of_s, ledger=ledger, totals={})})
    for as_of_s, ledger in (
        (6000, {"consumed": 0}),
        (6000, {"consumed": 1}),
        (6000, {"consumed": 1, "rejected": 1}),
        (6030, {"consumed": 0}),
    )
)
SCORES = toy_published(3, frames={"riverton": toy_frame(toy_spec())})


class World:
    """A clock that goes on only while somebody asks for messages."""

    def __init__(self, now_s, *, message_after_s=float("inf")):
        self.began_s = self.time_s = now_s
        self.message_s = now_s + message_after_s
        self.asked, self.pauses_s = [], []

    def now_s(self):
        return self.time_s

    def comes(self, batch, within_s):
        self.asked.append(batch)
        self.time_s = min(self.time_s + within_s, max(self.time_s, self.message_s))
        return self.time_s >= self.message_s

    def pause(self):
        self.pauses_s.append(round(self.time_s - self.began_s, 6))


def rested_s(world, *published, clock="wall", roster=None):
    """How long each of these batches rests."""
    rest, rested = Rest(clock=clock, comes=world.comes, pause=world.pause, now_s=world.now_s), []
    rest.take_roster(roster or {})
    rest._has_news.clear()
    with rest.allowed():
        for batch in published:
            began_s = world.time_s
            rest.after(batch)
            rested.append(round(world.time_s - began_s, 6))
    return rested if len(rested) > 1 else rested[0]


@pytest.fixture
def roster(tmp_path):
    specs = [toy_spec(region="riverton"), toy_spec(region="lakeside", tick_s=7200)]
    return {spec.region: Entry(str(toy_artifact(tmp_path, spec)), "v", "f") for spec in specs}


def test_it_lasts_until_the_next_tick_of_any_region_the_next_message_or_its_limit(roster):
    assert rested_s(World(6000.0 + 52.5), EMPTY, roster=roster) == 7.5
    assert rested_s(World(6000.0 + 52.5), WITHIN_A_MINUTE, roster=roster) == 7.5
    assert rested_s(World(6000.0 + 61), EMPTY, roster=roster) == 0  # the batch took until after that
    assert rested_s(World(6000.0 + 2.5), EMPTY, roster=roster) == LONGEST_REST_S
    assert rested_s(World(6000.0 + 52.5), EMPTY, roster=roster, clock="event") == LONGEST_REST_S
    world = World(6000.0, message_after_s=3.25)
    assert rested_s(world, EMPTY, roster=roster) == 3.25
    assert set(world.asked) == {3}


def test_it_also_follows_a_batch_with_scores_unless_messages_come_one_after_the_other_or_one_was_refused():
    assert rested_s(World(6000.0), REFUSED) == 0  # a kill would send its dead letter twice
    assert rested_s(World(6000.0, message_after_s=7), SCORES, CALL) == [7, 0]
    world = World(6000.0, message_after_s=0.25)
    assert rested_s(world, CALL, SCORES, CALL) == [0.25, 0, 0]
    assert len(world.asked) == 1  # it costs each batch some milliseconds
    world = World(6000.0, message_after_s=0.25)
    assert rested_s(world, EMPTY, CALL) == [0.25, 0]
    assert len(world.asked) == 2  # a message after an empty batch tells nothing of the next one
    world = World(6000.0, message_after_s=0.25)
    rest = Rest(clock="event", comes=world.comes, pause=world.pause, now_s=world.now_s)
    with rest.allowed():
        rest.after(CALL)
        world.message_s = world.time_s + 9
        for published in (CALL, EMPTY, CALL):
            rest.after(published)
    assert world.asked == [3] * 11  # once, ten seconds after the empty one, and once


def test_health_and_the_store_are_not_kept_waiting(roster):
    """In a rest the driver has its turn every second: it writes what waits, and asks the store."""
    world = World(6000.0 + 52.5)
    rested_s(world, SCORES, roster=roster, clock="event")
    assert world.pauses_s == [*range(1, round(LONGEST_REST_S) + 1)]
    assert ASK_EVERY_S + 2 < LONGEST_SILENCE_S


def test_what_the_store_refuses_in_a_rest_ends_the_batch(roster):
    def refuse():
        raise AWAY

    rest = Rest(clock="event", comes=lambda batch, within_s: False, pause=refuse)
    with rest.allowed(), pytest.raises(SinkUnavailable):
        rest.after(SCORES)


def test_another_roster_ends_it_and_nothing_rests_when_the_query_is_about_to_stop(roster):
    turns = []

    def comes(batch, within_s):
        turns.append("asked")
        if len(turns) == 3:
            rest.take_roster(roster)
        if len(turns) == 9:
            rest._is_allowed = False
        return False

    rest = Rest(clock="event", comes=comes, pause=lambda: turns.append("paused"))
    rest.after(EMPTY)  # not allowed: it returns at once
    assert not turns
    with rest.allowed():
        rest.after(EMPTY)
        assert turns == ["asked", "paused"] * 2
        rest.take_roster(dict(roster))  # the same one
        rest.after(EMPTY)
    assert turns == ["asked", "paused"] * 4 + ["asked"]  # whoever stops the query does not wait for a store
    with rest.allowed():
        pass
    rest.after(EMPTY)
    assert len(turns) == 9


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


def test_a_job_whose_batch_hangs_loses_java_and_its_process_only_if_it_does_not_end_by_itself():
    assert ended_after(1.5) == ["kill", 7]
    assert ended_after(0.6, end_s=30.0) == ["kill"]


@pytest.mark.parametrize(
    "facts",
    [{"batches": count().__next__}, {"is_waiting": lambda: True}, {"longest_s": 5.0}],
    ids=lambda facts: next(iter(facts)),
)
def test_a_job_with_batches_or_without_kafka_or_with_a_slow_batch_goes_on(facts):
    assert ended_after(0.8, **facts) == []


INCIDENTS = "incidents.v1"


@pytest.fixture
def topics(monkeypatch):
    """By name, what Kafka has: a test may change it."""
    held = {INCIDENTS: Topic(id="first", first_offsets={0: 0}, end_offsets={0: 9})}
    monkeypatch.setattr(source_topic, "topic_faults", lambda kafka, needed: {})
    monkeypatch.setattr(source_topic, "describe_topic", lambda kafka, name: held[name])
    monkeypatch.setattr(source_topic, "topic_id", lambda kafka, name: held[name].id)
    return held


@pytest.fixture
def start(topics, tmp_path):
    """start(): what a job that begins to read, or goes on, knows of its topic."""
    with socket.create_server(("127.0.0.1", 0)) as kafka:
        settings = Settings(
            checkpoint=tmp_path / "checkpoint",
            audit=tmp_path / "audit.jsonl",
            kafka_bootstrap=f"127.0.0.1:{kafka.getsockname()[1]}",
        )

        def start():
            source = SourceTopic(settings)
            assert source.take_over(Event())
            begin_at(settings.checkpoint, {"0": 0})
            return source

        yield start


def look_again(source, *, seconds=0.7):
    """While the job's watch asks; raises what it found."""
    with source.watched():
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            source.refuse()
            time.sleep(0.01)
        source.refuse()


@pytest.mark.fault("F09")
def test_a_topic_that_stays_is_taken_and_one_made_anew_is_refused_at_a_start_and_ends_a_running_job(topics, start):
    look_again(start())
    running = start()
    topics[INCIDENTS] = replace(topics[INCIDENTS], id="another")
    refusal = rf"topic {INCIDENTS} was deleted and created again .*\(id first, now another\)"
    with pytest.raises(CheckpointError, match=refusal):
        look_again(running, seconds=60)
    with pytest.raises(CheckpointError, match=refusal):
        start()
