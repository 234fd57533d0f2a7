"""The job in a process of its own, with a line per batch: the product, or Spark alone. `measured_job ORDERS.json`

Spark alone is the product's plan with functions that do nothing but count rows, and no store: source, heartbeat,
session, worker pools, number and kind of stages, state store and checkpoint are the product's. What is left out is all
that we do with an event: decoding, counting, features, network, lines, write.
"""

import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import pandas_udf
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle
from pyspark.sql.types import LongType

from streaming.checkpoint import end_offsets
from streaming.flow.dataflow import kafka_messages, with_heartbeat, write_batches
from streaming.flow.intake import HEARTBEAT
from streaming.flow.rows import Published
from streaming.flow.workers import settle_worker, workers_of_their_own
from streaming.job import run
from streaming.settings import Settings
from streaming.spark import Diagnosis, start_session

# One collection finds a batch's broadcasts dead, Spark's cleaner lets go of them, and another collection frees them.
_CLEANER_S = 1.0
_COUNTED = "region string, consumed bigint"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    settings: dict[str, Any]
    regions: list[str]
    batches: str  # file that gets one JSON line per batch
    is_spark_alone: bool = False
    heap: str | None = None  # file that gets a line per full collection, of a run in fast time
    collect_every_s: float = 0.0


class TimedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, as it was seen after the store's acknowledgement."""

    batch_id: int
    started_s: float
    acknowledged_s: float
    ledger: dict[str, int]  # of all regions together
    end_offsets: dict[int, int]  # by partition: the first offset that this batch did not take


class Heap(msgspec.Struct, frozen=True, kw_only=True):
    """What the JVM holds that is not rubbish: its heap right after a full collection, and what lies outside the heap.

    The process's resident memory cannot tell: it grows until the whole heap was touched once, and stays there.
    """

    at_s: float  # epoch seconds
    live_bytes: int  # in use after full collections
    outside_bytes: int  # classes, compiled code


def main(orders: Orders) -> None:
    settings = Settings(**orders.settings)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Path(orders.batches).open("ab", buffering=0) as file:
        (spark_alone if orders.is_spark_alone else product)(settings, orders, stop, file)


def product(settings: Settings, orders: Orders, stop: Event, file: BinaryIO) -> None:
    next_heap_s = 0.0

    def watch(published: Published) -> None:
        nonlocal next_heap_s
        ledger: Counter[str] = Counter()
        for summary in published.summaries.values():
            ledger.update(summary.ledger)
        batch = TimedBatch(
            batch_id=published.batch_id,
            started_s=published.done_s - published.seconds,
            acknowledged_s=published.done_s,
            ledger=dict(ledger),
            end_offsets=end_offsets(settings.checkpoint.absolute(), published.batch_id),
        )
        file.write(msgspec.json.encode(batch) + b"\n")
        if orders.heap and published.done_s >= next_heap_s:
            next_heap_s = published.done_s + orders.collect_every_s
            with Path(orders.heap).open("ab") as heaps:
                heaps.write(msgspec.json.encode(collected_heap(published.done_s)) + b"\n")

    run(settings, stop=stop, watchers=[watch])


def collected_heap(now_s: float) -> Heap:
    """After two full collections; to be called between two actions of the driver."""
    java = SparkSession.builder.getOrCreate().sparkContext._jvm
    java.System.gc()
    time.sleep(_CLEANER_S)
    java.System.gc()
    memory = java.java.lang.management.ManagementFactory.getMemoryMXBean()
    return Heap(
        at_s=now_s,
        live_bytes=memory.getHeapMemoryUsage().getUsed(),
        outside_bytes=memory.getNonHeapMemoryUsage().getUsed(),
    )


def spark_alone(settings: Settings, orders: Orders, stop: Event, file: BinaryIO) -> None:
    session = start_session(settings, Diagnosis(settings).spark_log)

    def publish(rows: DataFrame, batch_id: int) -> None:
        started_s = time.time()
        consumed = sum(row["consumed"] for row in rows.toArrow().to_pylist())
        batch = TimedBatch(
            batch_id=batch_id,
            started_s=started_s,
            acknowledged_s=time.time(),
            ledger={"consumed": consumed, "counted": consumed},
            end_offsets=end_offsets(settings.checkpoint.absolute(), batch_id),
        )
        file.write(msgspec.json.encode(batch) + b"\n")

    messages = with_heartbeat(session, kafka_messages(settings, session))
    with workers_of_their_own(session, "decode"):
        packed = messages.mapInArrow(count_rows(orders.regions), _COUNTED)
    with workers_of_their_own(session, "count"):
        counted = packed.groupBy("region").transformWithStateInPandas(
            statefulProcessor=Keep(), outputStructType=_COUNTED, outputMode="update", timeMode="ProcessingTime"
        )
    with workers_of_their_own(session, "score"):
        rows = counted.select("region", same("consumed").alias("consumed"))
    query = write_batches(rows, publish, checkpoint=settings.checkpoint, trigger_s=settings.trigger_s)
    while not stop.wait(0.2):
        query.awaitTermination(0.001)  # raises what ended it
    query.stop()
    session.stop()


def count_rows(regions: list[str]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For `mapInArrow`: a row per region for the heartbeat, and one with the number of messages."""

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        settle_worker()
        for batch in batches:
            beats = pc.sum(pc.equal(batch.column("partition"), HEARTBEAT)).as_py() or 0
            counts = [(region, 0) for region in regions] if beats else []
            counts.append((regions[0], batch.num_rows - beats))
            yield pa.RecordBatch.from_arrays(
                [pa.array([region for region, _ in counts]), pa.array([count for _, count in counts], pa.int64())],
                names=["region", "consumed"],
            )

    return rows


class Keep(StatefulProcessor):  # type: ignore[misc]
    """Adds a region's counts to its stored total."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        settle_worker()
        self.total = handle.getValueState("total", "total bigint")

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        consumed = sum(int(frame["consumed"].sum()) for frame in rows)
        stored = self.total.get()
        if consumed or not stored:
            self.total.update(((stored[0] if stored else 0) + consumed,))
        yield pd.DataFrame({"region": [key[0]], "consumed": [consumed]})

    def close(self) -> None:
        pass


@pandas_udf(LongType())  # type: ignore[call-overload, untyped-decorator]
def same(values: pd.Series) -> pd.Series:
    return values


# What was written is read here, by the measuring process


def batches_of(path: Path) -> list[TimedBatch]:
    """Those that were acknowledged so far, in order."""
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=TimedBatch) for line in whole]


def ledger(batches: Sequence[TimedBatch]) -> Counter[str]:
    """The batches' ledgers added up."""
    total: Counter[str] = Counter()
    for batch in batches:
        total.update(batch.ledger)
    return total


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
