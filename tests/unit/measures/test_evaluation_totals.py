"""Totals against sums by hand; right totals pass the N-test as often as promised, doubled ones do not."""

from dataclasses import fields, replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dispersion import Dispersion
from models.measures.totals import BANDS, WEEKDAYS, Total, Totals, districts, totals
from schemas.errors import DataError
from tests.harness.small_cube import cube_of, in_runs

ROWS, COLS, STEPS, EARLIER = 6, 9, 24 * 10, 30
R = np.array([0.7, 40.0])
DISPERSION = Dispersion.quadratic(R)
NAMES = ("fire", "ems")


def simulated(seed=0, steps=STEPS):
    """A forecast of the last steps, and a cube whose last steps follow it."""
    random = np.random.default_rng(seed)
    mean = random.gamma(0.3, 0.5, (steps, ROWS * COLS, 2)) + 1e-4
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.int32)
    earlier = np.full((EARLIER, *mean.shape[1:]), 99, np.int32)
    cube = cube_of(np.concatenate([earlier, counts]), rows=ROWS, cols=COLS, steps_per_week=168)
    return mean, replace(cube, categories=NAMES)


def found(mean, cube, dispersion=DISPERSION, *, run=1000):
    """Totals of a forecast that is given in runs of `run` steps."""
    return totals(in_runs(run, mean, cube.counts[len(cube) - len(mean) :]), cube, dispersion)


def groups(result):
    return {field.name: getattr(result, field.name) for field in fields(Totals) if field.name != "city"}


def test_the_groups_are_those_of_a_count_by_hand():
    mean, cube = simulated()
    result = found(mean, cube)
    keys = {
        "by_category": lambda step, cell, category: NAMES[category],
        "by_hour": lambda step, cell, category: f"{(EARLIER + step + 72) % 24:02d}",
        "by_weekday": lambda step, cell, category: WEEKDAYS[(EARLIER + step + 72) // 24 % 7],
        "by_week": lambda step, cell, category: f"week {step // 168 + 1}",
        "by_district": lambda step, cell, category: (
            f"district {cell // COLS * 4 // ROWS * 4 + cell % COLS * 4 // COLS + 1}"
        ),
    }
    for field, key in keys.items():
        by_hand = {}
        for place in np.ndindex(mean.shape):
            row = by_hand.setdefault(key(*place), [0.0, 0, 0.0])
            row[0] += mean[place]
            row[1] += cube.counts[EARLIER + place[0], place[1], place[2]]
            row[2] += mean[place] + mean[place] ** 2 / R[place[2]]
        rows = groups(result)[field]
        assert len(rows) == len(by_hand)
        for row in rows:
            assert [row.forecast, row.actual, row.variance] == pytest.approx(by_hand[row.name])
        city = [result.city.forecast, result.city.actual, result.city.variance]
        assert city == pytest.approx(np.sum(list(by_hand.values()), axis=0))


@given(st.integers(1, STEPS))
def test_the_size_of_the_runs_changes_no_bit(run):
    mean, cube = simulated(steps=50)
    assert found(mean, cube, run=run) == found(mean, cube)


def test_right_totals_fail_the_n_test_as_often_as_promised():
    probabilities = [found(*simulated(seed, steps=24)).city.n_test for seed in range(300)]
    assert np.mean(np.array(probabilities) < 0.05) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 300) ** 0.5)
    assert np.mean(probabilities) == pytest.approx(0.5, abs=4 / (12 * 300) ** 0.5)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_half_and_double_the_truth_are_caught_everywhere(factor):
    mean, cube = simulated()
    result = found(factor * mean, cube)
    assert result.city.ratio == pytest.approx(factor, rel=0.1)
    assert result.city.n_test < 1e-6
    for rows in groups(result).values():
        assert all((row.ratio > 1) == (factor > 1) for row in rows)


def test_the_n_test_is_the_normal_distributions():
    for actual in (60, 100, 125):
        total = Total(name="city", forecast=100.0, actual=actual, variance=400.0)
        assert total.n_test == pytest.approx(2 * NormalDist(100, 20).cdf(100 - abs(actual - 100)))


def test_nothing_that_came_has_no_ratio():
    assert np.isnan(Total(name="07", forecast=0.2, actual=0, variance=0.3).ratio)


def test_steps_of_a_day_have_one_hour_and_whole_weeks():
    mean, cube = np.full((15, ROWS * COLS, 2), 0.1), cube_of(np.ones((20, ROWS * COLS, 2)), rows=ROWS, cols=COLS)
    result = found(mean, cube)
    assert len(result.by_hour) == 1
    assert [row.actual for row in result.by_week] == [7 * 108, 7 * 108, 108]


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


@pytest.mark.parametrize(
    ("mean", "dispersion"),
    [
        (np.ones((3, 54, 1)), DISPERSION),
        (np.ones((3, 53, 2)), DISPERSION),
        (np.ones((0, 54, 2)), DISPERSION),
        (np.ones((999, 54, 2)), DISPERSION),
        (np.ones((3, 54, 2)), DISPERSION[:1]),
    ],
)
def test_a_forecast_of_another_shape_is_refused(mean, dispersion):
    with pytest.raises(DataError, match="give a forecast for each"):
        totals([(mean, np.zeros_like(mean))], simulated()[1], dispersion)
