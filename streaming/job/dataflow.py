"""The plan that Spark runs: source -> decode -> count -> score -> publish."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import isnull, pandas_udf
from pyspark.sql.streaming import StreamingQuery

from schemas.left_behind.roster import Entry
from schemas.masks import NO_MASKS, Masks
from streaming.disk.spark_folder import spark_address
from streaming.flow.count import RegionCounter
from streaming.flow.decode import decode_stage
from streaming.flow.query_facts import QueryFacts, facts_of
from streaming.flow.rows import CountedRow, PackedRow, ScoreColumns, ddl
from streaming.flow.score import score_stage
from streaming.flow.source import with_heartbeat
from streaming.roster.shipped import Shipment, shipped_roster

Publish = Callable[[DataFrame, int], None]


@dataclass(slots=True, kw_only=True)
class Dataflow:
    """Starts the query on its checkpoint, any number of times one after the other.

    follow_in: the checkpoint whose followers the forecasts follow; None where nothing is followed.
    read: the messages as (value, partition, offset, time_ms), unbounded.
    """

    checkpoint: Path
    clock: str
    trigger_s: float
    read: Callable[[SparkSession], DataFrame]
    follow_in: Path | None = None
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
        messages = with_heartbeat(session, self.read(session))
        if self._shipment is None:
            self._shipment = Shipment.of(session.sparkContext)
        self._shipment.send(self._roster)
        rows = scored(session, messages, RegionCounter(self.clock), self.follow_in, self.masks)
        self._query = write_batches(rows, publish, checkpoint=self.checkpoint, trigger_s=self.trigger_s)
        return self._query

    def facts(self) -> QueryFacts:
        """What Spark reports of the query that was started last."""
        return QueryFacts() if self._query is None else facts_of(self._query)


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


@contextmanager
def workers_of_their_own(session: SparkSession, stage: str) -> Iterator[None]:
    """Functions given to Spark inside run in Python workers that no other stage uses.

    Spark pools its workers by their environment and hands them out in turn. One pool for all would spread every
    region's live counts and every network over all workers, and each would lag behind most of the time.
    """
    environment = session.sparkContext.environment
    environment["RISK_STAGE"] = stage
    try:
        yield
    finally:
        del environment["RISK_STAGE"]


def write_batches(rows: DataFrame, publish: Publish, *, checkpoint: Path, trigger_s: float) -> StreamingQuery:
    return (
        rows.writeStream.outputMode("update")
        .foreachBatch(publish)
        .option("checkpointLocation", spark_address(checkpoint))
        .trigger(processingTime=f"{int(trigger_s * 1000)} milliseconds")
        .start()
    )
