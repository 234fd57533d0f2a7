"""What is said of a change that forecasts follow: which hours and cells, by how much, and since when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.following import FollowerState, Shown, followed_change
from schemas.spec import DAY_S
from tests.harness.toy import state_of, toy_spec

NOW_S = 20_000 * DAY_S
SPEC = toy_spec(2, 2)
EVENLY = np.ones(24 + 4)


def shown(hours=None, cells=(1, 1, 1, 1)):
    """hours: hour -> factor."""
    factors = np.ones(28)
    for hour, factor in (hours or {}).items():
        factors[hour] = factor
    factors[24:] = cells
    return Shown(factors, EVENLY)


def change_of(*days):
    """days: what was shown now, a day ago, and so on; nothing was before."""
    return followed_change(lambda at_s: dict(enumerate(days)).get((NOW_S - at_s) // DAY_S), NOW_S)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (shown({5: 1.8, 6: 2.0, 7: 1.9}), "05 to 08 h x 1.9"),
        (shown({23: 0.5, 0: 0.5, 1: 0.5}), "23 to 02 h x 0.5"),
        (shown({hour: 1.5 for hour in range(24)}), "all hours x 1.5"),
        (shown({3: 2, 9: 0.5}, (3, 2, 1, 0.4)), "03 to 04 h x 2.0, 09 to 10 h x 0.5, 2 cells x 2.5, 1 cell x 0.4"),
        (
            shown(dict.fromkeys((1, 3, 5, 7, 8), 2)),
            "01 to 02 h x 2.0, 03 to 04 h x 2.0, 05 to 06 h x 2.0, 2 other hours",
        ),
    ],
)
def test_a_change_is_told_in_words(now, says):
    assert change_of(*[now] * 6) == (NOW_S - 5 * DAY_S, says)


def test_hours_count_by_what_they_expect():
    hours = Shown(shown({5: 2.0, 6: 4.0}).factors, np.where(np.arange(28) == 6, 3.0, 1.0))
    assert change_of(*[hours] * 6)[1] == "05 to 07 h x 3.5"


def test_only_what_lasts_for_three_days_is_told():
    later, earlier = shown({5: 2, 9: 2}), shown({5: 2})
    assert change_of(*[shown({5: 2})] * 3) is None  # three looks are two days
    assert change_of(later, later, earlier, earlier, earlier) == (NOW_S - 4 * DAY_S, "05 to 06 h x 2.0")
    assert change_of(later, later, later, later, earlier) == (NOW_S - 4 * DAY_S, "05 to 06 h x 2.0, 09 to 10 h x 2.0")
    assert change_of(later, shown({5: 0.5, 9: 0.5}), later, later, later) is None
    assert change_of(*[shown({5: 1.25})] * 6) is None
    assert change_of() is None
    assert change_of(shown(), *[earlier] * 6) is None


@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([1.0, 2.0, 0.5])), max_size=8))
def test_it_is_told_exactly_when_some_factor_was_beyond_for_as_long(days):
    history = [shown({4: one, 20: other}) for one, other in days]
    streaks = []
    for place in (0, 1):
        first = days[0][place] if days else 1.0
        streaks.append(next((n for n, day in enumerate(days) if day[place] != first), len(days)) if first != 1 else 0)
    told = change_of(*history)
    assert (told is not None) == (max(streaks) > 3)
    if told:
        assert told[0] == NOW_S - (max(streaks) - 1) * DAY_S
        assert [part in told[1] for part in ("04 to 05 h", "20 to 21 h")] == [each > 3 for each in streaks]


def test_categories_count_by_what_they_expect_and_the_guard_keeps_the_raw_forecast():
    state = state_of(SPEC, 2.0)
    np.testing.assert_allclose(Shown.of(state).factors[:24], 2, rtol=1e-3)
    np.testing.assert_allclose(Shown.of(state).factors[24:], 1, rtol=1e-3)
    assert Shown.of(FollowerState.new(SPEC)).factors == pytest.approx(1)
    state.level[0, 0] = 1e4
    state.hours[1, 0], state.hours[1, 1:] = 3.0, 1.0
    assert Shown.of(state).factors[:24] == pytest.approx(
        (3 + 2 * (len(SPEC.categories) - 1)) / (2 + len(SPEC.categories)), rel=0.1
    )
