"""Sends one mark."""

import msgspec
from kafka.errors import KafkaError

from schemas.feedback import Feedback
from streaming.topics.admin import topic_faults
from streaming.topics.client import KafkaConnection, broker_error, producer_of

_PATIENCE_S = 10.0


def send_mark(mark: Feedback, kafka: KafkaConnection, topic: str) -> None:
    """Returns when Kafka has stored it. Raises BrokerError."""
    if faults := topic_faults(kafka, {topic: "WRITE"}):
        raise faults[topic]
    try:
        producer = producer_of(kafka, patience_s=_PATIENCE_S)
        try:
            producer.send(topic, key=mark.cell.encode(), value=msgspec.json.encode(mark)).get(timeout=_PATIENCE_S)
        finally:
            producer.close(timeout=5)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
