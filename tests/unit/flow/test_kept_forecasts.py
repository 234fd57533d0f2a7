"""Forecasts and counts that are kept: on the hour, for outcomes and for a trial, whose damage stops no batch."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from lifecycle.gate import trial_path
from lifecycle.shadow import shadow_path
from schemas.errors import CheckpointError
from schemas.files import pack_arrays, unpack_arrays
from schemas.forecasts import (
    ClosedCounts,
    ClosedFiles,
    ClosedHorizon,
    KeptForecast,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    last_grace_s,
    trial_folder,
)
from schemas.frame import Surge
from streaming.flow.publish import keep_forecast, outcome_points
from streaming.flow.rows import Summary
from tests.harness.batch import MemorySink, Rows, publisher_to, scored_row
from tests.harness.grafana_world import frame
from tests.harness.points import stored_points
from tests.harness.toy import toy_artifact, toy_spec

HOUR_S = 1_764_003_600
SPEC = toy_spec(3, 4, categories=("ems", "fire"))
CLOSED = [ClosedCounts(horizon=0, tick_s=HOUR_S, judged_s=HOUR_S + 7200, observed=np.ones((12, 2), "<i4").tobytes())]


def keeping(folder, spec):
    """A checkpoint that keeps a forecast of the spec."""
    artifact = toy_artifact(folder / "artifacts", spec, cutoff_s=HOUR_S)
    keep_forecast(folder, frame(spec, HOUR_S, np.random.default_rng(1)), str(artifact))
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return keeping(tmp_path, SPEC)


def test_a_district_counts_every_incident_of_its_cells(tmp_path):
    """Eight rows of four cells make sixteen districts of two cells, one above the other."""
    spec = toy_spec(8, 4, categories=("ems", "fire"))
    observed = np.random.default_rng(2).poisson(2.0, (32, 2)).astype("<i4")
    closed = ClosedCounts(horizon=0, tick_s=HOUR_S, judged_s=HOUR_S + 7200, observed=observed.tobytes())
    points = stored_points([outcome_points(keeping(tmp_path, spec), spec, [closed])])
    came = {key: fields["observed"] for (key, _), fields in points.items() if key.startswith("outcome_area,")}
    assert len(came) == 32
    for number in range(16):
        row, col = divmod(number, 4)
        for c, category in enumerate(spec.categories):
            (here,) = [count for key, count in came.items() if f"category={category},district={number + 1:02d}," in key]
            assert float(here) == observed[[8 * row + col, 8 * row + 4 + col], c].sum()


def test_a_forecast_is_judged_by_counts_of_its_own_spec_only(checkpoint, tmp_path):
    """The other specs have as many cells, categories and horizons. A file that does not name its spec is not used."""
    assert outcome_points(checkpoint, SPEC, CLOSED).count(b"outcome,") == len(SPEC.categories)
    for other in ({"categories": ("fire", "ems")}, {"grid": msgspec.structs.replace(SPEC.grid, south_deg=42.0)}):
        assert outcome_points(checkpoint, msgspec.structs.replace(SPEC, **other), CLOSED) == b""
    path = tmp_path / "outcomes" / "toyville" / f"{HOUR_S}.npz"
    arrays = unpack_arrays(path.read_bytes(), path, 1 << 20)
    path.write_bytes(pack_arrays({name: array for name, array in arrays.items() if name != "spec"}))
    with pytest.raises(CheckpointError, match="is damaged"):
        outcome_points(checkpoint, SPEC, CLOSED)


def test_what_a_surge_raised_is_judged_as_shown_and_said_beside_what_was_expected_without_it(tmp_path):
    """The kept forecast is as wide as it was shown, and has the factor of each category and horizon."""
    surge = Surge(category="fire", factors=(2.5, 1.4, 1.0), spreads=(0.5, 0.2, 0.0), observed=30, usual=4.2)
    shown = frame(SPEC, HOUR_S, np.random.default_rng(1))
    kept = {}
    for name, surges in (("raised", (surge,)), ("calm", ())):
        checkpoint = tmp_path / name
        artifact = toy_artifact(tmp_path / name / "artifacts", SPEC, cutoff_s=HOUR_S)
        keep_forecast(checkpoint, replace(shown, surges=surges), str(artifact))
        points = stored_points([outcome_points(checkpoint, SPEC, CLOSED)])
        kept[name] = {key.split(",")[1]: of for (key, _), of in points.items() if key.startswith("outcome,")}
    fire, ems = (kept["raised"][f"category={category}"] for category in ("fire", "ems"))
    assert float(fire["raised"]) == 2.5
    assert float(fire["unraised"]) == pytest.approx(float(fire["expected"]) / 2.5)
    assert fire["log_score"] != kept["calm"]["category=fire"]["log_score"]
    assert ems == kept["calm"]["category=ems"]
    later = msgspec.structs.replace(CLOSED[0], horizon=1)
    points = stored_points([outcome_points(tmp_path / "raised", SPEC, [later])])
    (of_4h,) = [of for (key, _), of in points.items() if key.startswith("outcome,category=fire")]
    assert float(of_4h["raised"]) == 1.4


def test_only_a_frame_of_a_whole_hour_is_kept(checkpoint, tmp_path):
    (folder,) = (tmp_path / "artifacts" / "toyville").iterdir()
    for after_s in (-60, 60, 1800):
        keep_forecast(checkpoint, frame(SPEC, HOUR_S + after_s, np.random.default_rng(1)), str(folder))
    assert [path.stem for path in (tmp_path / "outcomes" / "toyville").iterdir()] == [str(HOUR_S)]


TRIED = toy_spec()
TICK_S = 1_764_028_800
CHALLENGER = "20260102T000000Z-bbbbbbbb"


@pytest.fixture
def folder(tmp_path):
    return toy_artifact(tmp_path / "artifacts", TRIED, cutoff_s=TICK_S - 86_400)


@pytest.fixture
def job(tmp_path):
    """(publisher, what it stored)."""
    sink = MemorySink()
    return publisher_to(sink, tmp_path / "checkpoint", top_k=2), sink


def rows_of(folder, *, of_challenger=None):
    """A region's batch on the hour: with the closing of an hour of the day before, and its challenger's forecast."""
    row = scored_row(folder, TICK_S)
    summary = msgspec.msgpack.decode(row["summary"], type=Summary)
    counts = np.zeros((TRIED.grid.cells, len(TRIED.categories)), np.int32)
    horizon_s = TRIED.horizons_s[0]
    closed = [
        ClosedHorizon(horizon=0, tick_s=TICK_S - horizon_s - grace_s, judged_s=TICK_S, observed=counts)
        for grace_s in (3600, last_grace_s(TRIED))
    ]
    summary = msgspec.structs.replace(summary, closed=tuple(map(ClosedCounts.of, closed)))
    scores = {**row["scores"], "model": CHALLENGER, "raw": row["scores"]["usual"], "followed": "3600"}
    beside = {
        "region": TRIED.region,
        "artifact": of_challenger or str(folder),
        "summary": None,
        "scores": scores,
        "following": None,
    }
    return Rows({**row, "summary": msgspec.msgpack.encode(summary)}, beside)


def test_a_forecast_is_deleted_three_days_after_its_last_judgement(tmp_path):
    """The judge may stand still that long. It goes two hours later still."""
    kept = KeptForecasts(tmp_path)
    shape = (TRIED.grid.cells, len(TRIED.categories), len(TRIED.horizons_s))
    names = ("expected", "usual", "dispersion", "dispersion_power", "usual_dispersion", "usual_dispersion_power")
    forecast = KeptForecast(model=CHALLENGER, **dict.fromkeys(names, np.ones(shape, np.float32)))
    last_s = TICK_S + max(TRIED.horizons_s) + last_grace_s(TRIED) + 3 * 86_400 + 2 * 3600
    for tick_s in (TICK_S, last_s, last_s + 3600):
        assert kept.path(TRIED.region, TICK_S).exists() is (tick_s > TICK_S)
        kept.write(forecast, TRIED, tick_s)
    assert [int(path.stem) for path in sorted(tmp_path.glob("*/*"))] == [last_s, last_s + 3600]


def test_a_forecast_of_the_challenger_and_last_counts_are_kept_and_nothing_is_judged(job, folder, tmp_path):
    publisher, sink = job
    publisher(rows_of(folder), 0)
    checkpoint = tmp_path / "checkpoint"
    kept = KeptForecasts(forecasts_folder(checkpoint)).read(TRIED, TICK_S)
    assert (kept.model, kept.following) == (CHALLENGER, "3600")
    np.testing.assert_array_equal(kept.raw, kept.usual)
    files = ClosedFiles(closed_folder(checkpoint))
    (path,) = files.waiting(TRIED.region)
    (closed,) = files.read(path, TRIED)  # the one that no late report can change
    assert closed.tick_s == TICK_S - TRIED.horizons_s[0] - last_grace_s(TRIED)
    assert not shadow_path(checkpoint, TRIED.region).exists()
    stored = {line.split(b",")[0] for write in sink.writes for line in write.splitlines()}
    assert stored == {b"risk", b"top", b"unusual", b"pipeline"}


def test_outcomes_alone_are_an_acknowledgement(job, folder):
    publisher, _ = job
    closing = rows_of(folder).rows[0]
    counts = np.zeros((TRIED.grid.cells, len(TRIED.categories)), np.int32)
    closed = ClosedCounts.of(ClosedHorizon(horizon=0, tick_s=TICK_S, judged_s=TICK_S + 7200, observed=counts))
    quiet, published = Summary(as_of_s=TICK_S + 7200, ledger={"consumed": 0}, totals={}, closed=(closed,)), []
    publisher.watchers = [published.append]
    publisher(Rows(closing), 0)
    publisher.now_s = lambda: 77.0
    publisher(Rows({**closing, "summary": msgspec.msgpack.encode(quiet), "scores": {"model": None}}), 1)
    assert (published[-1].points > 0, published[-1].acknowledged_s) == (True, 77.0)


def test_what_the_baseline_did_in_place_of_a_network_is_not_kept(job, folder, tmp_path):
    rows = rows_of(folder)
    rows.rows[1]["scores"]["model"] = "baseline:network unusable"
    job[0](rows, 0)
    assert not forecasts_folder(tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("damage", ["no folder", "damaged folder", "a file in the place of trials", "damaged files"])
def test_a_fault_in_what_is_tried_is_said_stops_no_batch_and_changes_no_point(job, folder, tmp_path, damage, caplog):
    publisher, sink = job
    checkpoint, challenger = tmp_path / "checkpoint", tmp_path / "tried" / CHALLENGER
    spoilt = {
        "no folder": [],
        "damaged folder": [challenger / "manifest.json"],
        "a file in the place of trials": [trial_folder(checkpoint)],
        "damaged files": [
            *(trial_path(tmp_path / "artifacts", TRIED.region), shadow_path(checkpoint, TRIED.region)),
            closed_folder(checkpoint) / TRIED.region / "1.counts",
        ],
    }
    for path in spoilt[damage]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"garbage")
    publisher(rows_of(folder, of_challenger=str(challenger) if "folder" in damage else None), 0)
    assert publisher.batches == 1
    assert publisher.take_failure() is None
    said = {"no folder": "forecast is not kept", "a file in the place of trials": "counts are not kept for a trial"}
    assert said.get(damage, "") in caplog.text
    alone = MemorySink()
    publisher_to(alone, tmp_path / "other", top_k=2)(rows_of(folder), 0)

    def of_the_map(writes):
        return [line for write in writes for line in write.splitlines() if not line.startswith(b"pipeline")]

    assert of_the_map(sink.writes) == of_the_map(alone.writes)
