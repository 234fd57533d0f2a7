"""Rival: what someone writes in an afternoon. One process, one loop, the product's own functions, no fault tolerance.

confluent-kafka -> decode_messages -> CountState -> features -> torch -> line protocol -> InfluxSink. It stores no
state and no offsets: killed, it has lost its counts and does not know what it had read. That is the difference.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from benchmarks.full_frame import TOP_K, frame_of
from models.all_categories import stored_views
from models.artifact.artifact import Artifact
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.network import RiskNetwork
from models.scoring import score
from schemas.decode import Messages, decode_messages
from streaming.flow.stored_scores import StoredView
from streaming.roster.roster import load_artifact
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from streaming.sinks.line_protocol import top_lines, unusual_lines

_WAIT_S = 10.0
_MOST_AT_ONCE = 1_000_000  # the client takes no more in one call


class LoopOrders(msgspec.Struct, frozen=True, kw_only=True):
    settings: dict[str, Any]
    events: int
    result: str


@dataclass(slots=True)
class ScoredRegion:
    """One region's live state, without Spark."""

    artifact: Artifact
    state: CountState
    network: RiskNetwork | None
    engine: FeatureEngine
    stored: tuple[StoredView, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> "ScoredRegion":
        artifact = load_artifact(str(folder))
        return cls(artifact, artifact.history(), artifact.network(), FeatureEngine(artifact.spec, artifact.constants))

    def lines(self) -> bytes:
        """The points that what was counted since the last call has changed."""
        features = self.engine.compute(self.state)
        scores = score(features.values, self.network, self.artifact.constants, self.artifact.spec)
        frame = frame_of(self.artifact, self.state.as_of_s, features, scores)
        views = stored_views(frame, self.artifact.constants)
        before = self.stored or map(StoredView.new, views)
        steps = (old.then(view) for old, view in zip(before, views, strict=True))
        points, self.stored = zip(*steps, strict=True)
        return b"".join([*points, *(top_lines(view, TOP_K) for view in views), unusual_lines(frame)])


def slices(settings: Settings, events: int) -> Iterator[list[Message]]:
    """`events` messages from the beginning of the topic, at most the product's batch size at a time."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "plain-loop",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = consumer.list_topics(settings.topic).topics[settings.topic].partitions
    consumer.assign([TopicPartition(settings.topic, number, 0) for number in partitions])
    left = events
    while left:
        wanted = min(left, settings.max_events_per_batch)
        messages: list[Message] = []
        while len(messages) < wanted:
            part = consumer.consume(min(wanted - len(messages), _MOST_AT_ONCE), timeout=_WAIT_S)
            if not part:
                raise TimeoutError(f"{left - len(messages)} of {events} events did not come within {_WAIT_S} s")
            messages += part
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        left -= len(messages)
        yield messages
    consumer.close()


def main(orders: LoopOrders) -> None:
    settings = Settings(**orders.settings)
    regions = {folder.parent.name: ScoredRegion.of(folder) for folder in sorted(settings.artifacts.glob("*/*"))}
    specs = {name: region.artifact.spec for name, region in regions.items()}
    sink = InfluxSink(settings)
    done = counted = 0
    marks: list[tuple[int, float]] = []
    started_s = time.time()
    for messages in slices(settings, orders.events):
        decoded = decode_messages(
            Messages(
                values=[message.value() for message in messages],
                partition=np.array([message.partition() for message in messages]),
                kafka_offset=np.array([message.offset() for message in messages]),
                kafka_time_ms=np.array([message.timestamp()[1] for message in messages]),
            ),
            specs,
        )
        as_of_s, parts = int(time.time()), []
        for name, incidents in decoded.incidents.items():
            counted += regions[name].state.apply(incidents, as_of_s).outcomes["counted"]
            parts.append(regions[name].lines())
        sink.write(b"".join(parts))
        done += len(messages)
        marks.append((done, time.time()))
    sink.close()
    if counted != orders.events:
        sys.exit(f"invalid run: {orders.events} events were loaded, {counted} counted")
    result = Path(orders.result)
    result.with_suffix(".part").write_bytes(msgspec.json.encode({"started_s": started_s, "marks": marks}))
    result.with_suffix(".part").replace(result)


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LoopOrders))
