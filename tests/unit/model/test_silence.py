"""Silent feeds: every run of quiet hours counted by hand, by SciPy, and what features take in their place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom

from models.baseline import horizon_hours, span_hours
from models.counting.count_state import CountState
from models.features import FeatureEngine, feature_names
from models.training.fit_baseline import common_spreads
from models.unusual import holes, missing_share
from schemas.spec import DAY_S, HOUR_S
from tests.harness.toy import toy_constants, toy_history, toy_spec

SPREAD = np.array([0.02, 0.1, 0.05])
NAMES = feature_names()


def is_seldom(came, mean, spread):
    return 30 * 24 * 3 * nbinom.cdf(came, 1 / spread, 1 / (1 + spread * mean)) <= 1


def holes_by_hand(counts, usual, last):
    """(category, first, stop, observed, usual) of each run of quiet hours that chance shows once in 30 days or less.

    last: counts and usual of the last sixty minutes, by which the newest hour is judged.
    """
    found = []
    for category in range(3):
        came, mean = ([float(hour.sum() if category == 2 else hour[category]) for hour in of] for of in (counts, usual))
        last_came, last_mean = (float(of.sum() if category == 2 else of[category]) for of in last)
        quiet = [c <= 0.2 * m for c, m in zip(came[:-1], mean[:-1], strict=True)] + [last_came <= 0.2 * last_mean]
        first = None
        for hour, is_quiet in enumerate([*quiet, False]):
            if is_quiet and first is None:
                first = hour
            elif not is_quiet and first is not None:
                some, expected = sum(came[first:hour]), sum(mean[first:hour])
                if first == len(counts) - 1:
                    some, expected = last_came, last_mean
                if is_seldom(some, expected, SPREAD[category]):
                    found.append((category, first, hour, some, expected))
                first = None
    return [hole for hole in found if hole[0] < 2 or is_seldom_without(hole, found, counts, usual)]


def is_seldom_without(hole, found, counts, usual):
    """Of both categories: also without the one that was silent two hours before it, or after it, while it lasted."""
    _, first, stop, *_ = hole
    before = {other[0] for other in found if other[0] < 2 and other[1] <= first - 2 and other[2] > first}
    after = {other[0] for other in found if other[0] < 2 and other[2] >= stop + 2 and other[1] < stop}
    rest = sorted({0, 1} - before - after)
    return len(rest) == 2 or is_seldom(counts[first:stop, rest].sum(), usual[first:stop, rest].sum(), SPREAD[2])


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 40), st.integers(0, 47), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_holes_are_the_runs_of_quiet_hours_counted_by_hand(seed, rate, first, length, of):
    draw = np.random.default_rng(seed)
    usual = draw.uniform(0.2, 1.8, (48, 2)) * rate
    counts = draw.poisson(usual)
    silent = slice(None) if of > 1 else of
    counts[first : first + length, silent] = draw.random(counts[first : first + length, silent].shape) < 0.1 * (of == 3)
    counts[-1], usual[-1] = draw.binomial(counts[-1], 0.3), 0.3 * usual[-1]
    last = counts[-1] + draw.binomial(counts[-2], 0.7), usual[-1] + 0.7 * usual[-2]
    found = holes(counts, usual, SPREAD, last)
    by_hand = holes_by_hand(counts, usual, last)
    assert [(hole.category, hole.first, hole.stop, hole.observed) for hole in found] == [each[:4] for each in by_hand]
    assert [hole.usual for hole in found] == pytest.approx([each[4] for each in by_hand])
    assert all(hole.days >= 30 for hole in found)
    share = missing_share(found, counts, usual)
    for hour, category in np.ndindex(share.shape):
        is_in = any(cat in (category, 2) and start <= hour < stop for cat, start, stop, *_ in by_hand)
        owed = max(usual[hour, category] - counts[hour, category], 0) / usual[hour, category]
        assert share[hour, category] == pytest.approx(owed if is_in else 0)


SPEC = toy_spec(2, 3, timezone="America/Chicago")
PROFILE = 1 + 0.5 * np.sin(2 * np.pi * np.arange(168) / 24 + np.array([[0.0], [1.0]]))
LIFT = np.random.default_rng(0).uniform(0.5, 1.5, (6, 2, 16))
CONSTANTS = toy_constants(
    SPEC, mean_per_day=np.array([480.0, 960.0]), profile=PROFILE, day_lift=LIFT, spread_of_totals=SPREAD
)
NOW_S = 1_700_000_400  # 13 minutes and 20 seconds after an hour
HOUR_BEGAN_S = NOW_S // HOUR_S * HOUR_S


def features_of(state, constants=CONSTANTS):
    return FeatureEngine(SPEC, constants).compute(state)


def usual_of(features, spans):
    """(cells, categories) the baseline over stretches [start, stop), by the rate that the features tell."""
    at_s = NOW_S - NOW_S % SPEC.tick_s
    rate = np.exp(features.values[:, :, NAMES.index("log_usual_1h")].astype(float))
    rate /= horizon_hours(CONSTANTS, at_s, SPEC)[:, :, 0]
    return rate * span_hours(CONSTANTS, spans, SPEC.timezone).sum(axis=2)


def state_with(draw, *, dead_s=(0, 0), categories=(0, 1), days=30):
    """A month of drawn incidents; none in [first, last) seconds before now of some categories."""
    rate, state = np.array([20.0, 40.0]), CountState(SPEC)
    state.advance(NOW_S)
    came = draw.poisson(rate * days * 24)
    category = np.repeat([0, 1], came)
    ago = draw.integers(0, days * DAY_S, len(category))
    alive = ~((ago >= dead_s[0]) & (ago < dead_s[1]) & np.isin(category, categories))
    place = draw.integers(0, 6, len(category))[alive] * 2 + category[alive]
    for level in state.levels.values():
        level.add(NOW_S - ago[alive], place, 1)
    return state


def test_in_place_of_silent_hours_stands_what_is_usual_minute_by_minute():
    """Dead for five whole hours until now: every cell's windows, against the baseline summed by the minute."""
    dead_s = 5 * HOUR_S + NOW_S % HOUR_S
    state = state_with(np.random.default_rng(1), dead_s=(0, dead_s))
    features = features_of(state)
    [feed] = features.silent
    assert (feed.category, feed.observed) == ("all", 0)
    for window, window_s in {"15min": 900, "1h": HOUR_S, "6h": 6 * HOUR_S, "24h": DAY_S, "7d": 7 * DAY_S}.items():
        begin_s = max(NOW_S - dead_s, state.tick_s - window_s)
        owed = usual_of(features, [(at_s, at_s + 60) for at_s in range(begin_s, state.tick_s, 60)])
        alive = np.expm1(features.values[:, :, NAMES.index(f"cell_{window}")]) - owed
        assert alive == pytest.approx(np.round(alive), abs=0.02 * owed.max() + 1e-3)  # whole counts are left
        assert (alive > -0.05).all()


