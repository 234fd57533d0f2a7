"""The job from start to stop."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from schemas.errors import BrokerError, BrokerUnavailable, RiskError, SparkFailed
from streaming.disk.guard import Guard, read_guard, refuse_changes, refuse_missing_parts, verify_checkpoint
from streaming.disk.locks import only_writer
from streaming.disk.offset_audit import OffsetAudit
from streaming.disk.reset import finish_reset
from streaming.disk.spark_files import drop_unfinished, last_commit, progress_text
from streaming.flow.outcomes import Outcomes
from streaming.flow.publish import Publisher
from streaming.flow.rows import Published
from streaming.flow.source import read_messages
from streaming.job.dataflow import Dataflow
from streaming.job.query_failure import ended_by_signal, failed_by_kafka, failure_of, first_line, lost_events, spark_log
from streaming.job.query_starts import ClockSetBack, SteadyClock, VainStarts
from streaming.job.record import on_record
from streaming.job.session import start_session
from streaming.rebuild.batch_log import BatchLog
from streaming.roster.watch import RosterWatch
from streaming.settings import Settings
from streaming.sinks.open import open_sink
from streaming.topics.admin import Topic, describe_topic, needed_rights, topic_faults, topic_id
from streaming.topics.client import KafkaConnection
from streaming.topics.dead_letters import DeadLetters
from streaming.topics.watch import KafkaIsAway, KafkaWatch
from streaming.watch.health_watch import HealthWatch
from streaming.watch.metrics import served

log = logging.getLogger(__name__)
_COMMIT_WAIT_S = 10.0  # beyond the longest time that a write to the store may take
_JAVA_IS_GONE = (Py4JError, ConnectionError)


def run(settings: Settings, *, stop: Event, watchers: Sequence[Callable[[Published], None]]) -> bool:
    """Run the job until `stop` is set. Raises the RiskError that ended it, if one did.

    Gives whether it stopped between two batches; if not, the last one is repeated at the next start.
    """
    with (
        only_writer(settings.checkpoint),
        on_record(settings) as life,
        served(settings.metrics, life.health.is_ready) as more,
    ):
        life.is_clean = _run(settings, life.health, stop=stop, watchers=[*watchers, life.health.show, *more])
        return life.is_clean


def _run(
    settings: Settings, health: HealthWatch, *, stop: Event, watchers: Sequence[Callable[[Published], None]]
) -> bool:
    KafkaConnection.of(settings)  # half of what it needs is said before anything else is
    finish_reset(settings.checkpoint)  # before anything reads what it sets aside
    watch = RosterWatch.of(settings)
    watch.look(time.monotonic())
    sink = open_sink(settings)
    dead_letters = DeadLetters.of(settings)
    kafka = KafkaWatch(settings.kafka_bootstrap, settings.kafka_timeout_s)
    health.is_kafka_away = lambda: kafka.is_away
    health.store_trouble = lambda: sink.trouble
    batch_log = BatchLog(settings.checkpoint, top_k=settings.top_k)
    dataflow = Dataflow(
        checkpoint=settings.checkpoint,
        clock=settings.clock,
        trigger_s=settings.trigger_s,
        read=partial(read_messages, settings=settings),
    )
    publisher = Publisher(
        sink=sink,
        dead_letters=dead_letters,
        outcomes=Outcomes(settings.checkpoint),
        top_k=settings.top_k,
        unaccounted=OffsetAudit(settings.checkpoint).missing,
        watchers=[batch_log.keep, *watchers],
        facts=dataflow.facts,
    )
    try:
        with kafka.looking():
            topic = kafka.answer(lambda: _usable_topic(settings), stop)
            if topic is None:
                return True
            _verify(settings, topic)
            log.info(
                "checkpoint=%s last batch: %s", settings.checkpoint, progress_text(last_commit(settings.checkpoint))
            )
            kafka.check = partial(_refuse_other_topic, settings)
            sink.check()
            try:
                return _on_spark(settings, dataflow, publisher, watch, kafka, stop)
            except RiskError as error:
                if not ended_by_signal(error, stop):
                    raise
                log.warning(
                    "Spark ended first, most likely as its processes got the signal too; see %s", spark_log(settings)
                )
                return False
    finally:
        batch_log.close()
        dead_letters.close()
        sink.close()


def _on_spark(
    settings: Settings, dataflow: Dataflow, publisher: Publisher, watch: RosterWatch, kafka: KafkaWatch, stop: Event
) -> bool:
    """Give whether the query stopped between two batches. Raises SparkFailed when it is Spark that fails."""
    try:
        session = start_session(settings, spark_log(settings))
    except (*_JAVA_IS_GONE, PySparkException) as error:
        raise SparkFailed(f"Spark did not start ({first_line(error, settings)}); see {spark_log(settings)}") from error
    try:
        return _follow(session, settings, dataflow, publisher, watch, kafka, stop)
    except _JAVA_IS_GONE as error:  # also while an error is asked, in Java, what it says
        raise SparkFailed(
            "Spark's Java process is gone (killed, or out of memory): start again, nothing is lost; see "
            f"{spark_log(settings)}"
        ) from error
    finally:
        with suppress(*_JAVA_IS_GONE):
            session.stop()


def _follow(
    session: SparkSession,
    settings: Settings,
    dataflow: Dataflow,
    publisher: Publisher,
    watch: RosterWatch,
    kafka: KafkaWatch,
    stop: Event,
) -> bool:
    """One query after the other, for as long as only Kafka's absence or the clock ends them."""
    vain = VainStarts(settings.kafka_timeout_s)
    while True:
        try:
            query = dataflow.start(session, publisher)
        except (PySparkException, Py4JJavaError) as error:
            raise failure_of(error, settings) from error
        try:
            return attend(query, publisher, settings, watch, kafka, stop)
        except KafkaIsAway:  # Spark gives up after a minute; its checkpoint says where to go on
            topic = kafka.answer(lambda: _usable_topic(settings), stop)
            if topic is None:
                return False
            _verify(settings, topic)  # it may not be the same
            if stop.wait(vain.pause_s(time.monotonic(), publisher.batches)):
                return False
            log.info("reading on from the last committed batch")
        except ClockSetBack as step:
            log.warning("%s: Spark would wait that long, so its query is started again", step)
            refuse_missing_parts(settings.checkpoint)
            drop_unfinished(settings.checkpoint)  # of the batch that the stop cut off


