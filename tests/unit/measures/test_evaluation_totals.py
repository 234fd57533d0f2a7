"""Totals against sums by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cube import BANDS, districts
from models.measures import totals_of
from tests.harness.small_cube import cube_of, in_runs

ROWS, COLS, STEPS, EARLIER = 6, 9, 50, 30


def simulated():
    """A forecast of the last steps, and a cube whose last steps follow it."""
    random = np.random.default_rng(0)
    mean = random.gamma(0.3, 0.5, (STEPS, ROWS * COLS, 2)) + 1e-4
    earlier = np.full((EARLIER, *mean.shape[1:]), 99, np.int32)
    return mean, cube_of(np.concatenate([earlier, random.poisson(mean)]), rows=ROWS, cols=COLS, steps_per_week=168)


def totals_in_runs(run=1000):
    """Totals of a forecast that is given in runs of `run` steps."""
    mean, cube = simulated()
    return totals_of(in_runs(run, mean, cube.counts[-STEPS:]), cube, np.ones(ROWS * COLS, np.bool_))


def test_the_groups_are_those_of_a_count_by_hand():
    mean, cube = simulated()
    result = totals_in_runs()
    keys = {
        "by_category": lambda cell, category: cube.categories[category],
        "by_district": lambda cell, category: f"district {cell // COLS * 4 // ROWS * 4 + cell % COLS * 4 // COLS + 1}",
    }
    for field, key in keys.items():
        by_hand = {}
        for step, cell, category in np.ndindex(mean.shape):
            pair = by_hand.setdefault(key(cell, category), [0.0, 0])
            pair[0] += mean[step, cell, category]
            pair[1] += cube.counts[EARLIER + step, cell, category]
        rows = getattr(result, field)
        assert [row.name for row in rows] == list(by_hand)
        for row in rows:
            assert [row.forecast, row.actual] == pytest.approx(by_hand[row.name])
            assert row.ratio == row.forecast / row.actual
        assert [result.city.forecast, result.city.actual] == pytest.approx(np.sum(list(by_hand.values()), axis=0))


@given(st.integers(1, STEPS))
def test_the_size_of_the_runs_changes_no_bit(run):
    assert totals_in_runs(run) == totals_in_runs()


def test_nothing_that_came_has_no_ratio():
    mean, cube = simulated()
    assert np.isnan(totals_of([(mean, np.zeros_like(mean))], cube, np.ones(ROWS * COLS, np.bool_)).city.ratio)


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
