"""The topic that a job reads: whether Kafka answers, whether it is still the topic of the checkpoint, what comes next.

Spark alone is silent for minutes without Kafka, and takes a topic that was created again for the old one.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.errors import BrokerError, BrokerUnavailable
from streaming.checkpoint import (
    CheckpointGuard,
    OffsetAudit,
    begin_offsets,
    end_offsets,
    last_commit,
    progress_text,
    refuse_changes,
    take_over_checkpoint,
)
from streaming.kafka import KafkaConnection, Right, Topic, describe_topic, refuse_unreachable, topic_faults, topic_id
from streaming.settings import Settings

log = logging.getLogger(__name__)
_EVERY_S, _CHECK_EVERY_S = 5.0, 20.0
T = TypeVar("T")


class KafkaIsAway(Exception):
    """The query has ended because Kafka is away; a new query can continue when Kafka is back."""


@dataclass(slots=True)
class KafkaWatch:
    """Logs when Kafka goes away and when it is back; fails when it is away for `longest_s`."""

    bootstrap: str
    longest_s: float
    pause_s: float = 1.0  # between two questions without an answer
    check: Callable[[], None] | None = None  # called from time to time while Kafka answers; raises to end the job
    _due_s: float = 0.0
    _check_due_s: float = 0.0
    _checking: Thread | None = None
    _failure: Exception | None = None
    _away_since_s: float | None = None

    @property
    def is_away(self) -> bool:
        return self._away_since_s is not None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look now, and then from a thread while the caller does other work. `refuse` raises the thread's errors."""
        self.look(time.monotonic())
        is_over = Event()

        def keep_looking() -> None:
            while self._failure is None and not is_over.wait(1.0):
                try:
                    self.look(time.monotonic())
                except Exception as error:  # any error: it is raised where the caller asks
                    self._failure = error

        thread = Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def refuse(self) -> None:
        """Raise BrokerError when Kafka was away for `longest_s`, and any error of `check`."""
        if self._failure is not None:
            raise self._failure

    def look(self, now_s: float) -> None:
        """Raises as `refuse` does. `now_s`: a steady clock."""
        self.refuse()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        try:
            refuse_unreachable(self.bootstrap)
        except BrokerUnavailable as error:
            if self._away_since_s is None:
                self._away_since_s = now_s
                log.warning(
                    f"Kafka at {self.bootstrap} does not answer, so there are no new scores: start it, or correct "
                    f"RISK_KAFKA_BOOTSTRAP. Waiting for it for up to {self.longest_s:.0f} s"
                )
            elif now_s - self._away_since_s >= self.longest_s:
                fault = f"Kafka at {self.bootstrap} has not answered for {now_s - self._away_since_s:.0f} s"
                raise BrokerError(fault, remedy="start it, then start this again; nothing is lost") from error
            return
        if self._away_since_s is not None:
            log.info("Kafka at %s answers again after %.0f s", self.bootstrap, now_s - self._away_since_s)
            self._away_since_s = None
        if self.check and now_s >= self._check_due_s and not (self._checking and self._checking.is_alive()):
            self._check_due_s = now_s + _CHECK_EVERY_S
            # In its own thread: a silent Kafka answers after its time limit only, and a stop must not wait for that.
            self._checking = Thread(target=self._call, args=[self.check], name="check of the topic", daemon=True)
            self._checking.start()

    def _call(self, check: Callable[[], None]) -> None:
        try:
            with suppress(BrokerUnavailable):  # Kafka has just gone away
                check()
        except Exception as error:  # any error, as in `looking`
            self._failure = error

    def answer(self, question: Callable[[], T], stop: Event) -> T | None:
        """Kafka's answer, or None at a stop; for use while `looking`. Raises as `refuse` does.

        While Kafka is away, or the question raises BrokerUnavailable, it is asked again; after `longest_s` that error
        is raised.
        """
        began_s = time.monotonic()
        while True:
            self.refuse()
            if not self.is_away:
                try:
                    return question()
                except BrokerUnavailable as error:
                    if time.monotonic() - began_s >= self.longest_s:
                        raise
                    log.warning("%s; asking again", error)
            if stop.wait(self.pause_s):
                return None


