"""What came in horizons that have closed, against a recount; nothing is judged twice or forgotten."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.closed import GRACE_S, MOST_HOURS, closed_between
from models.count_state import CountState
from schemas.grid import Grid
from schemas.spec import Spec

HOUR = 3600
START = 1_700_002_800
SPEC = Spec(
    region="toyville",
    timezone="UTC",
    grid=Grid(south_deg=41.0, west_deg=-87.0, cell_m=1000.0, rows=1, cols=3),
    categories=("fire", "ems"),
    features=(),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30 * HOUR), st.integers(0, 5)), max_size=60),
    st.lists(st.integers(1, 9 * HOUR), min_size=1, max_size=12),
)
def test_every_horizon_is_closed_once_and_counts_what_came(incidents, steps):
    state = CountState(SPEC)
    state.advance(START + 30 * HOUR)
    before_s, seen = state.as_of_s, {}
    for at, place in incidents:
        for level in state.levels.values():
            level.add(np.array([START + at]), np.array([place]), 1)
    for step in steps:
        state.advance(before_s + step)
        for one in closed_between(state, before_s):
            assert (one.tick_s, one.horizon) not in seen
            seen[one.tick_s, one.horizon] = one.came
        before_s = state.as_of_s
    expected = {
        (end - horizon, number)
        for number, horizon in enumerate(SPEC.horizons_s)
        for end in range(START, before_s + 1, HOUR)
        if START + 30 * HOUR < end + GRACE_S <= before_s
    }
    assert set(seen) == expected
    for (tick_s, number), came in seen.items():
        counted = np.zeros(6, int)
        for at, place in incidents:
            counted[place] += tick_s <= START + at < tick_s + SPEC.horizons_s[number]
        np.testing.assert_array_equal(came.ravel(), counted)


def test_a_long_outage_is_caught_up_with_for_two_days_only():
    state = CountState(SPEC)
    state.advance(START)
    state.advance(START + 100 * HOUR)
    closed = list(closed_between(state, START))
    assert len(closed) == MOST_HOURS * len(SPEC.horizons_s)
    assert max(one.tick_s for one in closed if one.horizon == 0) == START + 98 * HOUR
