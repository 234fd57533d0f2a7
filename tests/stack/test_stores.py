"""Scores in real stores: what the sink sends is what a query gives back."""

import json
import shutil
from dataclasses import replace
from time import time

import numpy as np
import pytest
import urllib3

from benchmarks.local_store import BINARIES, local_store
from schemas.errors import SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from streaming.sinks.line_protocol import point_line, risk_lines, top_lines
from tests.harness.toy import toy_spec, toy_views

SPEC = toy_spec(30, 40, categories=("fire", "ems", "traffic"))
LATEST = (
    "SELECT last(risk) AS risk, expected FROM risk "
    "WHERE region='toyville' AND category='ems' AND horizon='4h' GROUP BY cell, geohash"
)
RISKIEST = "SELECT cell, risk, lift FROM top WHERE category='fire' AND horizon='24h' AND rank='01'"


@pytest.fixture(scope="module")
def scores():
    return toy_views(SPEC, as_of_s=int(time()) - 600)[0]


def victoria(folder):
    if shutil.which(BINARIES["victoria-metrics"]) is None:
        pytest.skip("victoria-metrics is not installed: apt-get install victoria-metrics")
    return local_store("victoria-metrics", folder)


@pytest.fixture(scope="module")
def victoria_metrics(tmp_path_factory):
    with victoria(tmp_path_factory.mktemp("victoria")) as url:
        yield url


@pytest.fixture(scope="module")
def filled(influxdb, scores):
    """A database in which the frame has overwritten one of half its forecasts."""
    store = influxdb.another("sink")
    store.write(everything(replace(scores, expected=scores.expected * np.float32(0.5))))
    store.write(everything(scores))
    return store


@pytest.fixture(scope="module")
def http():
    with urllib3.PoolManager(retries=False, timeout=20.0) as pool:
        yield pool


def everything(scores):
    fields = {"consumed": 12, "batch_s": 0.4, "state": 'said "no", twice = \\o/'}
    return (
        risk_lines(scores)
        + top_lines(scores, 10)
        + point_line("pipeline", {"region": "toyville"}, fields, scores.tick_s)
    )


def exported(http, url, metric):
    """Every stored (labels, [(milliseconds, value)]) of one metric."""
    assert http.request("GET", f"{url}/internal/force_flush").status == 200
    answer = http.request("GET", f"{url}/api/v1/export", fields={"match[]": metric})
    rows = [json.loads(line) for line in answer.data.splitlines()]
    return [(row["metric"], list(zip(row["timestamps"], row["values"], strict=True))) for row in rows]


def test_victoria_metrics_stores_each_score_that_the_sink_wrote(scores, victoria_metrics, http):
    sink = InfluxSink(Settings(influx_url=victoria_metrics, influx_token="any"))
    sink.check()
    lines = everything(scores)
    for _ in range(2):
        report = sink.write(lines)
        assert (report.lines, report.requests, report.dropped) == (10_800 + 90 + 1, 2, 0)
    sink.close()
    stored = exported(http, victoria_metrics, "risk_risk")
    assert len(stored) == 10_800
    ids, horizons = SPEC.grid.cell_ids(), ("1h", "4h", "24h")
    for labels, samples in stored:
        category, horizon = SPEC.categories.index(labels["category"]), horizons.index(labels["horizon"])
        risk = scores.risk[ids.index(labels["cell"]), category, horizon]
        for when_ms, value in samples:
            assert (when_ms, value) == (scores.tick_s * 1000, pytest.approx(risk, rel=5.1e-4, abs=5.1e-7))


def test_influxdb_gives_back_the_scores_by_cell_and_a_second_write_overwrites(scores, filled):
    series = filled.series(LATEST)
    assert len(series) == 1200
    ids, geohashes = SPEC.grid.cell_ids(), SPEC.grid.geohashes()
    for entry in series:
        cell = ids.index(entry["tags"]["cell"])
        assert entry["tags"]["geohash"] == geohashes[cell]
        assert entry["columns"] == ["time", "risk", "expected"]
        wanted = (scores.risk[cell, 1, 1], scores.expected[cell, 1, 1])
        (row,) = entry["values"]
        assert row == [scores.tick_s * 1000, *(pytest.approx(value, rel=5.1e-4, abs=5.1e-7) for value in wanted)]
    counted = filled.series("SELECT count(expected) FROM risk WHERE region='toyville'")
    assert counted[0]["values"][0][1] == 10_800


def test_influxdb_gives_back_top_and_pipeline_as_they_were(scores, filled):
    best = filled.series(RISKIEST)
    cell = int(np.lexsort((-scores.expected[:, 0, 2], -scores.risk[:, 0, 2]))[0])
    assert best[0]["values"][0][1] == SPEC.grid.cell_ids()[cell]
    assert best[0]["values"][0][2] == pytest.approx(scores.risk[cell, 0, 2], rel=5.1e-4)
    assert best[0]["values"][0][3] == pytest.approx(scores.expected[cell, 0, 2] / scores.usual[cell, 0, 2], rel=1e-3)
    point = filled.series("SELECT consumed, batch_s, state FROM pipeline WHERE region='toyville'")
    assert point[0]["values"][0][1:] == [12, 0.4, 'said "no", twice = \\o/']


@pytest.mark.fault("F26")
def test_every_number_is_a_float_to_influxdb(filled):
    types = {
        name: kind
        for measurement in ("risk", "top", "pipeline")
        for name, kind in filled.series(f"SHOW FIELD KEYS FROM {measurement}")[0]["values"]
    }
    texts = {"support", "model", "cell", "geohash", "state"}
    assert types == {name: "string" if name in texts else "float" for name in types}
    assert {"risk", "observed_1h", "lift", "consumed", *texts} <= set(types)


@pytest.mark.fault("F22")
@pytest.mark.store
def test_a_store_that_has_stopped_is_reported_and_its_lines_are_there_after_a_restart(tmp_path, scores, http):
    with victoria(tmp_path) as url:
        sink = InfluxSink(Settings(influx_url=url))
        sink.write(risk_lines(scores))
        sink.close()
    sink = InfluxSink(Settings(influx_url=url, write_timeout_s=0.5))
    with pytest.raises(SinkUnavailable, match="connection refused"):
        sink.write(risk_lines(scores))
    sink.close()
    with victoria(tmp_path) as url:
        assert len(exported(http, url, "risk_risk")) == 10_800


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SinkUnavailable, match="apt-get install influxdb"), local_store("influxdb", tmp_path):
        pytest.fail("nothing was there to start")


@pytest.mark.store
def test_a_store_that_cannot_start_is_reported_with_the_end_of_its_log(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with (
        pytest.raises(SinkUnavailable, match=r"ended with code .*store\.log"),
        victoria(tmp_path),
    ):
        pytest.fail("it must not start")
