"""The life of a job, from its start to its end.

`run` writes the job's record, reaches Kafka, Spark and the store, and hands them to a `Job`. That waits for all three,
then starts one query after the other, as long as only the absence of Kafka or of the store, or a clock that was set
back, ends them. A thread looks meanwhile whether a batch hangs (`Watchdog`), another one whether Kafka answers and has
the same topic (`SourceTopic`). While no message comes the job rests (`Rest`).
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Literal

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from schemas.areas import read_masks
from schemas.audit import AuditEvent, Plain, record
from schemas.errors import AuditError, BrokerUnavailable, RiskError, SinkUnavailable, SparkFailed
from schemas.records import Entry, watched_until_s
from streaming.artifacts_in_force import RosterWatch, load_artifact, spec_of
from streaming.checkpoint import (
    SparkFolder,
    drop_unfinished,
    finish_reset,
    only_writer,
    place_state,
    refuse_missing_parts,
)
from streaming.flow.dataflow import Dataflow, kafka_messages
from streaming.flow.publish import Publisher
from streaming.flow.rows import Published
from streaming.jars import fetch_jars, java_version, needed_jars
from streaming.job_health import HealthWatch
from streaming.kafka import DeadLetters
from streaming.settings import Settings
from streaming.sinks.sink import Sink, open_sink, warn_of_growth
from streaming.source_topic import KafkaIsAway, SourceTopic
from streaming.spark import Diagnosis, ended_by_signal, failed_by_kafka, lost_events, spark_session
from streaming.watchers import BatchLog, served

log = logging.getLogger(__name__)
Watcher = Callable[[Published], None]
_INTERRUPTED = 130  # exit code after a second signal
_ASK_STORE_EVERY_S = 2.0
_COMMIT_WAIT_S = 10.0  # beyond the longest time that a batch's writes to the store may take
_WRITES = 2  # of a batch: its scores, then their ledgers
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # before a new query
_STEP_S = 5.0  # time servers slow a clock down and never set it back further than this
LONGEST_REST_S = 50.0  # Spark ends Python workers, and their live counts go, after a minute without work
_LOOK_S = 1.0  # for a stop, another roster, what ended the query
_HANGS_AFTER_S = 600.0  # beyond the limit of a batch's writes
_END_S = 60.0  # to end by itself, once Java is gone


def run(settings: Settings, *, stop: Event, watchers: Sequence[Watcher]) -> bool:
    """Run the job until `stop` is set. Raises the RiskError that ended it, if one did.

    Gives whether it stopped between two batches; if not, the next start repeats the last batch.
    """
    with (
        only_writer(settings.checkpoint),
        recorded(settings) as health,
        served(settings.metrics, health.is_ready, partial(watched_until_s, settings.checkpoint)) as metrics,
        connected(settings) as outside,
        closing(BatchLog(settings.checkpoint, top_k=settings.top_k)) as batch_log,
    ):
        job = Job(settings, outside, [batch_log.keep, *watchers, health.show, *metrics])
        health.follow(lambda: outside.topic.is_away, lambda: outside.sink.trouble)
        health.answered_s = partial(getattr, job.publisher, "acknowledged_s")
        health.is_clean = job.run(stop)
        return health.is_clean


@contextmanager
def recorded(settings: Settings) -> Iterator[HealthWatch]:
    """The health file of a job that runs, and its record in the audit log.

    Needs the checkpoint's lock. Raises AuditError when the log cannot be written: no job runs unrecorded.
    """
    process: dict[str, Plain] = {"process": os.getpid(), "host": socket.gethostname()}

    def note(event: AuditEvent, details: Mapping[str, Plain]) -> None:
        """A head can be noted elsewhere: with it, lines that were removed from the end of the file are noticed."""
        head = record(settings.audit, event, details, at_s=time.time(), checkpoint=settings.checkpoint)
        if event != "start":  # the settings follow at once
            log.info("audit=%s head=%s", settings.audit, head)

    def described(error: BaseException) -> tuple[str, int]:
        """(text without secrets, exit code). Of an error that is not ours its class: its text may hold a secret."""
        if isinstance(error, RiskError):
            return settings.without_secrets(str(error)), error.exit_code
        if isinstance(error, KeyboardInterrupt):
            return "stopped at once by a second signal", _INTERRUPTED
        return f"{type(error).__name__}, a fault of this program", 1

    note("start", {**process, "checkpoint": str(settings.checkpoint.absolute())})
    note("settings", settings.shown())
    health = HealthWatch(checkpoint=settings.checkpoint, clock=settings.clock, trigger_s=settings.trigger_s)
    try:
        with health.written_meanwhile(described):
            yield health
    except BaseException as error:
        text, code = described(error)
        try:
            note("failure", {**process, "error": text, "exit_code": code})
        except AuditError as unwritten:  # the error that ended the job matters more
            log.warning("%s", unwritten)
        raise
    note("stop", {**process, "between_batches": health.is_clean, "last_batch": health.last_batch})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a deployment has and a test may replace. read: see `Dataflow`."""

    spark: Callable[[], AbstractContextManager[SparkSession]]
    read: Callable[[SparkSession], DataFrame]
    topic: SourceTopic
    dead_letters: DeadLetters
    sink: Sink


