"""Forecasts kept on the hour: which counts they are judged by, without Spark."""

import msgspec
import numpy as np
import pytest

from schemas.arrays import pack_arrays, unpack_arrays
from schemas.errors import CheckpointError
from schemas.left_behind.closed_counts import ClosedCounts
from streaming.flow.count import Head, begins_an_hour
from streaming.flow.outcomes import Outcomes
from tests.harness.grafana_world import frame
from tests.harness.toy import toy_artifact, toy_spec

HOUR_S = 1_764_003_600
SPEC = toy_spec(3, 4, categories=("ems", "fire"))
CLOSED = [ClosedCounts(horizon=0, tick_s=HOUR_S, judged_s=HOUR_S + 7200, observed=np.ones((12, 2), "<i4").tobytes())]


@pytest.fixture
def outcomes(tmp_path):
    """A checkpoint that keeps a forecast of SPEC."""
    folder = toy_artifact(tmp_path / "artifacts", SPEC, cutoff_s=HOUR_S)
    kept = Outcomes(tmp_path)
    kept.keep(frame(SPEC, HOUR_S, np.random.default_rng(1)), str(folder))
    return kept


def test_a_forecast_is_judged_by_counts_of_its_own_spec_only(outcomes):
    """The other specs have as many cells, categories and horizons."""
    judged = outcomes.points(SPEC, CLOSED)
    assert judged.count(b"outcome,") == len(SPEC.categories)
    for other in ({"categories": ("fire", "ems")}, {"grid": msgspec.structs.replace(SPEC.grid, south_deg=42.0)}):
        assert outcomes.points(msgspec.structs.replace(SPEC, **other), CLOSED) == b""


@pytest.mark.parametrize("after_s", [-60, 60, 1800])
def test_only_a_frame_of_a_whole_hour_is_kept(outcomes, tmp_path, after_s):
    (folder,) = (tmp_path / "artifacts" / "toyville").iterdir()
    outcomes.keep(frame(SPEC, HOUR_S + after_s, np.random.default_rng(1)), str(folder))
    assert [path.stem for path in (tmp_path / "outcomes" / "toyville").iterdir()] == [str(HOUR_S)]


@pytest.mark.parametrize(
    ("before_s", "after_s", "begins"),
    [(-60, 0, True), (-1, 3600, True), (0, 0, False), (0, 60, False), (-60, 60, False), (-120, -60, False)],
)
def test_the_challenger_is_scored_with_the_first_frame_of_a_whole_hour(before_s, after_s, begins):
    before, after = (Head(emitted_tick_s=HOUR_S + seconds) for seconds in (before_s, after_s))
    assert begins_an_hour(before, after) is begins


def test_a_forecast_that_does_not_name_its_spec_is_not_used(outcomes, tmp_path):
    path = tmp_path / "outcomes" / "toyville" / f"{HOUR_S}.npz"
    arrays = unpack_arrays(path.read_bytes(), path, 1 << 20)
    path.write_bytes(pack_arrays({name: array for name, array in arrays.items() if name != "spec"}))
    with pytest.raises(CheckpointError, match="is damaged"):
        outcomes.points(SPEC, CLOSED)
