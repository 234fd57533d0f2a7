"""Scores, rankings, totals, calibration and outcomes against SciPy, scikit-learn and sums by hand."""

import pickle
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import chisquare, nbinom, poisson
from sklearn.metrics import brier_score_loss, mean_poisson_deviance

from lifecycle.live_judge import judged_hour
from models import measures
from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.measures import (
    PIT_BINS,
    PROPER,
    Intervals,
    cumulative,
    intervals_of,
    proper_scores,
    reliability_of,
    score,
    totals_of,
)
from models.outcomes import BANDS, Forecast, by_chance, captured, districts, judge
from schemas.errors import DataError
from schemas.forecasts import ClosedHorizon, KeptForecasts
from schemas.spec import HOUR_S
from tests.harness.small_task import cube_of, in_runs
from tests.harness.toy import toy_spec

SIZES = (0.05, 0.5, 2.7, 20.5, 300.0, 1e4, 1e6)
MEANS = np.array([1e-4, 1e-3, 0.03, 0.5, 3.0, 30.0, 300.0])
COUNTS = np.array([0, 1, 2, 5, 40, 400], np.int32)
R = np.array([0.6, 50.0])
DISPERSION = Dispersion.quadratic(R)
NAMES = ("fire", "ems")


def simulated(steps=60, cells=40, seed=0):
    """Means of any size, and counts that follow them."""
    random = np.random.default_rng(seed)
    mean = random.gamma(0.4, size=(steps, cells, 2)) + 1e-4
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.int32)
    return mean, counts


def scored(mean, counts, dispersion=DISPERSION, names=NAMES, *, seed=1, run=1000, has_history=None):
    """Scored in runs of `run` steps."""
    steps, cells, _ = counts.shape
    runs = in_runs(run, mean, counts)
    has_history = np.ones(cells, np.bool_) if has_history is None else has_history
    return score(runs, dispersion, names, np.random.default_rng(seed), steps=steps, has_history=has_history)