def test_a_silence_lasts_also_in_the_minute_in_which_an_hour_begins():
    """Then nothing is usual of the hour that is not over, and all of the last sixty minutes."""
    state, engine = state_with(np.random.default_rng(3), dead_s=(0, 5 * HOUR_S)), FeatureEngine(SPEC, CONSTANTS)
    for after_s in (-60, 0, 30, 60):
        state.advance(HOUR_BEGAN_S + HOUR_S + after_s)
        [feed] = engine.compute(state).silent
        assert (feed.category, feed.until_s) == ("all", 0)


def test_hours_since_the_last_incident_and_the_regions_levels_leave_silent_hours_out():
    """A day of silence that ended an hour ago, beside the same month without it."""
    flat = toy_constants(SPEC, mean_per_day=np.array([480.0, 960.0]), spread_of_totals=SPREAD)
    dead_s = (HOUR_S + NOW_S % HOUR_S, 25 * HOUR_S + NOW_S % HOUR_S)
    back, lively = (
        features_of(state_with(np.random.default_rng(7), **given), flat) for given in ({"dead_s": dead_s}, {})
    )
    assert [(feed.category, feed.until_s) for feed in back.silent] == [("all", HOUR_BEGAN_S - HOUR_S)]
    for window in ("6h", "24h", "3d", "7d", "30d"):
        level = NAMES.index(f"level_{window}")
        apart = back.values[0, :, level] - lively.values[0, :, level]
        assert np.abs(apart).max() < (0.15 if window == "6h" else 0.05), window
    assert np.expm1(back.values[:, :, NAMES.index("hours_since")]).max() <= 6


