"""Sending with librdkafka, so that the sender is not what is measured: topics filled before the clock starts, and an
open loop, in which each message has an intended time, and what is late is counted as late.

A sender that waits for its system would send less when the system is slow, and hide it.
"""

import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.traffic import Timed

_SHORTEST_SLEEP_S = 0.001  # wakes a thousand times a second at most; what is late by it is late
_WRITE_EVERY = 2_000
_POLL_EVERY = 5_000


def send_open_loop(bootstrap: str, topic: str, messages: Iterable[Timed], *, log: Path) -> None:
    """Send each message at its time until they end or SIGTERM comes; a row per acknowledged message goes to `log`.

    Exits with a message when Kafka did not take one.
    """
    stop, failures, rows = Event(), list[KafkaError](), list[tuple[int, int, float, float]]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000, "acks": "all"}
    )
    with log.open("wb", buffering=0) as file:

        def write() -> None:
            file.write(np.array(rows, np.float64).tobytes())
            rows.clear()

        for intended_s, key, value in messages:
            ahead_s = intended_s - time.time()
            if ahead_s > 0:
                producer.poll(0)
                if len(rows) >= _WRITE_EVERY:
                    write()
                time.sleep(max(ahead_s, _SHORTEST_SLEEP_S))
            if stop.is_set():
                break

            def acknowledged(
                error: KafkaError | None, message: Message, intended_s: float = intended_s, sent_s: float = time.time()
            ) -> None:
                if error is not None:
                    failures.append(error)
                else:
                    rows.append((message.partition(), message.offset(), intended_s, sent_s))

            producer.produce(topic, value=value, key=key, on_delivery=acknowledged)
        left = producer.flush(60)
        write()
    if failures or left:
        sys.exit(f"Kafka did not take {len(failures) + left} messages: {failures[:1]}")


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
