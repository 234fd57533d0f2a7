"""Reads given spans of a topic again, without Spark and without storing any position in Kafka."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.decode import Messages
from schemas.errors import BrokerError
from streaming.topics.kafka import KafkaConnection

_SILENCE_S = 30.0
_AHEAD = 50_000  # messages of a partition that may wait in memory
_SLICE = 5_000  # messages decoded at once, as in the stream


class TopicReader:
    """Reads consecutive spans. offsets: by partition, the first message to read, and the end (not included)."""

    def __init__(self, kafka: KafkaConnection, topic: str, offsets: Mapping[int, tuple[int, int]]) -> None:
        self._topic = topic
        self._ends = {TopicPartition(topic, number): end for number, (_, end) in offsets.items()}
        self._next = {TopicPartition(topic, number): first for number, (first, _) in offsets.items()}
        self._waiting: dict[TopicPartition, deque[Any]] = {place: deque() for place in self._ends}
        self._assigned: set[TopicPartition] = set()
        try:
            self._consumer = KafkaConsumer(
                bootstrap_timeout_ms=10_000,
                auto_offset_reset="none",
                enable_auto_commit=False,
                max_poll_records=10_000,
                max_partition_fetch_bytes=8 << 20,
                metrics_enabled=False,
                **kafka.client_options(),
            )
        except KafkaError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        self._consumer.close()

    def read(self, span: Mapping[int, tuple[int, int]]) -> Iterator[Messages]:
        """The messages of a span in slices, each partition's in order. Raises BrokerError."""
        ends = {TopicPartition(self._topic, number): end for number, (_, end) in span.items()}
        self._fetch(ends)
        taken: list[Any] = []
        for place, end in ends.items():
            waiting = self._waiting[place]
            while waiting and waiting[0].offset < end:
                taken.append(waiting.popleft())
                if len(taken) == _SLICE:
                    yield _messages(taken)
                    taken = []
        if taken:
            yield _messages(taken)

    def _fetch(self, ends: Mapping[TopicPartition, int]) -> None:
        """Wait until all messages before `ends` are in memory."""
        deadline = time.monotonic() + _SILENCE_S
        try:
            while missing := {place for place, end in ends.items() if self._next[place] < end}:
                self._turn_to(missing)
                for place, records in self._consumer.poll(timeout_ms=500).items():
                    self._waiting[place].extend(records)
                    deadline = time.monotonic() + _SILENCE_S
                self._next |= {place: self._consumer.position(place) for place in self._assigned}
                if time.monotonic() > deadline:
                    fault = f"Kafka sent no message of {self._topic} for {_SILENCE_S:.0f} s"
                    raise BrokerError(fault, remedy="look at its log, then repeat")
        except KafkaError as error:
            raise self._failed(error) from error

    def _turn_to(self, missing: set[TopicPartition]) -> None:
        """Read `missing`, and ahead those of which few messages wait: more would fill the memory.

        Others are not paused but left: kafka-python 3.0.12 may never give what it had fetched before a pause.
        """
        wanted = missing | {
            place
            for place, end in self._ends.items()
            if self._next[place] < end and len(self._waiting[place]) <= _AHEAD
        }
        if wanted != self._assigned:
            self._consumer.assign(list(wanted))
            for place in wanted:
                self._consumer.seek(place, self._next[place])
            self._assigned = wanted

    def _failed(self, error: KafkaError) -> BrokerError:
        return BrokerError(f"messages of {self._topic} cannot be read ({error})", "check that Kafka runs, then repeat")


def _messages(records: list[Any]) -> Messages:
    return Messages(
        values=[record.value for record in records],
        partition=np.array([record.partition for record in records], np.int32),
        kafka_offset=np.array([record.offset for record in records], np.int64),
        kafka_time_ms=np.array([record.timestamp for record in records], np.int64),
    )
