"""A publisher without Spark and Kafka, a batch as Spark hands it over, and a sink in memory."""

import msgspec
import numpy as np

from models.artifact import read_artifact
from schemas.errors import SinkUnavailable
from streaming.flow.publish import Publisher
from streaming.flow.rows import FIELDS, Summary
from streaming.flow.score import score_features
from streaming.sinks.sink import Sink, WriteReport, count_lines


class Rows:
    def __init__(self, *rows):
        self.rows = rows

    def toArrow(self):
        return self

    def to_pylist(self):
        return self.rows


class NoLetters:
    def write(self, refused):
        assert not any(map(list, refused.values()))


def publisher_to(sink, checkpoint, **parts):
    """A publisher that expects no dead letter and keeps forecasts in `checkpoint`. parts: others in place of these."""
    usual = {"dead_letters": NoLetters(), "frames_folder": checkpoint / "frames", "top_k": 1, "watchers": []}
    return Publisher(sink=sink, checkpoint=checkpoint, **usual | parts)


def row_without_scores(region, artifact, summary):
    """A region's row of a batch that renewed no scores."""
    packed = msgspec.msgpack.encode(summary)
    return {"region": region, "artifact": artifact, "summary": packed, "scores": {"model": None}}


def scored_row(folder, as_of_s):
    """The row of a region's first minute, with the scores of its artifact."""
    artifact = read_artifact(folder)
    spec = artifact.spec
    cells, categories = spec.grid.cells, len(spec.categories)
    model, scores = score_features(
        artifact, lambda: None, np.zeros((cells, categories, len(spec.features)), "<f4").tobytes()
    )
    counts = {"consumed": 1, "counted": 1}
    summary = Summary(
        as_of_s=as_of_s,
        ledger=counts,
        totals=counts,
        observed_1h=np.zeros((cells, categories), "<i4").tobytes(),
        support=np.zeros((cells, categories), "u1").tobytes(),
    )
    packed = {name: getattr(scores, name).astype("<f4").tobytes() for name in FIELDS}
    return {
        "region": spec.region,
        "artifact": str(folder),
        "summary": msgspec.msgpack.encode(summary),
        "scores": {"model": model, **packed},
    }


class MemorySink(Sink):
    trouble = ""
    is_there = True  # whether it answers

    def __init__(self, *_: object) -> None:  # needs nothing of what `open_sink` gives
        self.writes: list[bytes] = []

    def check(self) -> None:
        """Memory can always be written."""

    def write(self, lines: bytes) -> WriteReport:
        if not self.is_there:
            raise SinkUnavailable("no answer", "start the store")
        count = count_lines(lines)
        self.writes.append(lines)
        return WriteReport(lines=count, requests=1)

    def close(self) -> None:
        """Nothing to release."""
