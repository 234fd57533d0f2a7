"""Sending a replay to Kafka: every message at its time and acknowledged, or an error."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas.errors import BrokerError
from streaming.rehearse.replay import KINDS, Message, ReplayPlan, messages
from streaming.topics.kafka import KafkaConnection, broker_error, producer_of, topic_faults

_PATIENCE_S = 30.0


def send_messages(
    planned: Iterable[Message], producer: KafkaProducer, *, topic: str, on_sent: Callable[[Message], None]
) -> Mapping[str, int]:
    """Send all and wait for every acknowledgement; messages by kind. Raises BrokerError at the first failure."""
    failures: list[BaseException] = []
    sent: Counter[str] = Counter()
    try:
        for message in planned:
            future = producer.send(topic, key=message.key, value=message.value, timestamp_ms=message.send_ms)
            future.add_errback(failures.append)
            if failures:
                break
            sent[KINDS[message.kind]] += 1
            on_sent(message)
        producer.flush(timeout=60)
    except KafkaError as error:
        failures.append(error)
    if failures:
        raise BrokerError(
            f"Kafka did not accept a message for topic {topic!r} ({failures[0]})", "check that the broker still runs"
        ) from failures[0]
    return {name: sent[name] for name in KINDS}


def send_plan(
    plan: ReplayPlan,
    kafka: KafkaConnection,
    topic: str,
    *,
    speed: float,
    on_sent: Callable[[Message], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, int]:
    """Send the plan at `speed` times real time (0: as fast as possible); messages by kind, all acknowledged."""
    if faults := topic_faults(kafka, {topic: "WRITE"}):
        raise faults[topic]
    try:
        producer = producer_of(kafka, patience_s=_PATIENCE_S, linger_ms=5, batch_size=65_536)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
    try:
        due = paced(messages(plan), speed=speed, clock=time.monotonic, sleep=sleep)
        return send_messages(due, producer, topic=topic, on_sent=on_sent)
    finally:
        producer.close(timeout=5)


def paced(
    planned: Iterable[Message], *, speed: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Message]:
    """Each message at its time; simulated time runs `speed` times as fast as `clock` (seconds). 0: no waiting.

    Open loop: a message waits for its own time, however long the messages before it took.
    """
    start_s: float | None = None
    first_ms = 0
    for message in planned:
        if speed > 0:
            if start_s is None:
                start_s, first_ms = clock(), message.send_ms
            wait_s = start_s + (message.send_ms - first_ms) / 1000 / speed - clock()
            if wait_s > 0:
                sleep(wait_s)
        yield message
