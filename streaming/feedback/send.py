"""Sends one mark."""

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas.feedback import Feedback
from streaming.topics.admin import topic_faults
from streaming.topics.client import KafkaConnection, broker_error

_PATIENCE_MS = 10_000


def send_mark(mark: Feedback, kafka: KafkaConnection, topic: str) -> None:
    """Returns when Kafka has stored it. Raises BrokerError."""
    if faults := topic_faults(kafka, {topic: "WRITE"}):
        raise faults[topic]
    try:
        producer = KafkaProducer(
            acks="all",
            bootstrap_timeout_ms=_PATIENCE_MS,
            max_block_ms=_PATIENCE_MS,
            request_timeout_ms=_PATIENCE_MS // 2,
            delivery_timeout_ms=_PATIENCE_MS,
            **kafka.client_options(),
        )
        try:
            producer.send(topic, key=mark.cell.encode(), value=msgspec.json.encode(mark)).get(
                timeout=_PATIENCE_MS / 1000
            )
        finally:
            producer.close(timeout=5)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
