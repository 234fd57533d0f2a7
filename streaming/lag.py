"""What Spark says of the query: how far it is behind the end of the topic, and how large its state is."""

from dataclasses import dataclass

import msgspec
from pyspark.sql.streaming import StreamingQuery


@dataclass(slots=True)
class LagMeter:
    query: StreamingQuery

    def state_bytes(self) -> float:
        """Memory that the state stores' open versions take, after the last finished batch."""
        progress = self.query.lastProgress
        return float(sum(one["memoryUsedBytes"] for one in progress["stateOperators"])) if progress else 0.0

    def events(self) -> float:
        """Events in the topic that were not read yet when the last finished batch began."""
        progress = self.query.lastProgress
        if progress is None:
            return 0.0
        for source in progress["sources"]:
            if "KafkaV2" in source["description"]:  # a batch that was repeated after a crash has no latest offset
                return float(max(0, _position(source["latestOffset"]) - _position(source["endOffset"])))
        return 0.0


def _position(offsets: str | dict[str, dict[str, int]] | None) -> int:
    """Sum of the offsets of all partitions, from Spark's `{topic: {partition: offset}}` or `null`."""
    topics = (
        msgspec.json.decode(offsets, type=dict[str, dict[str, int]] | None) if isinstance(offsets, str) else offsets
    )
    return sum(sum(partitions.values()) for partitions in (topics or {}).values())
