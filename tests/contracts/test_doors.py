"""The doors: what is added in one file and one line, from a module outside of the package, works on the main path."""

import sys

import msgspec
import numpy as np
import pytest

from models.artifact.artifact import read_artifact
from streaming.flow.outcomes import Outcomes
from streaming.flow.publish import Publisher
from streaming.flow.rows import FIELDS, Summary
from streaming.flow.score import score_features
from streaming.settings import Settings
from streaming.sinks.line_protocol import risk_lines
from streaming.sinks.open import SINKS, open_sink
from tests.harness.toy import toy_artifact, toy_spec

AS_OF_S = 1_700_000_060
A_SINK = """
from pathlib import Path
from streaming.sinks.contract import WriteReport, count_lines

class FolderSink:
    trouble = ""

    def __init__(self, settings, place):
        self.folder = Path(place)
        self.folder.mkdir()

    def check(self):
        pass

    def write(self, lines):
        (self.folder / f"{len(list(self.folder.iterdir()))}.lp").write_bytes(lines)
        return WriteReport(lines=count_lines(lines), bytes=len(lines), requests=1)

    def close(self):
        pass
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """outside(name, source): a module that is not part of the package."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


class Rows:
    """A batch as Spark gives it to the publisher."""

    def __init__(self, *rows):
        self.rows = rows

    def toArrow(self):
        return self

    def to_pylist(self):
        return self.rows


class NoLetters:
    def write(self, refused):
        assert not refused


def scored_row(folder):
    """The row of a region's first minute, with the scores of its artifact."""
    artifact = read_artifact(folder)
    spec = artifact.spec
    cells, categories = spec.grid.cells, len(spec.categories)
    model, scores = score_features(
        artifact, lambda: None, np.zeros((cells, categories, len(spec.features)), "<f4").tobytes()
    )
    counts = {"consumed": 1, "counted": 1}
    summary = Summary(
        as_of_s=AS_OF_S,
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


def test_a_sink_is_a_module_and_an_entry(outside, monkeypatch, tmp_path):
    outside("folder_sink", A_SINK)
    monkeypatch.setitem(SINKS, "folder", "folder_sink:FolderSink")
    published = []
    publisher = Publisher(
        sink=open_sink(Settings.from_environment({"RISK_SINK": f"folder:{tmp_path / 'scores'}"})),
        dead_letters=NoLetters(),
        outcomes=Outcomes(tmp_path),
        top_k=2,
        watchers=[published.append],
    )
    publisher(Rows(scored_row(toy_artifact(tmp_path / "artifacts", toy_spec()))), 0)
    (stored,) = (tmp_path / "scores").iterdir()
    lines = stored.read_bytes()
    assert lines.startswith(risk_lines(published[0].frames["toyville"]))
    assert published[0].points == lines.count(b"\n")
    assert {line.split(b",")[0] for line in lines.splitlines()} == {b"risk", b"top", b"pipeline"}
