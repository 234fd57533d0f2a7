"""Reads marks from Kafka and keeps them in the store. Its position moves only when they are kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from schemas.feedback import Feedback, decode_feedback
from schemas.incidents import Rejection
from schemas.spec import Spec
from streaming.feedback.accept import fault_of, mark_line
from streaming.sinks.contract import Sink
from streaming.topics.client import KafkaConnection, broker_error, refuse_unreachable
from streaming.topics.dead_letters import DeadLetters

GROUP = "incident-risk-feedback"
_MOST = 1000  # messages that are kept together


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackStore:
    """Where marks go. specs: the regions that are scored now."""

    sink: Sink
    dead_letters: DeadLetters
    specs: Callable[[], Mapping[str, Spec]]
    now_s: Callable[[], float] = time.time

    def keep(self, records: Sequence[Any]) -> tuple[int, int]:
        """Keep the marks of Kafka's records: how many were taken, and how many refused. Repeating it is harmless."""
        specs, now_s = self.specs(), self.now_s()
        lines, refused = [], dict[str, list[Rejection]]()
        for record in records:
            decoded = decode_feedback(record.value)
            fault = fault_of(decoded, specs, now_s) if isinstance(decoded, Feedback) else decoded
            if fault is None and isinstance(decoded, Feedback):
                lines.append(mark_line(decoded))
                continue
            reason, detail = fault or ("schema", "the value is no mark")
            region = decoded.region if isinstance(decoded, Feedback) and decoded.region in specs else ""
            # What is not a mark may be about a person, whatever its reason: its bytes are not kept.
            payload = record.value if isinstance(decoded, Feedback) else None
            place = (record.partition, record.offset, record.timestamp)
            refused.setdefault(region, []).append(Rejection(reason, detail, *place, payload))
        self.dead_letters.write(refused)
        if lines:
            self.sink.write(b"".join(lines))
        return len(lines), sum(map(len, refused.values()))


def keep_feedback(
    kafka: KafkaConnection, topic: str, store: FeedbackStore, *, stop: Event, follow: bool
) -> tuple[int, int]:
    """Keep what the topic holds after the position of GROUP: until `stop` is set, or with `follow` off, its end.

    Gives how many marks were taken and refused. Raises BrokerError, and what the store raises.
    """
    refuse_unreachable(kafka.bootstrap)
    taken = refused = 0
    try:
        consumer = KafkaConsumer(
            topic,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=_MOST,
            metrics_enabled=False,
            bootstrap_timeout_ms=10_000,
            **kafka.client_options(),
        )
        try:
            while not stop.is_set():
                records = [record for part in consumer.poll(timeout_ms=1000).values() for record in part]
                if records:
                    new, left = store.keep(records)
                    taken, refused = taken + new, refused + left
                    consumer.commit()
                elif not follow and consumer.assignment() and _is_at_end(consumer):
                    break
        finally:
            consumer.close(autocommit=False)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
    return taken, refused


def _is_at_end(consumer: KafkaConsumer) -> bool:
    ends = consumer.end_offsets(list(consumer.assignment()))
    return all(consumer.position(place) >= end for place, end in ends.items())
