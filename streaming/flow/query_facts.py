"""What Spark reports of the query: how far it is behind the end of the topic, the size of its state, its phases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFacts:
    """What Spark reported of the last finished batch; zeros before the first."""

    lag_events: float = 0.0  # in the topic and not read yet when it began
    state_bytes: float = 0.0  # memory of the state stores' open versions
    input_rows_per_s: float = 0.0
    processed_rows_per_s: float = 0.0
    phases_s: Mapping[str, float] = field(default_factory=dict)  # by Spark's names: addBatch, walCommit, ...


def facts_of(query: "StreamingQuery") -> QueryFacts:
    progress = query.lastProgress
    if progress is None:
        return QueryFacts()
    return QueryFacts(
        lag_events=_lag(progress["sources"]),
        state_bytes=float(sum(operator["memoryUsedBytes"] for operator in progress["stateOperators"])),
        input_rows_per_s=float(progress["inputRowsPerSecond"]),
        processed_rows_per_s=float(progress["processedRowsPerSecond"]),
        phases_s={phase: ms / 1000 for phase, ms in progress["durationMs"].items()},
    )


def _lag(sources: Any) -> float:
    for source in sources:
        if "KafkaV2" in source["description"]:  # a batch that was repeated after a crash has no latest offset
            return float(max(0, _position(source["latestOffset"]) - _position(source["endOffset"])))
    return 0.0


def _position(offsets: str | dict[str, dict[str, int]] | None) -> int:
    """Sum of the offsets of all partitions, from Spark's `{topic: {partition: offset}}` or `null`."""
    topics = (
        msgspec.json.decode(offsets, type=dict[str, dict[str, int]] | None) if isinstance(offsets, str) else offsets
    )
    return sum(sum(partitions.values()) for partitions in (topics or {}).values())
