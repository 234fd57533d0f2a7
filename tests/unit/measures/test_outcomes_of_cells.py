"""Forecasts whose dispersion differs by cell: kept in a file and judged as SciPy's negative binomials are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nbinom

from lifecycle.judge import judged_hour
from models.dispersion import Dispersion
from models.measures import Forecast, by_chance, judge
from schemas.forecasts import ClosedHorizon, KeptForecasts
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
    sums = EXPECTED[:, :, horizon].sum(axis=0, dtype=np.float64)
    assert hour.champion_expected == hour.challenger_expected == dict(zip(SPEC.categories, sums, strict=True))
    assert (hour.alone, hour.alone_expected) == (None, None)
    followed = judged_hour(replace(kept, expected=2 * kept.expected, raw=kept.expected), None, closed(horizon), SPEC)
    assert (followed.alone, followed.alone_expected) == (hour.champion, hour.champion_expected)
    assert followed.champion != hour.champion
    places = (slice(None), slice(None), horizon)
    assert hour.baseline == pytest.approx(-usual_law(places).logpmf(observed).sum(), rel=1e-6)


def test_empty_cells_around_a_region_change_no_hit(tmp_path):
    """A grid three times as large, for want of care with wrong places, made each named share three times as large."""
    wide = toy_spec(20, 5)
    far = ((0, 70), (0, 0), (0, 0))
    dispersion = Dispersion(r=FORECAST.dispersion.r[:1], power=FORECAST.dispersion.power[:1])
    small = replace(FORECAST, dispersion=dispersion, usual_dispersion=dispersion, has_history=np.ones(30, np.bool_))
    large = replace(
        small,
        expected=np.pad(FORECAST.expected, far, constant_values=1e-6),
        usual=np.pad(FORECAST.usual, far, constant_values=1e-6),
        has_history=np.arange(100) < 30,
    )
    folder = KeptForecasts(tmp_path)
    folder.write(large.to_keep(), wide, TICK_S)
    large = Forecast.of_kept(folder.read(wide, TICK_S))
    came, first = closed(1), SPEC.categories[0]
    around = ClosedHorizon(horizon=1, tick_s=TICK_S, observed=np.pad(came.observed, far[:2]), judged_s=came.judged_s)
    hits = [
        {name: value for name, value in figures.items() if "hits" in name}
        for figures in (judge(small, came, SPEC)[first], judge(large, around, wide)[first])
    ]
    assert hits[0] == hits[1]
    assert len(hits[0]) == 6
    nobody = replace(large, has_history=np.zeros(100, np.bool_))
    assert judge(nobody, around, wide) == judge(replace(large, has_history=None), around, wide)
