"""Waits for the next message of a topic without reading what is there."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streaming.topics.client import KafkaConnection


@dataclass(slots=True)
class Arrivals:
    """A client of its own, which stores no position. One thread uses it."""

    kafka: KafkaConnection
    _consumer: KafkaConsumer | None = field(default=None, init=False)
    _ends: Mapping[str, Mapping[int, int]] = field(default_factory=dict, init=False)

    def comes(self, ends: Mapping[str, Mapping[int, int]], within_s: float) -> bool:
        """Whether a message stands at `ends` or comes there in time. ends: topic -> partition -> offset.

        True also where Kafka cannot be asked: Spark then asks it.
        """
        places = {TopicPartition(topic, number): end for topic, of in ends.items() for number, end in of.items()}
        if not places:
            return True
        try:
            if self._consumer is None:
                self._consumer, self._ends = self._opened(), {}
            if ends != self._ends:
                self._consumer.assign(list(places))
                for place, end in places.items():
                    self._consumer.seek(place, end)
                self._ends = ends
            return bool(self._consumer.poll(timeout_ms=int(1000 * within_s)))
        except KafkaError:
            self.close()
            return True

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                consumer.close(timeout_ms=1000)

    def _opened(self) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_timeout_ms=5_000,
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_poll_records=1,
            max_partition_fetch_bytes=1,  # Kafka sends one message nevertheless
            fetch_max_wait_ms=5_000,  # a question stays open that long; an answer comes at once
            metrics_enabled=False,
            **self.kafka.client_options(),
        )