def test_hours_before_the_counts_began_are_no_silence():
    """Two an hour are usual: on the first day nothing is told, nor in the first hours of the second."""
    for hours, is_silent in ((1, False), (23, False), (26, False), (36, True)):
        first_day = NOW_S // DAY_S
        state = CountState(SPEC)
        state.advance(first_day * DAY_S + hours * HOUR_S)
        fitted = {"mean_per_day": np.full(2, 24.0), "spread_of_totals": np.full(3, 0.02)}
        constants = toy_constants(SPEC, first_day=np.array(float(first_day)), **fitted)
        features = features_of(state, constants)
        assert bool(features.silent) == is_silent, hours
        if is_silent:
            assert features.silent[0].since_s == (first_day + 1) * DAY_S
        else:
            assert features.values[:, :, NAMES.index("cell_7d")].tolist() == np.zeros((6, 2)).tolist()


def test_where_the_usual_is_a_guess_nothing_is_called_silent():
    """As after a cold start: nobody has measured how far the counts lie around it."""
    state = CountState(SPEC)
    state.advance(NOW_S)
    assert not features_of(state, toy_constants(SPEC, mean_per_day=np.full(2, 240.0))).silent


def test_a_silence_of_weeks_began_after_its_last_day_and_in_a_trickle_in_the_past():
    state = state_with(np.random.default_rng(6), dead_s=(0, 12 * DAY_S))
    [feed] = features_of(state).silent
    assert feed.since_s == (NOW_S - 12 * DAY_S) // DAY_S * DAY_S + DAY_S
    assert feed.usual == pytest.approx(1440 * (NOW_S - feed.since_s) / DAY_S, rel=0.1)
    for level in state.levels.values():  # one incident a day reaches it
        level.add(NOW_S - np.arange(12) * DAY_S - 60, np.zeros(12, np.intp), 1)
    [feed] = features_of(state).silent
    assert NOW_S - 8 * DAY_S < feed.since_s <= NOW_S - 6 * DAY_S  # longer than is looked at
    assert feed.usual > 1440 * 4  # the usual learns of such days


def test_the_same_hours_of_silent_days_are_filled_and_no_other_hours():
    """Dead from 20 to 30 hours ago: of the hours that are counted, three of yesterday's are in it."""
    dead_s = (NOW_S - HOUR_BEGAN_S + 19 * HOUR_S, NOW_S - HOUR_BEGAN_S + 30 * HOUR_S)
    state = state_with(np.random.default_rng(8), dead_s=dead_s)
    features = features_of(state)
    counted = sum(
        state.levels["hour"].newest_bins(1, skip=ago).reshape(6, 2)
        for day in range(1, 15)
        for ago in range(24 * day - 3, 24 * day + 1)
    )
    silent_s = (HOUR_BEGAN_S - ago * HOUR_S for ago in range(21, 25))
    owed = usual_of(features, [(at_s, at_s + HOUR_S) for at_s in silent_s])
    same = np.expm1(features.values[:, :, NAMES.index("same_hours_14d")])
    assert same == pytest.approx(counted + owed, rel=0.01)


def test_one_silent_category_leaves_the_other_as_it_is():
    draws = ({"dead_s": (0, 9 * HOUR_S), "categories": (1,)}, {})
    dead, lively = (features_of(state_with(np.random.default_rng(3), **given)) for given in draws)
    assert [feed.category for feed in dead.silent] == ["ems"]
    own = [NAMES.index(name) for name in ("cell_6h", "cell_24h", "ring_24h", "hours_since", "level_24h")]
    assert dead.values[:, 0, own].tolist() == lively.values[:, 0, own].tolist()
    assert np.abs(dead.values[:, 1, own[-1]] - lively.values[:, 1, own[-1]]).max() < 0.2