@contextmanager
def connected(settings: Settings) -> Iterator[Outside]:
    """Kafka, Spark and the store of the settings. Raises SettingsError where Spark could not start."""
    java_version()
    fetch_jars(settings.cache, needed_jars(settings.checkpoint, settings.spark_state))
    with closing(DeadLetters(settings)) as dead_letters, closing(open_sink(settings)) as sink:
        yield Outside(
            spark=partial(spark_session, settings),
            read=partial(kafka_messages, settings),
            topic=SourceTopic(settings),
            dead_letters=dead_letters,
            sink=sink,
        )


class StoreIsAway(Exception):
    """The query has ended because the store took no points; a new query can continue when it does."""

    def __init__(self, failure: SinkUnavailable) -> None:
        super().__init__(failure)
        self.failure = failure


class ClockSetBack(Exception):
    """The machine's clock was set back: Spark's next batch would wait until the clock is where it was."""


class Job:
    """Starts one query after the other, and watches each until it fails, or has stopped between two batches."""

    def __init__(self, settings: Settings, outside: Outside, watchers: Sequence[Watcher]) -> None:
        masks = read_masks(settings.masks)
        self.settings = settings
        self.outside = outside
        self.diagnosis = Diagnosis(settings)
        self.dataflow = Dataflow(settings, outside.read, masks)
        self.rest = Rest(clock=settings.clock, comes=outside.topic.comes, pause=lambda: self.publisher.pause())
        self.roster = RosterWatch(settings, take=self._take_roster, masked=masks.digest)
        self.publisher = Publisher(
            sink=outside.sink,
            dead_letters=outside.dead_letters,
            checkpoint=settings.checkpoint,
            frames_folder=settings.frames,
            follow_in=settings.follow_in,
            top_k=settings.top_k,
            watchers=[*watchers, self.rest.after],
            facts=self.dataflow.facts,
            challenger=self.roster.challenger,
            unaccounted=outside.topic.unaccounted,
        )
        self.pauses = RestartPauses(settings.kafka_timeout_s)
        self._regions: set[str] = set()  # that `warn_of_growth` knows

    def run(self, stop: Event) -> bool:
        """It does what the function `run` does, and needs the checkpoint's lock."""
        checkpoint, topic = self.settings.checkpoint, self.outside.topic
        finish_reset(checkpoint)  # before anything reads what it moves
        place_state(checkpoint, self.settings.spark_state, f"state-{time.time_ns()}")
        self.roster.look(time.monotonic())
        watchdog = Watchdog(
            batches=lambda: self.publisher.batches,
            is_waiting=lambda: topic.is_away,
            longest_s=_HANGS_AFTER_S + _WRITES * self.settings.write_timeout_s,
        )
        with topic.watched():
            if not (topic.take_over(stop) and self._wait_for_store(stop)):
                return True
            try:
                with self.outside.spark() as session:
                    while True:
                        try:
                            query = self.dataflow.start(session, self.publisher)
                        except (PySparkException, Py4JJavaError) as error:
                            raise self.diagnosis.failure(error) from error
                        try:
                            with watchdog.watching():
                                if is_between := self._supervise(query, stop):
                                    self.publisher.end_minute()
                                return is_between
                        except (KafkaIsAway, StoreIsAway) as away:  # the checkpoint says where to continue
                            if not (self._wait_for_store(stop) and topic.take_over(stop)):
                                return False
                            failure = away.failure if isinstance(away, StoreIsAway) else None
                            if stop.wait(self.pauses.pause_s(time.monotonic(), self.publisher.batches, failure)):
                                return False
                            log.info("reading continues after the last committed batch")
                        except ClockSetBack as step:
                            log.warning("%s: Spark would pause for that time, so its query is restarted", step)
                            refuse_missing_parts(checkpoint)
                            drop_unfinished(checkpoint)  # what the batch that was cut off left
            except RiskError as error:
                if not ended_by_signal(error, stop):
                    raise
                log.warning("Spark ended first, most likely because its processes got the signal too (%s)", error)
                return False

    def _take_roster(self, roster: Mapping[str, Entry]) -> None:
        self.dataflow.take_roster(roster)
        self.rest.take_roster(roster)
        if roster.keys() - self._regions:
            self._regions.update(roster)
            warn_of_growth(self.settings.sink, (load_artifact(entry.folder).spec for entry in roster.values()))

    def _wait_for_store(self, stop: Event) -> bool:
        """Whether the store takes points; False at a stop. Raises SinkUnavailable when it took none for that long."""
        began_s: float | None = None
        while True:
            try:
                self.outside.sink.check()
                return True
            except SinkUnavailable as error:
                if began_s is None:
                    began_s, longest_s = time.monotonic(), self.pauses.longest_s
                    log.warning("%s. Waiting for it for up to %.0f s: no new scores", error, longest_s)
                elif time.monotonic() - began_s >= longest_s:
                    raise
            if stop.wait(_ASK_STORE_EVERY_S):
                return False

    def _supervise(self, query: StreamingQuery, stop: Event) -> bool:
        """Return after `stop` is set and the query has stopped: whether between two batches.

        Raises KafkaIsAway, StoreIsAway or ClockSetBack when a new query can continue, else the RiskError that ended
        this one.
        """
        clock = ClockWatch(self.settings.trigger_s)
        try:
            try:
                with self.rest.allowed():
                    while not stop.wait(_LOOK_S):
                        if query.awaitTermination(0.001):
                            raise SparkFailed("the query ended by itself", remedy=f"see {self.diagnosis.spark_log}")
                        clock.look(time.time(), time.monotonic())
                        self.roster.look(time.monotonic())
                        self.outside.topic.refuse()
            except ClockSetBack:
                query.stop()
                raise
            is_between = not self.outside.topic.is_away and self._wait_for_commit(query)
            if failed := query.exception():  # while its last batch ran
                raise failed
            query.stop()
            return is_between
        except (StreamingQueryException, Py4JJavaError) as error:
            raise self._cause(error, stop) from error

    def _wait_for_commit(self, query: StreamingQuery) -> bool:
        """Wait until no batch runs: Spark prints a long trace when it is stopped within a batch. False if one hangs."""
        folder, before = SparkFolder.of(self.settings.checkpoint), self.publisher.batches
        deadline = time.monotonic() + _COMMIT_WAIT_S + _WRITES * self.settings.write_timeout_s
        while query.isActive and time.monotonic() < deadline:
            if not query.status["isTriggerActive"]:
                return True
            if self.publisher.batches > before and folder.has("commits", str(self.publisher.last_batch)):
                return True
            time.sleep(0.001)
        return False

    def _cause(self, error: Exception, stop: Event) -> Exception:
        """What to raise in place of Spark's own error."""
        if failure := self.publisher.take_failure():
            if isinstance(failure, BrokerUnavailable):
                log.warning("%s", failure)
                return KafkaIsAway()
            return StoreIsAway(failure) if isinstance(failure, SinkUnavailable) else failure
        failure = self.diagnosis.failure(error)
        if lost_events(error):
            self.outside.topic.take_over(stop)  # raises an error that counts what is gone, or says it is another topic
        if isinstance(failure, SparkFailed) and (self.outside.topic.is_away or failed_by_kafka(error)):
            log.warning("Spark had no answer from Kafka (%s): no new scores", self.diagnosis.first_line(error))
            return KafkaIsAway()
        return failure