@pytest.mark.parametrize("power", [QUADRATIC, LINEAR])
@pytest.mark.parametrize("r", SIZES)
def test_proper_scores_are_scipys_and_scikit_learns(r, power):
    mean, counts = (grid.ravel() for grid in np.meshgrid(MEANS, COUNTS))
    size = r * mean**power
    law = nbinom(size, size / (size + mean))
    values, probability = proper_scores(mean, counts, Dispersion(r=np.array(r), power=np.array(power)))
    by_name = dict(zip(PROPER, values, strict=True))
    loose = 2e-6  # SciPy takes size / (size + mean), which rounds a large size's small mean
    np.testing.assert_allclose(by_name["nb_log_score"], -law.logpmf(counts), rtol=loose)
    saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300))
    deviance = 2 * (saturated - poisson.logpmf(counts, mean))
    np.testing.assert_allclose(by_name["poisson_deviance"], deviance, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(probability, law.sf(0), rtol=loose)
    assert by_name["brier"].mean() == pytest.approx(brier_score_loss(counts > 0, law.sf(0)))


def test_a_sheet_has_the_means_over_all_values():
    mean, counts = simulated()
    result = scored(mean, counts)
    law = nbinom(R, R / (R + mean))
    assert result.sheet.nb_log_score == pytest.approx(-law.logpmf(counts).mean())
    np.testing.assert_allclose(result.log_score_sums[0], -law.logpmf(counts).sum(axis=1))
    assert result.sheet.poisson_deviance == pytest.approx(mean_poisson_deviance(counts.ravel(), mean.ravel()))
    assert result.sheet.brier == pytest.approx(brier_score_loss(counts.ravel() > 0, law.sf(0).ravel()))
    assert result.sheet.forecast_over_actual == pytest.approx(mean.sum() / counts.sum())
    for c, name in enumerate(NAMES):
        row = result.by_category[name]
        assert row.nb_log_score == pytest.approx(-law.logpmf(counts)[..., c].mean())
        alone = scored(mean[..., [c]], counts[..., [c]], DISPERSION[[c]], [name]).sheet
        assert (alone.nb_log_score, alone.ranking) == (row.nb_log_score, row.ranking)
        assert row.forecast_over_actual == pytest.approx(mean[..., c].sum() / counts[..., c].sum())
    rows = result.by_category.values()
    for name in (*PROPER, "coverage_90"):
        assert getattr(result.sheet, name) == pytest.approx(np.mean([getattr(row, name) for row in rows]))
    of_each = [captured(mean[..., c], counts[..., c]) for c in range(2)]
    for at in result.sheet.ranking:
        caught, ideal = (sum(getattr(of, name)[at.cells - 1] for of in of_each) for name in ("caught", "ideal"))
        assert (at.hit_rate, at.ideal_hit_rate) == pytest.approx((caught / counts.sum(), ideal / counts.sum()))


@settings(max_examples=30)
@given(run=st.integers(1, 40), block=st.integers(1, 40), cells=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_the_size_of_the_runs_and_of_the_blocks_changes_no_bit(run, block, cells, seed):
    mean, counts = simulated(steps=37, cells=cells, seed=seed)
    mean[::2] = np.round(mean[::2], 1) + 0.1  # with ties
    whole = scored(mean, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_VALUES", block * cells)
        patch.setattr(measures, "PART_VALUES", 7 * block)
        pieces = scored(mean, counts, run=run)
    assert pickle.dumps(pieces) == pickle.dumps(whole)
    cube, every = cube_of(counts, rows=1, cols=cells), np.ones(cells, np.bool_)
    totals, together = (totals_of(in_runs(steps, mean, counts), cube, every) for steps in (run, 1000))
    assert totals == together


def test_a_category_without_incidents_has_no_figures_that_need_one():
    mean, counts = simulated()
    counts[..., 1] = 0
    result = scored(mean, counts)
    empty = result.by_category["ems"]
    assert np.isnan([empty.forecast_over_actual, empty.ranking[0].pai]).all()
    assert np.isfinite([getattr(empty, name) for name in PROPER]).all()
    nothing = scored(mean, np.zeros_like(counts)).sheet
    at = nothing.ranking[0]
    assert np.isnan([nothing.forecast_over_actual, at.hit_rate, at.ideal_hit_rate, at.pai, at.pei]).all()


@pytest.mark.parametrize(("value", "message"), [(0.0, "from 0 to"), (np.nan, "nan"), (2e6, r"to 2e\+06")])
def test_a_model_that_has_failed_is_refused(value, message):
    mean, counts = simulated(steps=3, cells=2)
    mean[0, 0, 0] = value
    with pytest.raises(DataError, match=message):
        scored(mean, counts)


def test_empty_cells_around_the_others_make_no_hit_cheaper():
    """Incidents in cells without history are missed by every choice."""
    mean, counts = simulated()
    far = ((0, 0), (0, 80), (0, 0))
    wide, empty = np.pad(mean, far, constant_values=1e-6), np.pad(counts, far)
    has_history = np.arange(120) < 40
    hits = {
        of: scored(*of_cells, has_history=known).sheet.ranking
        for of, of_cells, known in (("all", (mean, counts), None), ("wide", (wide, empty), has_history))
    }
    assert hits["wide"] == hits["all"]
    assert scored(wide, empty).sheet.ranking[2].hit_rate > 1.5 * hits["all"][2].hit_rate
    empty[:, -1] = counts.sum(axis=1)
    rates = [at.hit_rate for at in scored(wide, empty, has_history=has_history).sheet.ranking]
    assert rates == pytest.approx([at.hit_rate / 2 for at in hits["all"]])


FEW_STEPS, FEW_CELLS = 3, 5
few = arrays.arrays(np.float64, (FEW_STEPS, FEW_CELLS), elements=st.sampled_from([0.1, 0.2, 0.3]))
seen = arrays.arrays(np.int32, (FEW_STEPS, FEW_CELLS), elements=st.integers(0, 4))


@given(few, seen)
def test_tied_cells_catch_what_they_catch_on_average_over_all_orders(mean, counts):
    caught = np.zeros(FEW_CELLS)
    for row, incidents in zip(mean, counts, strict=True):
        orders = [sorted(order, key=lambda cell: -row[cell]) for order in permutations(range(FEW_CELLS))]
        caught += np.mean([incidents[order].cumsum() for order in orders], axis=0)
    result = captured(mean, counts)
    np.testing.assert_allclose(result.caught, caught)
    best = [max(sum(chosen) for chosen in permutations(incidents, k)) for k in range(1, 6) for incidents in counts]
    np.testing.assert_array_equal(result.ideal, np.reshape(best, (FEW_CELLS, FEW_STEPS)).sum(axis=1))


def test_a_small_map_by_hand():
    #  forecast   9 5 5 1 | 2 2 2 8       caught with 2 cells: 4 + (1 + 3) / 2, and 0 + (6 + 0 + 0) / 3
    #  incidents  4 1 3 0 | 6 0 0 0       the ideal: 4 + 3, and 6
    mean = np.array([[9.0, 5, 5, 1], [2, 2, 2, 8]])
    counts = np.array([[4, 1, 3, 0], [6, 0, 0, 0]], np.int32)
    half = captured(mean, counts).at(0.5)
    assert half.cells == 2
    assert half.hit_rate == pytest.approx(8 / 14)
    assert half.ideal_hit_rate == pytest.approx(13 / 14)
    assert half.pai == pytest.approx(8 / 14 / 0.5)
    assert half.pei == pytest.approx(8 / 13)


@pytest.mark.parametrize(("share", "cells"), [(0.01, 2), (0.05, 8), (0.10, 17), (0.20, 34), (0.001, 1)])
def test_the_flagged_cells_depend_on_the_area_alone_and_the_pai_on_their_true_share(share, cells):
    random = np.random.default_rng(0)
    counts = random.poisson(0.2, (50, 168))
    at = captured(random.random(counts.shape), counts).at(share)
    assert at.cells == cells
    assert at.pai == pytest.approx(at.hit_rate / (cells / 168))


ROWS, COLS, STEPS, EARLIER = 6, 9, 50, 30


def test_the_groups_are_those_of_a_count_by_hand():
    """A forecast of the last steps of a cube, which follow it."""
    random = np.random.default_rng(0)
    mean = random.gamma(0.3, 0.5, (STEPS, ROWS * COLS, 2)) + 1e-4
    earlier, counts = np.full((EARLIER, *mean.shape[1:]), 99, np.int32), random.poisson(mean)
    cube = cube_of(np.concatenate([earlier, counts]), rows=ROWS, cols=COLS, steps_per_week=168)
    every = np.ones(ROWS * COLS, np.bool_)
    result = totals_of([(mean, counts)], cube, every)
    keys = {
        "by_category": lambda cell, category: cube.categories[category],
        "by_district": lambda cell, category: f"district {cell // COLS * 4 // ROWS * 4 + cell % COLS * 4 // COLS + 1}",
    }
    for field, key in keys.items():
        by_hand = {}
        for step, cell, category in np.ndindex(mean.shape):
            pair = by_hand.setdefault(key(cell, category), [0.0, 0])
            pair[0] += mean[step, cell, category]
            pair[1] += counts[step, cell, category]
        rows = getattr(result, field)
        assert [row.name for row in rows] == list(by_hand)
        for row in rows:
            assert [row.forecast, row.actual] == pytest.approx(by_hand[row.name])
            assert row.ratio == row.forecast / row.actual
        assert [result.city.forecast, result.city.actual] == pytest.approx(np.sum(list(by_hand.values()), axis=0))
    nothing = totals_of([(mean, np.zeros_like(mean))], cube, every)
    assert np.isnan(nothing.city.ratio)


@given(st.integers(1, 40), st.integers(1, 40))
def test_districts_are_rectangles_of_nearly_one_size(rows, cols):
    board = districts(rows, cols).reshape(rows, cols)
    assert np.unique(board).tolist() == list(range(min(BANDS, rows) * min(BANDS, cols)))
    for number in np.unique(board):
        inside = np.argwhere(board == number)
        height, width = np.ptp(inside, axis=0) + 1
        assert len(inside) == height * width
        assert abs(height - rows / min(BANDS, rows)) < 1
        assert abs(width - cols / min(BANDS, cols)) < 1


SIZE = 1.7
QUADRATIC_ONE = Dispersion.quadratic(SIZE)
VALUES = 100_000


def simulated_values(scale, seed=0):
    random = np.random.default_rng(seed)
    mean = random.gamma(0.5, 2 * scale, VALUES) + 1e-4
    return mean, random.negative_binomial(SIZE, SIZE / (SIZE + mean)).astype(np.int32)


@pytest.mark.parametrize("power", [QUADRATIC, LINEAR])
@pytest.mark.parametrize("r", [0.05, 0.5, 2.7, 20.5, 300.0, 1e6])
def test_the_distribution_function_is_scipys(r, power):
    mean, counts = (grid.ravel() for grid in np.meshgrid([1e-4, 0.03, 0.5, 3.0, 30.0], [0, 1, 2, 5, 40]))
    size = r * mean**power
    law = nbinom(size, size / (size + mean))
    below, up_to = cumulative(mean, counts.astype(np.int32), Dispersion(r=np.array(r), power=np.array(power)))
    np.testing.assert_allclose(up_to, law.cdf(counts), rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(below, law.cdf(counts - 1), rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("scale", [0.03, 1.0, 10.0])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_right_forecast_keeps_its_promises_and_half_and_double_the_truth_bend_the_histogram(scale, factor):
    mean, counts = simulated_values(scale)
    tallies = intervals_of(factor * mean, counts, QUADRATIC_ONE, np.random.default_rng(1).random(len(mean)))
    if factor == 1:
        assert chisquare(tallies.pit).pvalue > 1e-3
        assert tallies.figures()["coverage_90"] == pytest.approx(0.9, abs=4 * (0.09 / VALUES) ** 0.5)
    else:
        assert chisquare(tallies.pit).pvalue < 1e-6
        lower, upper = tallies.pit[: PIT_BINS // 2].sum(), tallies.pit[PIT_BINS // 2 :].sum()
        assert (lower > upper) == (factor > 1)


def test_where_incidents_are_expected_the_coverage_notices_half_the_truth():
    mean, counts = simulated_values(0.3)
    uniform = np.random.default_rng(1).random(len(mean))
    right, half = (intervals_of(factor * mean, counts, QUADRATIC_ONE, uniform) for factor in (1.0, 0.5))
    busy = int((mean >= 1).sum())
    assert right.busy.sum() == busy > 1000
    assert right.figures()["busy_coverage_90"] == pytest.approx(0.9, abs=4 * (0.09 / busy) ** 0.5)
    assert half.figures()["busy_coverage_90"] < 0.85
    assert np.isnan(intervals_of(0.001 * mean, counts, QUADRATIC_ONE, uniform).figures()["busy_coverage_90"])


def test_coverage_is_the_middle_of_the_histogram():
    tallies = Intervals(pit=np.arange(PIT_BINS), busy=np.ones(PIT_BINS, int))
    assert tallies.figures()["busy_coverage_90"] == 0.9
    assert tallies.figures()["coverage_90"] == sum(range(1, 19)) / 190


def test_bins_without_ties_hold_equally_many_and_a_constant_forecast_has_one():
    random = np.random.default_rng(0)
    probability = random.permutation(np.linspace(0.001, 0.999, 1000))
    happened = random.random(1000) < probability
    table = reliability_of(probability, happened, bins=10)
    assert table.values.tolist() == [100] * 10
    in_order = np.argsort(probability).reshape(10, 100)
    np.testing.assert_allclose(table.forecast, probability[in_order].mean(axis=1))
    np.testing.assert_allclose(table.observed, happened[in_order].mean(axis=1))
    assert table.ece == pytest.approx(np.abs(table.forecast - table.observed).mean())
    table = reliability_of(np.full(100, 0.1), np.arange(100) < 30, bins=20)
    assert (table.values.tolist(), table.ece) == ([100], pytest.approx(0.2))  # the whole error


@settings(max_examples=60)
@given(data=st.data(), bins=st.integers(1, 12))
def test_bins_keep_every_value_and_never_part_equals(data, bins):
    count = data.draw(st.integers(1, 60))
    quarters = data.draw(arrays.arrays(np.float32, count, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
    happened = data.draw(arrays.arrays(np.bool_, count))
    table = reliability_of(quarters, happened, bins=bins)
    assert table.values.sum() == count
    assert len(table.values) <= bins
    assert (np.diff(table.forecast) > 0).all()
    assert np.average(table.forecast, weights=table.values) == pytest.approx(quarters.mean())
    assert np.average(table.observed, weights=table.values) == pytest.approx(happened.mean())
    assert 0 <= table.ece <= 1
    equals = np.unique(quarters, return_counts=True)[1]
    assert set(table.values.cumsum()) <= set(equals.cumsum())


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
