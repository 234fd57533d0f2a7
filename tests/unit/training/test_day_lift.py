"""The cell's own day: what the baseline learns of it, recounted, and what it is for."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.training.fit_baseline import LIFT_PRIORS, Blocks, day_lift, fit_constants
from models.training.replay import IncidentHistory
from tests.harness.toy import toy_grid, toy_spec, toy_table

GRID = toy_grid(2, 3)
ZONE = "America/Chicago"
SPEC = toy_spec(grid=GRID, timezone=ZONE)
START_S = int(datetime(2017, 1, 2, 6, tzinfo=UTC).timestamp())  # Monday 00:00 in Chicago
DAYS = 120
NIGHT_CELL, NIGHT_HOURS = 4, (22, 23, 0, 1)


def neighbourhood(cell):
    row, col = divmod(cell, GRID.cols)
    around = [(r, c) for r in (row - 1, row, row + 1) for c in (col - 1, col, col + 1)]
    return [r * GRID.cols + c for r, c in around if 0 <= r < GRID.rows and 0 <= c < GRID.cols]


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int64, (6, 2, 16), elements=st.integers(0, 60)),
    arrays(np.float64, (2, 16), elements=st.floats(0.01, 1)),
    st.sampled_from(LIFT_PRIORS),
)
def test_a_lift_is_shrunk_to_the_cell_the_neighbourhood_and_one(seen, share, prior):
    share = share / share.sum(axis=1, keepdims=True)
    lift = day_lift(seen.astype(float), share, prior, GRID)
    expected = [[seen[cell, k].sum() * share[k] for k in (0, 1)] for cell in range(6)]
    for cell in range(6):
        around = neighbourhood(cell)
        by_place = (sum(seen[c, k] for c in around for k in (0, 1)) + 2 * prior) / (
            sum(expected[c][k] for c in around for k in (0, 1)) + 2 * prior
        )
        by_cell = (seen[cell].sum(axis=0) + prior * by_place) / (sum(expected[cell]) + prior)
        for k in (0, 1):
            own = (seen[cell, k] + prior * by_cell) / (expected[cell][k] + prior)
            np.testing.assert_allclose(lift[cell, k], own / (own * share[k]).sum(), rtol=1e-9)
    np.testing.assert_allclose((lift * share).sum(axis=2), 1)


def history_of(night_cell):
    """500 incidents a day, everywhere and at any time; those of `night_cell` only at night."""
    random = np.random.default_rng(0)
    count = 500 * DAYS
    at_s = np.sort(START_S + random.integers(0, DAYS * 86_400, count))
    cell = random.integers(0, GRID.cells, count).astype(np.int32)
    if night_cell is not None:
        hours = np.array([datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(ZONE)).hour for at in at_s.tolist()])
        lives = (cell != night_cell) | np.isin(hours, NIGHT_HOURS)
        at_s, cell = at_s[lives], cell[lives]
    table = toy_table(
        at_s, timezone=ZONE, category=random.integers(0, 2, len(at_s)).astype(np.int16), categories=SPEC.categories
    )
    return IncidentHistory.placed(table, cell, np.ones(len(cell), np.bool_), SPEC, START_S + DAYS * 86_400)


@pytest.fixture(scope="module")
def learned():
    history = history_of(NIGHT_CELL)
    return fit_constants(history, Blocks.of(history.first_s, history.cutoff_s)).day_lift


def test_a_cell_that_lives_at_night_is_known_for_it(learned):
    for block, hours in enumerate(range(3 * b, 3 * b + 3) for b in range(8)):
        nightly = sum(hour in NIGHT_HOURS for hour in hours) / 3
        for week_part in (0, 8):
            value = learned[NIGHT_CELL, :, block + week_part]
            assert (value > 2).all() if nightly else (value < 0.3).all(), (block, value)


def test_without_a_difference_every_cell_has_the_profile():
    history = history_of(None)
    lift = fit_constants(history, Blocks.of(history.first_s, history.cutoff_s)).day_lift
    np.testing.assert_allclose(lift, 1, atol=0.15)
