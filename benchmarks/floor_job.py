"""Spark's own share: the product's plan with functions that do nothing but count rows, and no store.

Source, heartbeat, session, worker pools, number and kind of stages, state store and checkpoint are the product's.
What is left out is all that we do with an event: decoding, counting, features, network, lines, write.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import pandas_udf
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle
from pyspark.sql.types import LongType

from benchmarks.job import Orders, TimedBatch
from benchmarks.plan import bench_specs
from streaming.disk.checkpoint import end_offsets
from streaming.flow.decode import HEARTBEAT
from streaming.flow.source import MessageSource, with_heartbeat
from streaming.flow.workers import settle_worker
from streaming.job.dataflow import workers_of_their_own, write_batches
from streaming.job.diagnosis import Diagnosis
from streaming.job.session import start_session
from streaming.settings import Settings

_COUNTED = "region string, consumed bigint"


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


def empty_stages(session: SparkSession, messages: DataFrame, regions: list[str]) -> DataFrame:
    with workers_of_their_own(session, "decode"):
        packed = messages.mapInArrow(count_rows(regions), _COUNTED)
    with workers_of_their_own(session, "count"):
        counted = packed.groupBy("region").transformWithStateInPandas(
            statefulProcessor=Keep(), outputStructType=_COUNTED, outputMode="update", timeMode="ProcessingTime"
        )
    with workers_of_their_own(session, "score"):
        return counted.select("region", same("consumed").alias("consumed"))


def main(orders: Orders) -> None:
    settings = Settings(**orders.settings)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    session = start_session(settings, Diagnosis.of(settings).spark_log)
    regions = [spec.region for spec in bench_specs(orders.regions)]
    with Path(orders.batches).open("ab", buffering=0) as file:

        def publish(rows: DataFrame, batch_id: int) -> None:
            started_s = time.time()
            consumed = sum(row["consumed"] for row in rows.toArrow().to_pylist())
            batch = TimedBatch(
                batch_id=batch_id,
                started_s=started_s,
                acknowledged_s=time.time(),
                points=0,
                ledger={"consumed": consumed, "counted": consumed},
                end_offsets=end_offsets(settings.checkpoint.absolute(), batch_id),
            )
            file.write(msgspec.json.encode(batch) + b"\n")

        messages = with_heartbeat(session, MessageSource.of(settings).read(session))
        rows = empty_stages(session, messages, regions)
        query = write_batches(rows, publish, checkpoint=settings.checkpoint, trigger_s=settings.trigger_s)
        while not stop.wait(0.2):
            query.awaitTermination(0.001)  # raises what ended it
        query.stop()
        session.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
