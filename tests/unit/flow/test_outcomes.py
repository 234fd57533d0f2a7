"""Forecasts kept on the hour: which counts they are judged by, without Spark."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from schemas.errors import CheckpointError
from schemas.files import pack_arrays, unpack_arrays
from schemas.forecasts import ClosedCounts
from schemas.frame import Surge
from streaming.flow.count import Head, begins_an_hour
from streaming.flow.publish import keep_forecast, outcome_points
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


def test_a_forecast_is_judged_by_counts_of_its_own_spec_only(checkpoint):
    """The other specs have as many cells, categories and horizons."""
    judged = outcome_points(checkpoint, SPEC, CLOSED)
    assert judged.count(b"outcome,") == len(SPEC.categories)
    for other in ({"categories": ("fire", "ems")}, {"grid": msgspec.structs.replace(SPEC.grid, south_deg=42.0)}):
        assert outcome_points(checkpoint, msgspec.structs.replace(SPEC, **other), CLOSED) == b""


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


@pytest.mark.parametrize("after_s", [-60, 60, 1800])
def test_only_a_frame_of_a_whole_hour_is_kept(checkpoint, tmp_path, after_s):
    (folder,) = (tmp_path / "artifacts" / "toyville").iterdir()
    keep_forecast(checkpoint, frame(SPEC, HOUR_S + after_s, np.random.default_rng(1)), str(folder))
    assert [path.stem for path in (tmp_path / "outcomes" / "toyville").iterdir()] == [str(HOUR_S)]


@pytest.mark.parametrize(
    ("before_s", "after_s", "begins"),
    [(-60, 0, True), (-1, 3600, True), (0, 0, False), (0, 60, False), (-60, 60, False), (-120, -60, False)],
)
def test_the_challenger_is_scored_with_the_first_frame_of_a_whole_hour(before_s, after_s, begins):
    before, after = (Head(emitted_tick_s=HOUR_S + seconds) for seconds in (before_s, after_s))
    assert begins_an_hour(before, after) is begins


def test_a_forecast_that_does_not_name_its_spec_is_not_used(checkpoint, tmp_path):
    path = tmp_path / "outcomes" / "toyville" / f"{HOUR_S}.npz"
    arrays = unpack_arrays(path.read_bytes(), path, 1 << 20)
    path.write_bytes(pack_arrays({name: array for name, array in arrays.items() if name != "spec"}))
    with pytest.raises(CheckpointError, match="is damaged"):
        outcome_points(checkpoint, SPEC, CLOSED)
