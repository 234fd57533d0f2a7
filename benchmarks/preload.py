"""Filling topics before the clock starts, with librdkafka: the loader must not be what is measured."""

from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

_POLL_EVERY = 5_000


def load_topic(bootstrap: str, topic: str, events: Iterable[tuple[bytes, bytes]]) -> float:
    """Send all events, wait until each is acknowledged; the mean size of a value in bytes.

    Raises RuntimeError when the broker did not take one.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    size = count = 0
    for key, value in events:
        while True:
            try:
                producer.produce(topic, value=value, key=key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        size, count = size + len(value), count + 1
        if count % _POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(60)
    if failures or left:
        raise RuntimeError(f"{len(failures) + left} of {count} events were not taken by {topic}: {failures[:1]}")
    return size / count
