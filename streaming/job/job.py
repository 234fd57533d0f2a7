"""The job from start to stop: `run` makes it from settings, `Job.run` keeps a query running, `supervise` watches it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from schemas.errors import RiskError, SinkUnavailable
from schemas.left_behind.heartbeat import watched_until_s
from schemas.left_behind.roster import Entry
from schemas.left_behind.withheld import read_withheld
from schemas.masks import read_masks
from streaming.disk.checkpoint import drop_unfinished, finish_reset, only_writer, refuse_missing_parts
from streaming.disk.spark_folder import place_state
from streaming.flow.follow import change_followed
from streaming.flow.outcomes import LeftForTrial, Outcomes
from streaming.flow.publish import Publisher
from streaming.flow.rows import Published
from streaming.flow.source import MessageSource
from streaming.flow.stored_scores import left_views
from streaming.job.dataflow import Dataflow
from streaming.job.diagnosis import Diagnosis, ended_by_signal
from streaming.job.jars import fetched_jars, java_version, needed_packages
from streaming.job.query_starts import ClockSetBack, RestartPauses
from streaming.job.record import recorded
from streaming.job.rest import Rest
from streaming.job.session import spark_session
from streaming.job.source_topic import SourceTopic
from streaming.job.supervise import WRITES, StoreIsAway, Supervisor
from streaming.job.watchdog import HANGS_AFTER_S, Watchdog
from streaming.roster.roster import load_artifact
from streaming.roster.watch import RosterWatch
from streaming.settings import Settings
from streaming.sinks.file import warn_of_growth
from streaming.sinks.sink import Sink, open_sink
from streaming.topics.dead_letters import DeadLetters
from streaming.topics.kafka_watch import KafkaIsAway
from streaming.watch.batch_writer import BatchLog
from streaming.watch.metrics import served

log = logging.getLogger(__name__)
Watcher = Callable[[Published], None]
_ASK_STORE_EVERY_S = 2.0


def run(settings: Settings, *, stop: Event, watchers: Sequence[Watcher]) -> bool:
    """Run the job until `stop` is set. Raises the RiskError that ended it, if one did.

    Gives whether it stopped between two batches; if not, the next start repeats the last batch.
    """
    with (
        only_writer(settings.checkpoint),
        recorded(settings) as record,
        served(settings.metrics, record.health.is_ready, partial(watched_until_s, settings.checkpoint)) as metrics,
        connected(settings) as outside,
        closing(BatchLog(settings.checkpoint, top_k=settings.top_k)) as batch_log,
    ):
        record.health.follow(lambda: outside.topic.is_away, lambda: outside.sink.trouble)
        job = Job.of(settings, outside, [batch_log.keep, *watchers, record.health.show, *metrics])
        record.is_clean = job.run(stop)
        return record.is_clean


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
    fetched_jars(settings.cache, needed_packages(settings.checkpoint, settings.spark_state))
    with closing(DeadLetters.of(settings)) as dead_letters, closing(open_sink(settings)) as sink:
        yield Outside(
            spark=partial(spark_session, settings, Diagnosis.of(settings)),
            read=MessageSource.of(settings).read,
            topic=SourceTopic.of(settings),
            dead_letters=dead_letters,
            sink=sink,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Starts one query after the other, as long as only Kafka's or the store's absence or the clock ends them."""

    checkpoint: Path
    spark_state: str
    outside: Outside
    dataflow: Dataflow
    publisher: Publisher
    supervisor: Supervisor
    watchdog: Watchdog
    pauses: RestartPauses

    @classmethod
    def of(cls, settings: Settings, outside: Outside, watchers: Sequence[Watcher]) -> "Job":
        checkpoint, trigger_s, masks = settings.checkpoint, settings.trigger_s, read_masks(settings.masks)
        dataflow = Dataflow(
            checkpoint=checkpoint,
            clock=settings.clock,
            trigger_s=trigger_s,
            read=outside.read,
            follow_in=settings.follow_in,
            masks=masks,
        )
        rest = Rest(clock=settings.clock, comes=outside.topic.comes)
        announced: set[str] = set()  # regions

        def take_roster(roster: Mapping[str, Entry]) -> None:
            dataflow.take_roster(roster)
            rest.take_roster(roster)
            if roster.keys() - announced:
                announced.update(roster)
                warn_of_growth(settings.sink, (load_artifact(entry.folder).spec for entry in roster.values()))

        roster = RosterWatch.of(settings, take=take_roster, masked=masks.digest)
        publisher = Publisher(
            sink=outside.sink,
            dead_letters=outside.dead_letters,
            outcomes=Outcomes(checkpoint),
            left=LeftForTrial(checkpoint),
            top_k=settings.top_k,
            watchers=[*watchers, rest.after],
            facts=dataflow.facts,
            challenger=roster.challenger,
            change_of=partial(change_followed, settings.follow_in),
            unaccounted=outside.topic.unaccounted,
            withheld=partial(read_withheld, settings.frames),
            watched_until_s=partial(watched_until_s, checkpoint),
            left_views=partial(left_views, settings.frames),
        )
        supervisor = Supervisor(
            publisher=publisher,
            roster=roster,
            topic=outside.topic,
            rest=rest,
            diagnosis=Diagnosis.of(settings),
            checkpoint=checkpoint,
            trigger_s=trigger_s,
            write_timeout_s=settings.write_timeout_s,
        )
        return cls(
            checkpoint=checkpoint,
            spark_state=settings.spark_state,
            outside=outside,
            dataflow=dataflow,
            publisher=publisher,
            supervisor=supervisor,
            watchdog=Watchdog(
                batches=lambda: publisher.batches,
                is_waiting=lambda: outside.topic.is_away,
                longest_s=HANGS_AFTER_S + WRITES * settings.write_timeout_s,
            ),
            pauses=RestartPauses(settings.kafka_timeout_s),
        )

    def run(self, stop: Event) -> bool:
        """It does what the function `run` does, and needs the checkpoint's lock."""
        finish_reset(self.checkpoint)  # before anything reads what it moves
        place_state(self.checkpoint, self.spark_state, f"state-{time.time_ns()}")
        self.supervisor.roster.look(time.monotonic())
        topic = self.outside.topic
        with topic.watched():
            if not (topic.verify(stop) and self._wait_for_store(stop)):
                return True
            try:
                with self.outside.spark() as session:
                    while True:
                        query = self._start(session)
                        try:
                            with self.watchdog.watching():
                                if is_between := self.supervisor.supervise(query, stop):
                                    self.publisher.end_minute()
                                return is_between
                        except (KafkaIsAway, StoreIsAway) as away:  # the checkpoint says where to continue
                            if not self._can_continue(away, stop):
                                return False
                            log.info("reading continues after the last committed batch")
                        except ClockSetBack as step:
                            log.warning("%s: Spark would pause for that time, so its query is restarted", step)
                            refuse_missing_parts(self.checkpoint)
                            drop_unfinished(self.checkpoint)  # what the batch that was cut off left
            except RiskError as error:
                if not ended_by_signal(error, stop):
                    raise
                log.warning("Spark ended first, most likely because its processes got the signal too (%s)", error)
                return False

    def _start(self, session: SparkSession) -> StreamingQuery:
        try:
            return self.dataflow.start(session, self.publisher)
        except (PySparkException, Py4JJavaError) as error:
            raise self.supervisor.diagnosis.failure(error) from error

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

    def _can_continue(self, away: KafkaIsAway | StoreIsAway, stop: Event) -> bool:
        """Wait for the store, for Kafka, and then a little more. False at a stop."""
        if not (self._wait_for_store(stop) and self.outside.topic.verify(stop)):
            return False
        failure = away.failure if isinstance(away, StoreIsAway) else None
        return not stop.wait(self.pauses.pause_s(time.monotonic(), self.publisher.batches, failure))
