"""The plan that Spark runs: source -> decode -> count -> score -> publish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import isnull, pandas_udf
from pyspark.sql.streaming import StreamingQuery

from streaming.disk.kept_counts import batches_folder
from streaming.flow.count import RegionCounter
from streaming.flow.decode import decode_stage
from streaming.flow.query_facts import QueryFacts, facts_of
from streaming.flow.rows import CountedRow, PackedRow, ScoreColumns, ddl
from streaming.flow.score import score_stage
from streaming.flow.source import with_heartbeat
from streaming.roster.watch import roster_path

Publish = Callable[[DataFrame, int], None]


@dataclass(slots=True, kw_only=True)
class Dataflow:
    """Starts the query on its checkpoint, any number of times one after the other.

    read: the messages as (value, partition, offset, time_ms), unbounded.
    """

    checkpoint: Path
    clock: str
    trigger_s: float
    read: Callable[[SparkSession], DataFrame]
    _query: StreamingQuery | None = field(default=None, init=False)

    def start(self, session: SparkSession, publish: Publish) -> StreamingQuery:
        messages = with_heartbeat(session, self.read(session))
        rows = scored(session, messages, roster=roster_path(self.checkpoint), clock=self.clock)
        self._query = write_batches(rows, publish, checkpoint=self.checkpoint, trigger_s=self.trigger_s)
        return self._query

    def facts(self) -> QueryFacts:
        """What Spark reports of the query that was started last."""
        return QueryFacts() if self._query is None else facts_of(self._query)


def scored(session: SparkSession, messages: DataFrame, *, roster: Path, clock: str) -> DataFrame:
    """(region, artifact, summary, scores) per region and batch, from (value, partition, offset, time_ms, now_ms)."""
    with workers_of_their_own(session, "decode"):
        packed = messages.mapInArrow(decode_stage(str(roster)), ddl(PackedRow))
    with workers_of_their_own(session, "count"):
        counted = packed.groupBy("region").transformWithStateInPandas(
            statefulProcessor=RegionCounter(clock, batches_folder(roster.parent)),
            outputStructType=ddl(CountedRow),
            outputMode="update",
            timeMode="ProcessingTime",
        )
    with workers_of_their_own(session, "score"):
        score = pandas_udf(score_stage, returnType=ddl(ScoreColumns))
        scores = score("artifact", "features", isnull("summary"))
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
        .option("checkpointLocation", str(checkpoint.absolute() / "spark"))
        .trigger(processingTime=f"{int(trigger_s * 1000)} milliseconds")
        .start()
    )
