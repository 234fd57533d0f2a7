"""The job from start to stop: `run` makes it from settings, `Job.run` keeps a query running, `supervise` watches it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from schemas.errors import RiskError
from streaming.disk.guard import refuse_missing_parts
from streaming.disk.locks import only_writer
from streaming.disk.reset import finish_reset
from streaming.disk.shared_state import place_state
from streaming.disk.spark_files import drop_unfinished
from streaming.flow.left_for_trial import LeftForTrial
from streaming.flow.outcomes import Outcomes
from streaming.flow.publish import Publisher
from streaming.flow.rows import Published
from streaming.flow.source import MessageSource
from streaming.job.dataflow import Dataflow
from streaming.job.diagnosis import Diagnosis, ended_by_signal
from streaming.job.jars import fetched_jars, java_version, needed_packages
from streaming.job.query_starts import ClockSetBack, RestartPauses
from streaming.job.record import recorded
from streaming.job.session import spark_session
from streaming.job.source_topic import SourceTopic
from streaming.job.supervise import Supervisor
from streaming.roster.watch import RosterWatch
from streaming.settings import Settings
from streaming.sinks.contract import Sink
from streaming.sinks.open import open_sink
from streaming.topics.dead_letters import DeadLetters
from streaming.topics.watch import KafkaIsAway
from streaming.watch.batch_writer import BatchLog
from streaming.watch.metrics import served

log = logging.getLogger(__name__)
Watcher = Callable[[Published], None]


def run(settings: Settings, *, stop: Event, watchers: Sequence[Watcher]) -> bool:
    """Run the job until `stop` is set. Raises the RiskError that ended it, if one did.

    Gives whether it stopped between two batches; if not, the next start repeats the last batch.
    """
    with (
        only_writer(settings.checkpoint),
        recorded(settings) as record,
        served(settings.metrics, record.health.is_ready) as metrics,
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
    """Starts one query after the other, for as long as only Kafka's absence or the clock end them."""

    checkpoint: Path
    spark_state: str
    outside: Outside
    dataflow: Dataflow
    publisher: Publisher
    supervisor: Supervisor
    pauses: RestartPauses

    @classmethod
    def of(cls, settings: Settings, outside: Outside, watchers: Sequence[Watcher]) -> "Job":
        checkpoint, trigger_s = settings.checkpoint, settings.trigger_s
        dataflow = Dataflow(
            checkpoint=checkpoint,
            clock=settings.clock,
            trigger_s=trigger_s,
            read=outside.read,
        )
        roster = RosterWatch.of(settings, take=dataflow.take_roster)
        publisher = Publisher(
            sink=outside.sink,
            dead_letters=outside.dead_letters,
            outcomes=Outcomes(checkpoint),
            left=LeftForTrial(checkpoint),
            top_k=settings.top_k,
            watchers=watchers,
            facts=dataflow.facts,
            challenger=roster.challenger,
            unaccounted=outside.topic.unaccounted,
        )
        supervisor = Supervisor(
            publisher=publisher,
            roster=roster,
            topic=outside.topic,
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
            pauses=RestartPauses(settings.kafka_timeout_s),
        )

    def run(self, stop: Event) -> bool:
        """It does what the function `run` does, and needs the checkpoint's lock."""
        finish_reset(self.checkpoint)  # before anything reads what it moves
        place_state(self.checkpoint, self.spark_state, f"state-{time.time_ns()}")
        self.supervisor.roster.look(time.monotonic())
        topic = self.outside.topic
        with topic.watched():
            if not topic.verify(stop):
                return True
            self.outside.sink.check()
            try:
                with self.outside.spark() as session:
                    while True:
                        query = self._start(session)
                        try:
                            return self.supervisor.supervise(query, stop)
                        except KafkaIsAway:  # Spark gives up after a minute; its checkpoint says where to continue
                            if not topic.verify(stop) or stop.wait(self._pause_s()):
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

    def _pause_s(self) -> float:
        return self.pauses.pause_s(time.monotonic(), self.publisher.batches)