@dataclass(slots=True)
class RestartPauses:
    """Pauses before a new query when Kafka or the store failed the last one. A published batch makes them short."""

    longest_s: float
    _since_s: float | None = None
    _batches: int = 0
    _starts: int = 0

    def pause_s(self, now_s: float, batches: int, failure: RiskError | None = None) -> float:
        """How long to wait before the next start; longer each time. now_s: steady. batches: published until now.

        Raises `failure`, or BrokerUnavailable without one, when no start led to a batch for `longest_s`.
        """
        if self._since_s is None or batches > self._batches:
            self._since_s, self._batches, self._starts = now_s, batches, 0
        elif now_s - self._since_s >= self.longest_s:
            raise failure or BrokerUnavailable(
                f"Kafka answers, but Spark could not read from it for {now_s - self._since_s:.0f} s; nothing is lost",
                remedy="look at the brokers' log and at the address that they advertise, and check that this machine "
                "can reach each of them",
            )
        self._starts += 1
        return min(_FIRST_PAUSE_S * 2.0 ** (self._starts - 1), _LONGEST_PAUSE_S)


@dataclass(slots=True)
class ClockWatch:
    """Compares the machine's clock with a steady one."""

    trigger_s: float
    _ahead_s: float | None = None

    def look(self, wall_s: float, steady_s: float) -> None:
        """Raises ClockSetBack when the wall clock has gone back by more than a trigger and five seconds."""
        ahead_s, before_s = wall_s - steady_s, self._ahead_s
        self._ahead_s = ahead_s
        if before_s is not None and before_s - ahead_s > self.trigger_s + _STEP_S:
            raise ClockSetBack(f"the clock of this machine was set back by {before_s - ahead_s:.0f} s")


