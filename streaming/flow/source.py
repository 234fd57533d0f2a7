"""The input: Kafka's messages and, once per batch, a heartbeat row."""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming.disk.checkpoint import begin_ms
from streaming.flow.decode import HEARTBEAT
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSource:
    """starting: where to begin without a checkpoint (`earliest`, `latest`), unless a reset names a time."""

    kafka: KafkaConnection
    topic: str
    starting: str
    max_events_per_batch: int
    checkpoint: Path

    @classmethod
    def of(cls, settings: Settings) -> "MessageSource":
        return cls(
            kafka=KafkaConnection.of(settings),
            topic=settings.topic,
            starting=settings.starting,
            max_events_per_batch=settings.max_events_per_batch,
            checkpoint=settings.checkpoint,
        )

    def read(self, session: SparkSession) -> DataFrame:
        """(value, partition, offset, time_ms), unbounded. Data loss in the topic fails the query."""
        from_ms = begin_ms(self.checkpoint)
        begin = (
            {"startingOffsets": self.starting}
            if from_ms is None
            else {"startingTimestamp": from_ms, "startingOffsetsByTimestampStrategy": "latest"}
        )
        messages = (
            session.readStream.format("kafka")
            .options(**self.kafka.spark_options())
            .option("subscribe", self.topic)
            .options(**begin)
            .option("maxOffsetsPerTrigger", self.max_events_per_batch)
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