@pytest.mark.parametrize("minute", [0, 5, 30, 55])
def test_a_feed_that_dies_at_any_minute_is_silent_an_hour_later_and_not_before(minute):
    """Fifteen an hour are usual."""
    dies_s, told_s, state = HOUR_BEGAN_S + 60 * minute, [], CountState(SPEC)
    state.advance(dies_s)
    at_s = np.arange(dies_s - 20 * DAY_S, dies_s, HOUR_S // 15)
    for level in state.levels.values():
        level.add(at_s, np.arange(len(at_s)) * 5 % 12, 1)
    constants = toy_constants(SPEC, mean_per_day=np.full(2, 180.0), spread_of_totals=np.full(3, 0.02))
    for passed_s in range(0, 2 * HOUR_S, 300):
        state.advance(dies_s + passed_s)
        told_s += [passed_s] if features_of(state, constants).silent else []
    assert 0.7 * HOUR_S <= told_s[0] <= 1.1 * HOUR_S
    assert told_s == list(range(told_s[0], 2 * HOUR_S, 300))


def test_the_last_incident_before_a_silence_is_known_by_five_minutes():
    state = state_with(np.random.default_rng(4), dead_s=(0, 6 * HOUR_S))
    [feed] = features_of(state).silent
    panes = state.levels["pane"]
    newest = np.flatnonzero(panes.newest_bins(144).sum(axis=1))[-1]
    assert feed.since_s == (panes.newest - 144 + 1 + newest + 1) * SPEC.slide_s


@pytest.mark.parametrize(("a_day", "days"), [(1, 120), (3, 120), (10, 365)])
def test_the_spread_of_a_small_town_is_no_noise(a_day, days):
    """Poisson counts have none. By the hour it would be many times the mean."""
    spec, first_s = toy_spec(2, 3), 1_600_000_000 // DAY_S * DAY_S
    found = []
    for seed in range(5):
        draw = np.random.default_rng(seed)
        at_s = np.sort(first_s + draw.integers(0, days * DAY_S, draw.poisson(a_day * days)))
        past = toy_history(spec, at_s, first_s + days * DAY_S, category=draw.integers(0, 2, len(at_s)))
        constants = toy_constants(spec, mean_per_day=np.full(2, a_day / 2))
        found += common_spreads(past, constants, first_s + 20 * DAY_S, first_s + days * DAY_S)[0].tolist()
    assert max(found) < 0.5


@pytest.mark.parametrize("pairs", [0.0, 0.25])
def test_the_common_spreads_are_those_that_hours_were_drawn_with(pairs):
    """All cells and categories share a factor of variance 0.09, and some incidents bring one of the other category."""
    draw, spec = np.random.default_rng(5), toy_spec(3, 3)
    factor = draw.gamma(1 / 0.09, 0.09, 500 * 24)
    alone = draw.poisson(np.array([8.0, 8.0]) * factor[:, None] / (1 + pairs))
    hour, category = (np.repeat(of.ravel(), alone.ravel()) for of in np.indices(alone.shape))
    cell, again = draw.integers(0, 9, len(hour)), draw.random(len(hour)) < pairs
    hour, cell = np.append(hour, hour[again]), np.append(cell, cell[again])
    category = np.append(category, 1 - category[again])
    first_s = 1_600_000_000 // DAY_S * DAY_S
    at_s = first_s + hour * HOUR_S + draw.integers(0, HOUR_S, len(hour))
    past = toy_history(spec, at_s, first_s + 500 * DAY_S, cell=cell, category=category)
    constants = toy_constants(spec, mean_per_day=np.full(2, 192.0), level_half_life_days=np.array(30.0))
    of_totals, of_sums = common_spreads(past, constants, first_s + 40 * DAY_S, first_s + 500 * DAY_S)
    # A pair of an incident and the one that it brings counts twice, of 1 + pairs incidents.
    assert float(of_sums) == pytest.approx(2 * pairs / (1 + pairs), abs=0.035)
    more = np.array([0, 0, 2 * pairs / (1 + pairs) / 16])
    assert of_totals == pytest.approx(0.09 + more, abs=0.015)
