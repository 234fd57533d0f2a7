"""Calibration: forecasts that are right look right, forecasts that are wrong do not, and the figures are SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import chisquare, nbinom

from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.measures import PIT_BINS, Intervals, cumulative, intervals_of, reliability_of

SIZE = 1.7
DISPERSION = Dispersion.quadratic(SIZE)
VALUES = 100_000


def simulated(scale, seed=0):
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
def test_a_right_forecast_keeps_its_promises_however_rare_the_incidents(scale):
    mean, counts = simulated(scale)
    tallies = intervals_of(mean, counts, DISPERSION, np.random.default_rng(1).random(len(mean)))
    assert chisquare(tallies.pit).pvalue > 1e-3
    assert tallies.figures()["coverage_90"] == pytest.approx(0.9, abs=4 * (0.09 / VALUES) ** 0.5)


@pytest.mark.parametrize("scale", [0.03, 1.0, 10.0])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_half_and_double_the_truth_bend_the_histogram(scale, factor):
    mean, counts = simulated(scale)
    tallies = intervals_of(factor * mean, counts, DISPERSION, np.random.default_rng(1).random(len(mean)))
    assert chisquare(tallies.pit).pvalue < 1e-6
    lower, upper = tallies.pit[: PIT_BINS // 2].sum(), tallies.pit[PIT_BINS // 2 :].sum()
    assert (lower > upper) == (factor > 1)


def test_where_incidents_are_expected_the_coverage_notices_half_the_truth():
    mean, counts = simulated(0.3)
    uniform = np.random.default_rng(1).random(len(mean))
    right, half = (intervals_of(factor * mean, counts, DISPERSION, uniform) for factor in (1.0, 0.5))
    busy = int((mean >= 1).sum())
    assert right.busy.sum() == busy > 1000
    assert right.figures()["busy_coverage_90"] == pytest.approx(0.9, abs=4 * (0.09 / busy) ** 0.5)
    assert half.figures()["busy_coverage_90"] < 0.85
    assert np.isnan(intervals_of(0.001 * mean, counts, DISPERSION, uniform).figures()["busy_coverage_90"])


def test_tallies_of_parts_add_up():
    mean, counts = simulated(1.0)
    uniform = np.random.default_rng(1).random(len(mean))
    parts = [
        intervals_of(mean[part], counts[part], DISPERSION, uniform[part]) for part in (slice(0, 333), slice(333, None))
    ]
    whole, both = intervals_of(mean, counts, DISPERSION, uniform), parts[0] + parts[1]
    np.testing.assert_array_equal(both.pit, whole.pit)
    np.testing.assert_array_equal(both.busy, whole.busy)


def test_coverage_is_the_middle_of_the_histogram():
    tallies = Intervals(pit=np.arange(PIT_BINS), busy=np.ones(PIT_BINS, int))
    assert tallies.figures()["busy_coverage_90"] == 0.9
    assert tallies.figures()["coverage_90"] == sum(range(1, 19)) / 190


def test_bins_without_ties_hold_equally_many():
    random = np.random.default_rng(0)
    probability = random.permutation(np.linspace(0.001, 0.999, 1000))
    happened = random.random(1000) < probability
    table = reliability_of(probability, happened, bins=10)
    assert table.values.tolist() == [100] * 10
    in_order = np.argsort(probability).reshape(10, 100)
    np.testing.assert_allclose(table.forecast, probability[in_order].mean(axis=1))
    np.testing.assert_allclose(table.observed, happened[in_order].mean(axis=1))
    assert table.ece == pytest.approx(np.abs(table.forecast - table.observed).mean())


def test_a_constant_forecast_has_one_bin_and_its_error_is_the_whole_error():
    happened = np.arange(100) < 30
    table = reliability_of(np.full(100, 0.1), happened, bins=20)
    assert table.values.tolist() == [100]
    assert table.ece == pytest.approx(0.2)


@settings(max_examples=60, deadline=None)
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
