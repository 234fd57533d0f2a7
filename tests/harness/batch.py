"""A batch as Spark hands it to the publisher, and dead letters of which there are none."""

import msgspec
import numpy as np

from models.artifact.artifact import read_artifact
from streaming.flow.rows import FIELDS, Summary
from streaming.flow.score import score_features


class Rows:
    def __init__(self, *rows):
        self.rows = rows

    def toArrow(self):
        return self

    def to_pylist(self):
        return self.rows


class NoLetters:
    def write(self, refused):
        assert not refused


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
