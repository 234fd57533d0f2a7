"""What came in horizons that have closed, against a recount; nothing is judged twice or forgotten."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.count_state import MOST_HOURS, CountState, horizons_closed_between
from schemas.forecasts import GRACE_S
from tests.harness.toy import toy_spec

HOUR = 3600
START = 1_700_002_800
SPEC = toy_spec(1, 3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30 * HOUR), st.integers(0, 5)), max_size=60),
    st.lists(st.integers(1, 9 * HOUR), min_size=1, max_size=12),
)
def test_every_horizon_is_closed_twice_and_counts_what_came(incidents, steps):
    state = CountState(SPEC)
    state.advance(START + 30 * HOUR)
    before_s, closed_so_far = state.as_of_s, {}
    for at, place in incidents:
        for level in state.levels.values():
            level.add(np.array([START + at]), np.array([place]), 1)
    for step in steps:
        state.advance(before_s + step)
        for closed in horizons_closed_between(state, before_s):
            assert before_s < closed.judged_s <= state.as_of_s
            assert (closed.tick_s, closed.horizon, closed.judged_s) not in closed_so_far
            closed_so_far[closed.tick_s, closed.horizon, closed.judged_s] = closed.observed
        before_s = state.as_of_s
    expected = {
        (end - horizon, number, end + grace_s)
        for grace_s in (GRACE_S, SPEC.late_limit_s + GRACE_S)
        for number, horizon in enumerate(SPEC.horizons_s)
        for end in range(START, before_s + 1, HOUR)
        if START + 30 * HOUR < end + grace_s <= before_s
    }
    assert set(closed_so_far) == expected
    for (tick_s, number, _), came in closed_so_far.items():
        counted = np.zeros(6, int)
        for at, place in incidents:
            counted[place] += tick_s <= START + at < tick_s + SPEC.horizons_s[number]
        np.testing.assert_array_equal(came.ravel(), counted)


def test_a_long_outage_is_caught_up_with_for_two_days_only():
    state = CountState(SPEC)
    state.advance(START)
    state.advance(START + 100 * HOUR)
    closed = list(horizons_closed_between(state, START))
    assert len(closed) == 2 * MOST_HOURS * len(SPEC.horizons_s)
    last = {due.judged_s - due.tick_s: due.tick_s for due in closed if due.horizon == 0}
    assert last == {2 * HOUR: START + 98 * HOUR, 26 * HOUR: START + 74 * HOUR}


def test_hours_that_are_no_longer_kept_are_not_judged():
    week = 7 * 24 * HOUR
    spec = msgspec.structs.replace(SPEC, horizons_s=(HOUR, week), late_limit_s=week)
    state = CountState(spec)
    state.advance(START)
    state.advance(START + 30 * 24 * HOUR)
    closed = list(horizons_closed_between(state, START))
    kept_s = next(level.keep for level in spec.levels if level.name == "hour") * HOUR
    assert min(due.tick_s for due in closed) == state.as_of_s - kept_s + HOUR
    assert len({due.tick_s for due in closed if due.judged_s - due.tick_s == HOUR + week + GRACE_S}) == MOST_HOURS
