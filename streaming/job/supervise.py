"""Watches a running query until it fails, or until it is told to stop and has stopped between two batches."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from py4j.protocol import Py4JJavaError
from pyspark.errors import StreamingQueryException
from pyspark.sql.streaming import StreamingQuery

from schemas.errors import BrokerUnavailable, SinkUnavailable, SparkFailed
from streaming.disk.spark_folder import SparkFolder
from streaming.flow.publish import Publisher
from streaming.job.diagnosis import Diagnosis, failed_by_kafka, lost_events
from streaming.job.query_starts import ClockSetBack, ClockWatch
from streaming.job.rest import Rest
from streaming.job.source_topic import SourceTopic
from streaming.roster.watch import RosterWatch
from streaming.topics.kafka_watch import KafkaIsAway

log = logging.getLogger(__name__)
_COMMIT_WAIT_S = 10.0  # beyond the longest time that a batch's writes to the store may take
WRITES = 2  # of a batch: its scores, then their ledgers


class StoreIsAway(Exception):
    """The query has ended because the store took no points; a new query can continue when it does."""

    def __init__(self, failure: SinkUnavailable) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    publisher: Publisher
    roster: RosterWatch
    topic: SourceTopic
    rest: Rest
    diagnosis: Diagnosis
    checkpoint: Path
    trigger_s: float
    write_timeout_s: float

    def supervise(self, query: StreamingQuery, stop: Event) -> bool:
        """Return after `stop` is set and the query has stopped: whether between two batches.

        Raises KafkaIsAway, StoreIsAway or ClockSetBack when a new query can continue, else the RiskError that ended
        this one.
        """
        try:
            try:
                with self.rest.allowed():
                    self._watch(query, stop)
            except ClockSetBack:
                query.stop()
                raise
            is_between = not self.topic.is_away and self._wait_for_commit(query)
            if failed := query.exception():  # while its last batch ran
                raise failed
            query.stop()
            return is_between
        except (StreamingQueryException, Py4JJavaError) as error:
            raise self._cause(error, stop) from error

    def _watch(self, query: StreamingQuery, stop: Event) -> None:
        clock = ClockWatch(self.trigger_s)
        while not stop.wait(0.2):
            if query.awaitTermination(0.001):
                raise SparkFailed("the query ended by itself", remedy=f"see {self.diagnosis.spark_log}")
            clock.look(time.time(), time.monotonic())
            self.roster.look(time.monotonic())
            self.topic.refuse()

    def _wait_for_commit(self, query: StreamingQuery) -> bool:
        """Wait until no batch runs: Spark prints a long trace when it is stopped within a batch. False if one hangs."""
        folder = SparkFolder.of(self.checkpoint)
        before, deadline = self.publisher.batches, time.monotonic() + _COMMIT_WAIT_S + WRITES * self.write_timeout_s
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
            self.topic.verify(stop)  # raises an error that counts what is gone, or says that it is another topic
        if isinstance(failure, SparkFailed) and (self.topic.is_away or failed_by_kafka(error)):
            log.warning("Spark had no answer from Kafka (%s): no new scores", self.diagnosis.first_line(error))
            return KafkaIsAway()
        return failure
