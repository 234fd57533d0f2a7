"""A live producer, kafka-python, open loop: each event has an intended time and its latency starts there.

A producer that waits for its system would send less when the system is slow and hide it. This one does not wait:
what is sent late is as late as that for the measurement. It writes where and when of every event.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaProducer

from benchmarks.plan import bench_specs
from benchmarks.synthetic import synthetic_events


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    bootstrap: str
    topic: str
    regions: int
    events: int
    rate_per_s: float
    seed: int
    result: str  # .npy, (events, 4) float64: partition, offset, intended and real time of sending in epoch seconds


def main(orders: Orders) -> None:
    templates = synthetic_events(bench_specs(orders.regions), orders.events, seed=orders.seed, as_of_s=int(time.time()))
    events = [(key, msgspec.json.decode(value)) for key, value in templates]
    rows = np.full((orders.events, 4), np.nan)

    def acknowledged(number: int, where: Any) -> None:
        rows[number, :2] = where.partition, where.offset

    producer = KafkaProducer(bootstrap_servers=orders.bootstrap, linger_ms=5)
    producer.partitions_for(orders.topic)  # asks for the metadata now and not with the first event
    begin_s = time.time() + 0.1
    for number, (key, event) in enumerate(events):
        intended_s = rows[number, 2] = begin_s + number / orders.rate_per_s
        event["received_at"] = datetime.fromtimestamp(intended_s, UTC).isoformat(timespec="milliseconds")
        value = msgspec.json.encode(event)
        ahead_s = intended_s - time.time()
        if ahead_s > 0:
            time.sleep(ahead_s)
        rows[number, 3] = time.time()
        producer.send(orders.topic, key=key, value=value).add_callback(acknowledged, number)
    producer.flush(timeout=30)
    producer.close()
    if np.isnan(rows).any():
        sys.exit(f"{np.isnan(rows).any(axis=1).sum()} events were not acknowledged by Kafka")
    with Path(orders.result).with_suffix(".part").open("wb") as file:
        np.save(file, rows)
    Path(orders.result).with_suffix(".part").replace(orders.result)


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
