"""A publisher without Spark and Kafka, a batch as Spark hands it over, and a sink in memory."""

import msgspec
import numpy as np

from models.artifact import read_artifact
from schemas.errors import SinkUnavailable
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS
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


def scored_row(folder, as_of_s, draw=None, **summary_too):
    """A region's row of its first minute, with its artifact's scores. draw: with drawn ones, most of them small."""
    artifact = read_artifact(folder)
    spec = artifact.spec
    places = (spec.grid.cells, len(spec.categories))
    shape = (*places, len(spec.horizons_s))
    if draw is None:
        features = np.zeros((*places, len(spec.features)), "<f4").tobytes()
        model, of_artifact = score_features(artifact, lambda: None, features)
        scores = {name: getattr(of_artifact, name) for name in FIELDS}
        observed, support = np.zeros((2, *places))
    else:
        model, expected = folder.name, 10 ** draw.uniform(-8, 1.5, shape)
        scores = {
            "expected": expected,
            "risk": -np.expm1(-expected),
            "low": np.floor(expected),
            "high": np.ceil(3 * expected),
            "usual": expected * draw.uniform(0.5, 2, shape),
            "attribution": draw.uniform(0.2, 5, (ATTRIBUTED_RANKS, *shape[1:], len(ATTRIBUTION_GROUPS))),
        }
        observed, support = draw.poisson(1, places), draw.integers(0, 3, places)
    counts = {"consumed": 1, "counted": 1}
    of_places = {"observed_1h": observed.astype("<i4").tobytes(), "support": support.astype("u1").tobytes()}
    summary = Summary(as_of_s=as_of_s, ledger=counts, totals=counts, **of_places, **summary_too)
    return {
        "region": spec.region,
        "artifact": str(folder),
        "summary": msgspec.msgpack.encode(summary),
        "scores": {"model": model, **{name: scores[name].astype("<f4").tobytes() for name in FIELDS}},
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
