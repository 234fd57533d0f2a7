"""The plan that Spark runs: Kafka's messages and a heartbeat -> decode -> count -> score -> publish."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import isnull, pandas_udf
from pyspark.sql.streaming import StreamingQuery

from schemas.areas import NO_MASKS, Masks
from schemas.records import Entry
from streaming.checkpoint import begin_ms, spark_address
from streaming.flow.count import RegionCounter
from streaming.flow.intake import HEARTBEAT, decode_stage
from streaming.flow.rows import CountedRow, PackedRow, QueryFacts, ScoreColumns, ddl
from streaming.flow.score import score_stage
from streaming.flow.workers import Shipment, shipped_roster, workers_of_their_own
from streaming.kafka import KafkaConnection
from streaming.settings import Settings

Publish = Callable[[DataFrame, int], None]
# Measured on 2 cores: reading alone 3.5 -> 1.9 core-us per event. The consumer's own defaults hand Spark 500 records
# a call, 1 MiB a fetch, and let the socket wait for a 64 KiB window.
_FETCH = {
    "kafka.max.poll.records": 10_000,
    "kafka.max.partition.fetch.bytes": 8 << 20,
    "kafka.fetch.max.bytes": 64 << 20,
    "kafka.receive.buffer.bytes": 1 << 20,
    "kafka.fetch.max.wait.ms": 10,
}
# After this long the client asks again when an answer is lost on a connection that stays open. Its defaults, 30 s and
# 60 s, are longer than scores may be late. A full fetch of a partition, 8 MiB, must arrive in the first: 4.5 Mbit/s.
_PATIENCE = {"kafka.request.timeout.ms": 15_000, "kafka.default.api.timeout.ms": 20_000}


def kafka_messages(settings: Settings, session: SparkSession) -> DataFrame:
    """(value, partition, offset, time_ms) of the topic, unbounded. Data loss in the topic fails the query."""
    from_ms = begin_ms(settings.checkpoint)  # a reset has named it
    begin = (
        {"startingOffsets": settings.starting}
        if from_ms is None
        else {"startingTimestamp": from_ms, "startingOffsetsByTimestampStrategy": "latest"}
    )
    messages = (
        session.readStream.format("kafka")
        .options(**KafkaConnection.of(settings).spark_options())
        .option("subscribe", settings.topic)
        .options(**begin)
        .option("maxOffsetsPerTrigger", settings.max_events_per_batch)
        .option("failOnDataLoss", "true")
        .options(**_FETCH)
        .options(**_PATIENCE)
        .option("kafkaConsumer.pollTimeoutMs", "30000")
        .load()
    )
    return messages.select("value", "partition", "offset", F.unix_millis("timestamp").alias("time_ms"))


def with_heartbeat(session: SparkSession, messages: DataFrame) -> DataFrame:
    """The messages and one heartbeat row per batch, in at most as many tasks as there are cores.

    `now_ms` is the batch's time: a batch that is repeated, or recounted much later, is judged by the same clock.
    Without the heartbeat a batch would have rows only for regions with messages. It is joined before
    `coalesce`, so it costs a row in a task that runs anyway and not a task of its own.
    """
    beat = session.readStream.format("rate-micro-batch").option("rowsPerBatch", 1).option("numPartitions", 1).load()
    heartbeat = beat.select(
        F.lit(None).cast("binary").alias("value"),
        F.lit(HEARTBEAT).alias("partition"),
        F.lit(0).cast("long").alias("offset"),
        F.lit(0).cast("long").alias("time_ms"),
    )
    together = messages.unionByName(heartbeat).coalesce(session.sparkContext.defaultParallelism)
    return together.withColumn("now_ms", F.unix_millis(F.current_timestamp()))


@dataclass(slots=True)
class Dataflow:
    """Starts the query on its checkpoint, any number of times one after the other.

    read: the messages as (value, partition, offset, time_ms), unbounded.
    """

    settings: Settings
    read: Callable[[SparkSession], DataFrame]
    masks: Masks = NO_MASKS
    _query: StreamingQuery | None = field(default=None, init=False)
    _roster: Mapping[str, Entry] = field(default_factory=dict, init=False)
    _shipment: Shipment | None = field(default=None, init=False)

    def take_roster(self, roster: Mapping[str, Entry]) -> None:
        """Score by this roster from the next batch on."""
        self._roster = roster
        if self._shipment is not None:
            self._shipment.send(roster)

    def start(self, session: SparkSession, publish: Publish) -> StreamingQuery:
        settings, messages = self.settings, with_heartbeat(session, self.read(session))
        if self._shipment is None:
            self._shipment = Shipment.of(session.sparkContext)
        self._shipment.send(self._roster)
        rows = scored(session, messages, RegionCounter(settings.clock), settings.follow_in, self.masks)
        self._query = write_batches(rows, publish, checkpoint=settings.checkpoint, trigger_s=settings.trigger_s)
        return self._query

    def facts(self) -> QueryFacts:
        """What Spark reports of the query that was started last."""
        return QueryFacts() if self._query is None else facts_of(self._query)


def facts_of(query: StreamingQuery) -> QueryFacts:
    progress = query.lastProgress
    if progress is None:
        return QueryFacts()
    lag = 0.0
    for source in progress["sources"]:
        if "KafkaV2" in source["description"]:  # a batch that was repeated after a crash has no latest offset
            read, newest = (
                # Spark's `{topic: {partition: offset}}`, as text or not, or `null`
                msgspec.json.decode(offsets) if isinstance(offsets, str) else offsets
                for offsets in (source["endOffset"], source["latestOffset"])
            )
            end, begin = (
                sum(sum(partitions.values()) for partitions in (topics or {}).values()) for topics in (newest, read)
            )
            lag = float(max(0, end - begin))
    return QueryFacts(
        lag_events=lag,
        state_bytes=float(sum(operator["memoryUsedBytes"] for operator in progress["stateOperators"])),
        input_rows_per_s=float(progress["inputRowsPerSecond"]),
        processed_rows_per_s=float(progress["processedRowsPerSecond"]),
        phases_s={phase: ms / 1000 for phase, ms in progress["durationMs"].items()},
    )


def scored(
    session: SparkSession,
    messages: DataFrame,
    counter: RegionCounter,
    follow_in: Path | None = None,
    masks: Masks = NO_MASKS,
) -> DataFrame:
    """(region, artifact, summary, scores) per region and batch, from (value, partition, offset, time_ms, now_ms)."""
    with workers_of_their_own(session, "decode"):
        packed = messages.mapInArrow(decode_stage(shipped_roster, masks), ddl(PackedRow))
    with workers_of_their_own(session, "count"):
        counted = packed.groupBy("region").transformWithStateInPandas(
            statefulProcessor=counter,
            outputStructType=ddl(CountedRow),
            outputMode="update",
            timeMode="ProcessingTime",
        )
    with workers_of_their_own(session, "score"):
        score = pandas_udf(score_stage(follow_in), returnType=ddl(ScoreColumns))
        scores = score("artifact", "features", isnull("summary"), "tick_s", "recent", "lately")
        return counted.select("region", "artifact", "summary", scores.alias("scores"))


def write_batches(rows: DataFrame, publish: Publish, *, checkpoint: Path, trigger_s: float) -> StreamingQuery:
    return (
        rows.writeStream.outputMode("update")
        .foreachBatch(publish)
        .option("checkpointLocation", spark_address(checkpoint))
        .trigger(processingTime=f"{int(trigger_s * 1000)} milliseconds")
        .start()
    )