class SourceTopic:
    """The topic that the running job reads: there, allowed, and still the topic of the checkpoint."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = KafkaConnection.of(settings)
        self._guard: CheckpointGuard | None = None
        self._watch = KafkaWatch(self._kafka.bootstrap, settings.kafka_timeout_s)
        self._offsets = OffsetAudit(settings.checkpoint)
        self._consumer: KafkaConsumer | None = None  # it stores no position; one thread uses it
        self._awaited: Mapping[TopicPartition, int] = {}  # where the consumer stands

    @property
    def is_away(self) -> bool:
        return self._watch.is_away

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look from a thread meanwhile whether Kafka answers and whether the topic is still the same."""
        with closing(self), self._watch.looking():
            yield

    def refuse(self) -> None:
        """Raise what the thread noticed: Kafka was away for too long, or the topic is another."""
        self._watch.refuse()

    def take_over(self, stop: Event) -> bool:
        """Wait for Kafka, then take over the checkpoint for the topic as it is now. False when `stop` was set first.

        Raises BrokerError when a topic cannot be used, CheckpointError when the checkpoint belongs to another topic
        or to other settings, EventsGone when Kafka lacks events that the checkpoint needs.
        """
        topic, checkpoint = self._watch.answer(self._usable, stop), self._settings.checkpoint
        if topic is None:
            return False
        guard = CheckpointGuard.of(self._settings, topic.id)
        take_over_checkpoint(checkpoint, guard, topic, audit=self._settings.audit)
        if self._guard is None:
            log.info("checkpoint=%s last batch: %s", checkpoint, progress_text(last_commit(checkpoint)))
        self._guard, self._watch.check = guard, self._refuse_other_topic
        return True

    def _usable(self) -> Topic:
        """The topic that is read. What is missing or forbidden is reported here: Spark would try for minutes."""
        needed: dict[str, Right] = {self._settings.topic: "READ", self._settings.dead_letter_topic: "WRITE"}
        if faults := topic_faults(self._kafka, needed):
            raise BrokerError("; ".join(str(fault) for fault in faults.values()))
        return describe_topic(self._kafka, self._settings.topic)

    def _refuse_other_topic(self) -> None:
        """Raise CheckpointError when the topic was created again under the running job.

        Spark notices that only while the new topic is shorter than what was read of the old one.
        """
        if self._guard is not None:
            refuse_changes(self._guard, CheckpointGuard.of(self._settings, topic_id(self._kafka, self._settings.topic)))

    def unaccounted(self, batch: int, consumed: int) -> int:
        """Messages by Kafka's offsets less those in the ledger, since the start. consumed: in the batch."""
        return self._offsets.missing(batch, consumed)

    def comes(self, batch: int, within_s: float) -> bool:
        """Whether a message comes after those of a batch, within so many seconds.

        True also where Kafka cannot be asked: Spark then asks it.
        """
        checkpoint = self._settings.checkpoint
        ends = begin_offsets(checkpoint) | end_offsets(checkpoint, batch)
        places = {TopicPartition(self._settings.topic, number): end for number, end in ends.items()}
        if not places:
            return True
        try:
            if self._consumer is None:
                self._awaited = {}
                self._consumer = KafkaConsumer(
                    bootstrap_timeout_ms=5_000,
                    auto_offset_reset="none",
                    enable_auto_commit=False,
                    max_poll_records=1,
                    max_partition_fetch_bytes=1,  # Kafka sends one message nevertheless
                    fetch_max_wait_ms=5_000,  # a question stays open that long; an answer comes at once
                    metrics_enabled=False,
                    **self._kafka.client_options(),
                )
            if places != self._awaited:
                self._consumer.assign(list(places))
                for place, end in places.items():
                    self._consumer.seek(place, end)
                self._awaited = places
            return bool(self._consumer.poll(timeout_ms=int(1000 * within_s)))
        except KafkaError:
            self.close()
            return True

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                consumer.close(timeout_ms=1000)
