"""The product in a process of its own: `streaming.job.job.run`, with one watcher that writes a line per batch."""

import logging
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
from pyspark.sql import SparkSession

from streaming.disk.checkpoint import end_offsets
from streaming.flow.rows import Published
from streaming.job.job import run
from streaming.settings import Settings

# One collection finds a batch's broadcasts dead, Spark's cleaner lets go of them, and another collection frees them.
_CLEANER_S = 1.0


class Heap(msgspec.Struct, frozen=True, kw_only=True):
    """What the JVM holds that is not rubbish: its heap right after a full collection, and what lies outside the heap.

    The process's resident memory cannot tell: it grows until the whole heap was touched once, and stays there.
    """

    at_s: float  # epoch seconds
    live_bytes: int  # in use after full collections
    outside_bytes: int  # classes, compiled code


@dataclass(slots=True)
class HeapWatch:
    """Collects in full, twice, and writes a line, every so often; to be called between two actions of the driver."""

    path: Path
    every_s: float
    _due_s: float = 0.0

    def look(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        self._due_s = now_s + self.every_s
        java = SparkSession.builder.getOrCreate().sparkContext._jvm
        java.System.gc()
        time.sleep(_CLEANER_S)
        java.System.gc()
        memory = java.java.lang.management.ManagementFactory.getMemoryMXBean()
        heap = Heap(
            at_s=now_s,
            live_bytes=memory.getHeapMemoryUsage().getUsed(),
            outside_bytes=memory.getNonHeapMemoryUsage().getUsed(),
        )
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(heap) + b"\n")


class TimedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, as the watcher saw it after the store's acknowledgement."""

    batch_id: int
    started_s: float
    acknowledged_s: float
    points: int
    ledger: dict[str, int]  # of all regions together
    end_offsets: dict[int, int]  # by partition: the first offset that this batch did not take


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    settings: dict[str, Any]
    regions: int
    batches: str  # file that gets one JSON line per batch
    heap: str | None = None  # file that gets a line per full collection, of a run in fast time
    collect_every_s: float = 0.0


def main(orders: Orders) -> None:
    settings = Settings(**orders.settings)
    stop = Event()
    heap = HeapWatch(Path(orders.heap), orders.collect_every_s) if orders.heap else None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Path(orders.batches).open("ab", buffering=0) as file:

        def watch(published: Published) -> None:
            ledger: Counter[str] = Counter()
            for summary in published.summaries.values():
                ledger.update(summary.ledger)
            batch = TimedBatch(
                batch_id=published.batch_id,
                started_s=published.done_s - published.seconds,
                acknowledged_s=published.done_s,
                points=published.points,
                ledger=dict(ledger),
                end_offsets=end_offsets(settings.checkpoint.absolute(), published.batch_id),
            )
            file.write(msgspec.json.encode(batch) + b"\n")
            if heap:
                heap.look(published.done_s)

        run(settings, stop=stop, watchers=[watch])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