@dataclass(slots=True, kw_only=True)
class Rest:
    """Lets a job without events rest: the callback of a batch returns when there is something to do.

    Spark would run a batch at every trigger, with or without an event, which is most of a core for nothing. Its batch
    stays open meanwhile, and is repeated after a kill, like any other: what it wrote is overwritten. So `after` is the
    last watcher, and a batch with refused messages does not rest, as each would be a dead letter twice.

    comes: whether a message comes after those of a batch, within so many seconds. pause: what the driver does in
    between; may raise what ends a batch.
    """

    clock: Literal["wall", "event"]
    comes: Callable[[int, float], bool]
    pause: Callable[[], None]
    now_s: Callable[[], float] = time.time
    _roster: Mapping[str, Entry] = field(default_factory=dict)
    _ticks_s: Mapping[str, int] = field(default_factory=dict)  # by region
    _is_allowed: bool = False
    _is_busy: bool = False  # messages followed a batch at once: it costs each batch some milliseconds to ask
    _has_news: Event = field(default_factory=Event)

    def take_roster(self, roster: Mapping[str, Entry]) -> None:
        """End a rest when the roster is another one."""
        if roster != self._roster:
            self._roster = dict(roster)
            self._ticks_s = {region: spec_of(entry.folder).tick_s for region, entry in roster.items()}
            self._has_news.set()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Only meanwhile batches may rest: whoever stops the query must not wait for one."""
        self._is_allowed = True
        try:
            yield
        finally:
            self._is_allowed = False

    def after(self, published: Published) -> None:
        """Wait until the next message, tick or roster, or LONGEST_REST_S."""
        ledgers = [summary.ledger for summary in published.summaries.values()]
        is_quiet = not published.frames and not any(ledger["consumed"] for ledger in ledgers)
        if any(ledger.get("rejected") for ledger in ledgers) or (self._is_busy and not is_quiet):
            return
        began_s, self._is_busy = self.now_s(), False
        due_s = began_s + LONGEST_REST_S
        for region, summary in published.summaries.items() if self.clock == "wall" else ():
            if tick_s := self._ticks_s.get(region):  # which may be past: the batch's own clock counts, not its end
                due_s = min(due_s, summary.as_of_s - summary.as_of_s % tick_s + tick_s)
        while self._is_allowed and not self._has_news.is_set() and (rest_s := due_s - self.now_s()) > 0:
            if self.comes(published.batch_id, min(rest_s, _LOOK_S)):
                self._is_busy = not is_quiet and self.now_s() - began_s < _LOOK_S
                break
            if self._is_allowed:  # whoever stops the query does not wait for a store
                self.pause()
        self._has_news.clear()


def kill_java() -> None:
    """What waits for Spark fails then, also when its Java is stopped or waits for ever itself."""
    if SparkContext._gateway:
        SparkContext._gateway.proc.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """Ends a job in which a batch hangs: a supervisor restarts what has ended, and nobody restarts what is silent.

    It kills Spark's Java when no batch ends for `longest_s`, and this process when that does not end the job.

    batches: how many have ended. is_waiting: whether the job waits for Kafka, which has a limit of its own.
    """

    batches: Callable[[], int]
    is_waiting: Callable[[], bool]
    longest_s: float
    kill: Callable[[], None] = kill_java
    exit_at_once: Callable[[int], None] = os._exit
    end_s: float = _END_S

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look meanwhile, from a thread: the caller itself may hang."""
        is_over = Event()
        thread = threading.Thread(target=self._watch, args=[is_over], name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()

    def _watch(self, is_over: Event) -> None:
        batches, since_s = self.batches(), time.monotonic()
        while not is_over.wait(min(1.0, self.longest_s)):
            now_s = time.monotonic()
            if self.is_waiting() or self.batches() != batches:
                batches, since_s = self.batches(), now_s
            elif now_s - since_s >= self.longest_s:
                log.error(
                    "no batch has ended for %.0f s: it hangs, so the job ends and can be restarted", now_s - since_s
                )
                self.kill()
                if not is_over.wait(self.end_s):
                    self.exit_at_once(SparkFailed.exit_code)
                return
