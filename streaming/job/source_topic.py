"""The topic that the running job reads: there, allowed, and still the topic of the checkpoint."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from schemas.errors import BrokerError
from streaming.disk.checkpoint import (
    CheckpointGuard,
    OffsetAudit,
    begin_offsets,
    end_offsets,
    last_commit,
    progress_text,
    refuse_changes,
    verify_checkpoint,
)
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection, Right, Topic, describe_topic, topic_faults, topic_id
from streaming.topics.kafka_watch import Arrivals, KafkaWatch

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SourceTopic:
    """guard_of: what the checkpoint stands for, with a topic of that id."""

    kafka: KafkaConnection
    topic: str
    dead_letter_topic: str
    guard_of: Callable[[str], CheckpointGuard]
    checkpoint: Path
    audit: Path
    longest_absence_s: float
    _guard: CheckpointGuard | None = field(default=None, init=False)
    _watch: KafkaWatch = field(init=False)
    _offsets: OffsetAudit = field(init=False)
    _arrivals: Arrivals = field(init=False)

    def __post_init__(self) -> None:
        self._watch = KafkaWatch(self.kafka.bootstrap, self.longest_absence_s)
        self._offsets = OffsetAudit(self.checkpoint)
        self._arrivals = Arrivals(self.kafka)

    @classmethod
    def of(cls, settings: Settings) -> "SourceTopic":
        return cls(
            kafka=KafkaConnection.of(settings),
            topic=settings.topic,
            dead_letter_topic=settings.dead_letter_topic,
            guard_of=partial(CheckpointGuard.of, settings),
            checkpoint=settings.checkpoint,
            audit=settings.audit,
            longest_absence_s=settings.kafka_timeout_s,
        )

    @property
    def is_away(self) -> bool:
        return self._watch.is_away

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look from a thread meanwhile whether Kafka answers and whether the topic is still the same."""
        with closing(self._arrivals), self._watch.looking():
            yield

    def refuse(self) -> None:
        """Raise what the thread found: Kafka was away for too long, or the topic is another."""
        self._watch.refuse()

    def verify(self, stop: Event) -> bool:
        """Wait for Kafka, then compare the topic with the checkpoint. False when `stop` was set first.

        Raises BrokerError when a topic cannot be used, CheckpointError when the checkpoint belongs to another topic
        or to other settings, EventsGone when Kafka lacks events that the checkpoint needs.
        """
        topic = self._watch.answer(self._usable, stop)
        if topic is None:
            return False
        guard = self.guard_of(topic.id)
        verify_checkpoint(self.checkpoint, guard, topic, audit=self.audit)
        if self._guard is None:
            log.info("checkpoint=%s last batch: %s", self.checkpoint, progress_text(last_commit(self.checkpoint)))
        self._guard, self._watch.check = guard, self._refuse_other_topic
        return True

    def comes(self, batch: int, within_s: float) -> bool:
        """Whether a message comes after those of a batch, within so many seconds; True where Kafka does not say."""
        ends = begin_offsets(self.checkpoint) | end_offsets(self.checkpoint, batch)
        return self._arrivals.comes({self.topic: ends}, within_s)

    def unaccounted(self, batch: int, consumed: int) -> int:
        """Messages by Kafka's offsets less those in the ledger, since the start. consumed: in the batch."""
        return self._offsets.missing(batch, consumed)

    def _usable(self) -> Topic:
        """The topic that is read. What is missing or forbidden is reported here: Spark would try for minutes."""
        needed: dict[str, Right] = {self.topic: "READ", self.dead_letter_topic: "WRITE"}
        if faults := topic_faults(self.kafka, needed):
            raise BrokerError("; ".join(str(fault) for fault in faults.values()))
        return describe_topic(self.kafka, self.topic)

    def _refuse_other_topic(self) -> None:
        """Raise CheckpointError when the topic was created again under the running job.

        Spark notices that only while the new topic is shorter than what was read of the old one.
        """
        if self._guard is not None:
            refuse_changes(self._guard, self.guard_of(topic_id(self.kafka, self.topic)))
