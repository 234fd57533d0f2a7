"""Forecasts whose dispersion differs by cell: kept in a file and judged as SciPy's negative binomials are."""

import numpy as np
import pytest
from scipy.stats import nbinom

from lifecycle.gate.judged_hour import judged_hour
from models.dispersion import Dispersion
from models.measures.outcomes import Forecast, by_chance, judge
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.left_behind.kept_forecasts import KeptForecasts
from schemas.spec import HOUR_S
from tests.harness.toy import toy_spec

SPEC = toy_spec(6, 5)
SHAPE = (30, 2, 3)
DRAW = np.random.default_rng(3)
POWER = np.broadcast_to([[0.0, 1, 0], [1, 0, 1]], SHAPE)
TICK_S = 1_700_000_000 // HOUR_S * HOUR_S
EXPECTED = DRAW.gamma(1.0, 1.0, SHAPE).astype(np.float32) + np.float32(0.01)
FORECAST = Forecast(
    model="new",
    expected=EXPECTED,
    usual=EXPECTED * np.float32(0.7),
    dispersion=Dispersion(r=DRAW.uniform(0.5, 9, SHAPE[1:]) * DRAW.choice([0.4, 1.0, 2.7], (30, 2, 1)), power=POWER),
    usual_dispersion=Dispersion(r=DRAW.uniform(0.5, 9, SHAPE), power=POWER[::-1]),
)


def closed(horizon):
    observed = np.random.default_rng(horizon).poisson(1.0, SHAPE[:2]).astype(np.int32)
    return ClosedHorizon(horizon=horizon, tick_s=TICK_S, observed=observed, judged_s=TICK_S + 2 * HOUR_S)


def law(place, expected=FORECAST.expected, dispersion=FORECAST.dispersion):
    mean = expected[place].astype(np.float64)
    size = dispersion.r[place] * mean ** dispersion.power[place]
    return nbinom(size, size / (size + mean))


def usual_law(place):
    return law(place, FORECAST.usual, FORECAST.usual_dispersion)


@pytest.fixture
def kept(tmp_path):
    folder = KeptForecasts(tmp_path)
    folder.write(FORECAST.to_keep(), SPEC, TICK_S)
    return Forecast.of_kept(folder.read(SPEC, TICK_S))


@pytest.mark.parametrize("horizon", range(3))
def test_a_kept_forecast_is_judged_by_the_dispersion_of_each_cell(kept, horizon):
    judged = judge(kept, closed(horizon), SPEC)
    observed = closed(horizon).observed
    total = 0.0
    for number, category in enumerate(SPEC.categories):
        here = (slice(None), number, horizon)
        assert judged[category]["log_score"] == pytest.approx(-law(here).logpmf(observed[:, number]).mean(), rel=1e-6)
        of_baseline = -usual_law(here).logpmf(observed[:, number]).mean()
        assert judged[category]["baseline_log_score"] == pytest.approx(of_baseline, rel=1e-6)
        brier = ((law(here).sf(0) - (observed[:, number] > 0)) ** 2).mean()
        assert judged[category]["brier"] == pytest.approx(brier, rel=1e-5)
        total -= law(here).logpmf(observed[:, number]).sum()
        bins = by_chance(kept, closed(horizon), SPEC)
        chances = sum(sums for (name, _), (_, sums, _) in bins.items() if name == category)
        assert chances == pytest.approx(law(here).sf(0).sum(), rel=1e-5)
    hour = judged_hour(kept, None, closed(horizon), SPEC)
    assert hour.champion == pytest.approx(total, rel=1e-6)
    places = (slice(None), slice(None), horizon)
    assert hour.baseline == pytest.approx(-usual_law(places).logpmf(observed).sum(), rel=1e-6)
