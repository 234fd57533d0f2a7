"""Filling topics before the clock starts, with librdkafka: the loader must not be what is measured."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.synthetic import synthetic_events
from schemas.spec import Spec

_POLL_EVERY = 5_000


class _Place(msgspec.Struct):
    region: str
    lat: float
    lon: float


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


def keyed_by_cell(specs: Sequence[Spec], n: int, *, seed: int, as_of_s: int) -> Iterator[tuple[bytes, bytes]]:
    """The same values as `synthetic_events` gives, with `region/cell` as the key instead of the incident's id."""
    place = msgspec.json.Decoder(_Place)
    edges = {spec.region: spec.grid.corners() for spec in specs}
    for _, value in synthetic_events(specs, n, seed=seed, as_of_s=as_of_s):
        at = place.decode(value)
        south, west = edges[at.region]
        row = int(np.searchsorted(south, at.lat, side="right")) - 1
        col = int(np.searchsorted(west, at.lon, side="right")) - 1
        yield b"%s/r%03dc%03d" % (at.region.encode(), row, col), value