def _usable_topic(settings: Settings) -> Topic:
    """The topic of events. What is missing or forbidden is said here: Spark's own consumer keeps trying for minutes."""
    kafka = KafkaConnection.of(settings)
    needed = needed_rights(topic=settings.topic, dead_letter_topic=settings.dead_letter_topic)
    if faults := topic_faults(kafka, needed):
        raise BrokerError("; ".join(str(fault) for fault in faults.values()))
    return describe_topic(kafka, settings.topic)


def _verify(settings: Settings, topic: Topic) -> None:
    verify_checkpoint(settings.checkpoint, Guard.of(settings, topic.id), topic, audit=settings.audit)


def _refuse_other_topic(settings: Settings) -> None:
    """Raise CheckpointError when the topic was made anew under the running job.

    Spark notices that only while the new topic is shorter than what was read of the old one.
    """
    if before := read_guard(settings.checkpoint):
        now = topic_id(KafkaConnection.of(settings), settings.topic)
        refuse_changes(before, Guard.of(settings, now))


def attend(
    query: StreamingQuery, publisher: Publisher, settings: Settings, watch: RosterWatch, kafka: KafkaWatch, stop: Event
) -> bool:
    """Watch over the query until it fails or is to stop; a stop waits for the running batch's commit.

    Gives whether the query stopped between two batches.
    """
    try:
        return _until_stopped(query, publisher, settings, watch, kafka, stop)
    except (StreamingQueryException, Py4JJavaError) as error:
        if told := publisher.take_failure():
            if isinstance(told, BrokerUnavailable):
                log.warning("%s", told)
                raise KafkaIsAway from error
            raise told from error
        failure = failure_of(error, settings)
        if lost_events(error) and (topic := kafka.answer(lambda: _usable_topic(settings), stop)):
            _verify(settings, topic)  # counts what is gone, or says that it is another topic
        if isinstance(failure, SparkFailed) and (kafka.is_away or failed_by_kafka(error)):
            log.warning("Spark had no answer from Kafka (%s): no new scores", first_line(error, settings))
            raise KafkaIsAway from error
        raise failure from error


def _until_stopped(
    query: StreamingQuery, publisher: Publisher, settings: Settings, watch: RosterWatch, kafka: KafkaWatch, stop: Event
) -> bool:
    commits = settings.checkpoint.absolute() / "spark" / "commits"
    is_between = False
    clock = SteadyClock(settings.trigger_s)
    while not stop.wait(0.2):
        if query.awaitTermination(0.001):
            raise SparkFailed(f"the query ended by itself; see {spark_log(settings)}")
        try:
            clock.look(time.time(), time.monotonic())
        except ClockSetBack:
            query.stop()
            raise
        watch.look(time.monotonic())
        kafka.refuse()
    if not kafka.is_away:
        wait_s = _COMMIT_WAIT_S + settings.write_timeout_s
        is_between = _wait_for_commit(query, commits, publisher, wait_s=wait_s)
    if failed := query.exception():  # while it was to come to its end
        raise failed
    query.stop()
    return is_between


def _wait_for_commit(query: StreamingQuery, commits: Path, publisher: Publisher, *, wait_s: float) -> bool:
    """Return between two batches: stopping in the middle of one makes Spark print a frightening trace.

    False when the running one does not come to its end.
    """
    seen, deadline = publisher.batches, time.monotonic() + wait_s
    while query.isActive and time.monotonic() < deadline:
        if not query.status["isTriggerActive"]:
            return True
        if publisher.batches > seen and (commits / str(publisher.last_batch)).exists():
            return True
        time.sleep(0.001)
    return False
