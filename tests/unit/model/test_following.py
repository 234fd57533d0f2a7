"""The follower: what it finds, what it leaves alone, its formulas one number after the other, and what it says."""

import operator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dispersion import LINEAR, Dispersion, log_scores
from models.follower import HALF_LIVES_DAYS, SHARE, SILENT, FollowedFactors, ScoreGain, SomeCounts, followed_change
from models.following import GUARDS, LIMIT, STILL, FollowerState
from schemas.errors import DataError
from schemas.files import pack_arrays, unpack_arrays
from schemas.spec import DAY_S, HOUR_S
from tests.harness.followed_town import DISPERSION, FOLLOWER, SHAPE, SPEC, START_S, follower_of, lived, outcome
from tests.harness.toy import state_of, toy_spec

SEEDS = st.integers(0, 2**32 - 1)


def shown_at(state, hour):
    return FOLLOWER.at(state, START_S + hour * HOUR_S).shown()


def assert_equal(state, other):
    for name, array in state.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], strict=True, err_msg=name)


def test_a_new_follower_changes_nothing():
    factors = shown_at(FollowerState.new(SPEC), 0)
    assert factors.shape == (*SHAPE, 3)
    assert (factors == 1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_comes_as_expected_leaves_the_factors_near_1(seed):
    raw = np.full(SHAPE, 0.5)
    states = lived(np.random.default_rng(seed).poisson(raw, (21 * 24, *SHAPE)), raw)
    assert np.abs(np.log([shown_at(state, 0) for state in states[::24]])).max() < 0.15


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_factor_of_2_is_found_within_the_bound_of_the_race(seed):
    raw, hours = np.full(SHAPE, 0.5), 14 * 24
    counts = np.random.default_rng(seed).poisson(2 * raw, (hours, *SHAPE))
    states = lived(counts, raw)
    shown = np.stack([shown_at(state, hour)[..., 0] for hour, state in enumerate(states[:-1])])
    lost, least = (
        log_scores(mean, counts, DISPERSION).sum() for mean in (raw * shown, np.broadcast_to(2 * raw, counts.shape))
    )
    # For each category the filter's race and the guard's change once; two more races may stay where they are. Its prior
    # of 20 incidents costs 20 (2 - 1 - log 2) nats, and that it forgets some more.
    races = 2 * np.log(1 / (1 - STILL)) + 2 * np.log(1 / STILL) + 4 * hours * SHARE
    assert lost - least < len(SPEC.categories) * (races + 20 * (1 - np.log(2)) + 8)
    assert np.abs(shown_at(states[-1], hours)[..., 0] / 2 - 1).max() < 0.2


def test_hours_that_move_and_cells_that_change_places_are_found_apart():
    local = np.arange(28 * 24) - 5  # hours since midnight in Chicago
    raw = np.full(SHAPE, 1.0)
    cells = np.where(np.arange(SHAPE[0]) < 3, 1.5, 0.5)[:, None]
    truth = raw * cells * np.where(local % 24 < 12, 1.6, 0.4)[:, None, None]
    state = lived(np.random.default_rng(1).poisson(truth), raw)[-1]
    morning, evening = (FOLLOWER.at(state, START_S + (28 * 24 + hour) * HOUR_S) for hour in (5 + 6, 5 + 18))
    np.testing.assert_allclose(morning.hours[0] / evening.hours[0], 4, rtol=0.25)
    np.testing.assert_allclose(morning.hours[2], 1, atol=0.05)  # of a whole day
    np.testing.assert_allclose(morning.cells[:, :3].mean() / morning.cells[:, 3:].mean(), 3, rtol=0.25)
    np.testing.assert_allclose(morning.level, 1, atol=0.1)


def test_a_longer_horizon_learns_from_outcomes_of_its_own():
    raw, state = np.full(SHAPE, 0.5), FollowerState.new(SPEC)
    counts = np.random.default_rng(2).poisson(2 * raw, (10 * 24, *SHAPE))
    for hour, observed in enumerate(counts):
        first = outcome(state, hour, raw, observed)
        state = FOLLOWER.learn(state, [replace(first, horizon=2, raw=24 * raw, observed=24 * observed // 2), first])
    factors = FOLLOWER.at(state, START_S)
    assert (factors.levels[0] > 1.8).all()
    assert (factors.levels[2] < 1.1).all()  # there the level brought nothing


def test_outcomes_in_another_order_and_regions_between_one_another_give_the_same_bits():
    raw, random = np.full(SHAPE, 0.5), np.random.default_rng(3)
    state = other = FollowerState.new(SPEC)
    for hour in range(40):
        counts = random.poisson(raw, (3, *SHAPE))
        outcomes = [outcome(state, hour, raw, counts[number], number) for number in range(3)]
        FOLLOWER.learn(lived(counts, raw)[-1], outcomes)  # of another region
        state, other = FOLLOWER.learn(state, outcomes), FOLLOWER.learn(other, reversed(outcomes))
    assert_equal(state, other)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(1e-6, 1e3), st.floats(0, 1e3))
def test_no_count_leads_out_of_the_bounds(seed, expected, rate):
    random = np.random.default_rng(seed)
    raw = expected * random.gamma(0.3, 3.0, SHAPE) + 1e-9
    state = lived(random.poisson(rate * random.gamma(0.1, 10.0, (30, *SHAPE))), raw)[-1]
    FollowerState.checked(state.arrays(), SPEC)
    factors = shown_at(state, 30)
    assert (factors >= 1 / LIMIT).all()
    assert (factors <= LIMIT).all()


def test_a_silent_feed_changes_nothing():
    raw, random = np.full(SHAPE, 0.5), np.random.default_rng(4)
    before = lived(random.poisson(1.5 * raw, (200, *SHAPE)), raw)[-1]
    silent = lived(np.zeros((6, *SHAPE), np.int64), raw, before, 200)
    after = lived(np.ones((1, *SHAPE), np.int64), raw, silent[-1], 206)[-1]
    assert all((shown_at(state, 206) == shown_at(before, 206)).all() for state in (*silent, after))
    assert_equal(replace(after, silent_until_s=before.silent_until_s), before)
    late = outcome(before, 190, 24 * raw, np.zeros(SHAPE, np.int64), 2)
    assert_equal(FOLLOWER.learn(after, [late]), after)  # its day reaches into the silence
    next_hour = [lived(np.ones((1, *SHAPE), np.int64), raw, state, 207)[-1] for state in (before, after)]
    assert_equal(replace(next_hour[1], silent_until_s=before.silent_until_s), next_hour[0])


def test_a_burst_is_no_change():
    raw, random = np.full(SHAPE, 1.0), np.random.default_rng(7)
    before = lived(random.poisson(raw, (14 * 24, *SHAPE)), raw)[-1]
    after = lived(random.poisson(4 * raw, (12, *SHAPE)), raw, before, 14 * 24)[-1]
    assert (FOLLOWER.at(after, START_S).level < 1.15).all()  # four times as many for half a day would make it 1.2


def test_a_burst_of_one_category_leaves_the_counts_of_another():
    counts = SomeCounts.of(np.array([[4, 1], [4, 0]])).at_most(np.array([[4.0], [10.0]]))
    assert counts.count.tolist() == [2, 1, 2]  # of each cell one category after the other


def test_quiet_hours_are_learned_with_the_next_incident():
    raw = np.full(SHAPE, SILENT / 12 / 20)  # no incident for 15 hours: not rare
    quiet = lived(np.zeros((15, *SHAPE), np.int64), raw)
    assert (quiet[-1].level[1] == 0).all()
    state = lived(np.ones((1, *SHAPE), np.int64), raw, quiet[-1], 15)[-1]
    np.testing.assert_allclose(state.level[1, :, 0], 16 * raw.sum(axis=0))
    np.testing.assert_allclose(state.cells[1], 16 * raw.T, rtol=1e-9)


def test_a_state_is_read_again_to_the_bit():
    raw, random = np.full(SHAPE, 0.5), np.random.default_rng(5)
    state = lived(random.poisson(raw, (50, *SHAPE)), raw)[-1]
    again = FollowerState.checked(unpack_arrays(pack_arrays(state.arrays()), Path("state"), 1 << 20), SPEC)
    assert_equal(state, again)
    more = random.poisson(raw, (5, *SHAPE))
    assert_equal(lived(more, raw, state, 50)[-1], lived(more, raw, again, 50)[-1])


@pytest.mark.parametrize(
    "damage",
    [
        {"still": np.full((8, 2), 1.5)},
        {"still": np.full((8, 2), np.nan)},
        {"hours": np.full((3, 2, 24), 1e308)},  # their sum is infinite
        {"level": np.zeros(3)},
    ],
)
def test_a_damaged_state_is_refused(damage):
    with pytest.raises(DataError, match="start it anew"):
        FollowerState.checked(FollowerState.new(SPEC).arrays() | damage, SPEC)


@pytest.mark.parametrize(
    ("timezone", "at", "hours"),
    [
        ("Asia/Kolkata", datetime(2026, 5, 4, tzinfo=UTC), {5: 0.5, 6: 0.5}),
        ("America/Chicago", datetime(2026, 3, 8, 7, 30, tzinfo=UTC), {1: 0.5, 3: 0.5}),  # 2 a.m. there never was
    ],
)
def test_hours_are_those_of_the_region_s_clock(timezone, at, hours):
    follower = follower_of(msgspec.structs.replace(SPEC, timezone=timezone))
    state = FollowerState.new(follower.spec)
    first = outcome(state, 0, np.ones(SHAPE), np.ones(SHAPE, np.int64), 0, follower)
    learned = follower.learn(state, [replace(first, tick_s=int(at.timestamp()))])
    assert {hour: float(of) / 6 for hour, of in enumerate(learned.hours[0, 0]) if of} == hours


@pytest.mark.parametrize("power", [0.0, LINEAR])
@pytest.mark.parametrize("of_cells", [False, True])
def test_the_gain_is_the_difference_of_two_log_scores(power, of_cells):
    random = np.random.default_rng(6)
    before, factors = random.gamma(0.5, 2.0, (2, *SHAPE))
    counts = random.poisson(before)
    r = random.uniform(0.5, 20, SHAPE if of_cells else SHAPE[1])
    dispersion = Dispersion(r=r, power=np.full(r.shape, power))
    gained = ScoreGain.of(dispersion).gained(before.T, factors.T, SomeCounts.of(counts))
    scores = [log_scores(mean, counts, dispersion).sum(axis=0) for mean in (before, before * factors)]
    np.testing.assert_allclose(gained, scores[0] - scores[1])


def some_state(seed=11):
    """A state in which every part has something to say, and every race is undecided."""
    random, new = np.random.default_rng(seed), FollowerState.new(SPEC)
    drawn = {name: random.gamma(2, 4, getattr(new, name).shape) for name in ("level", "hours", "cells")}
    waits_none = {name: sums * np.array([1, 1, 0])[:, None, None] for name, sums in drawn.items()}
    return replace(new, **waits_none, still=random.uniform(0.1, 0.9, new.still.shape))


def factor_by_hand(state, profile, tick_s, horizon, category, cell):
    """By the head of factors.py, one number after the other, in a region at UTC."""

    def factor(place, prior, of):
        return (of(state_sums(place, 0)) + prior) / (of(state_sums(place, 1)) + prior)

    def state_sums(place, part):
        return getattr(state, place)[part, category].tolist()

    def mean_one(shape, weights):
        mean = sum(map(operator.mul, shape, weights)) / sum(weights)
        return [each / mean for each in shape]

    def raced(row, factor):
        still = float(state.still[row, category])
        return still + (1 - still) * factor

    shape = [
        factor("hours", 5, lambda sums, hour=hour: (sums[hour - 1] + sums[hour] + sums[(hour + 1) % 24]) / 3)
        for hour in range(24)
    ]
    by_hour = [raced(1, each) for each in mean_one(shape, state_sums("hours", 1))]
    ahead = [(tick_s // HOUR_S + 72 + more) % 168 for more in range(SPEC.horizons_s[horizon] // HOUR_S)]
    weights = [profile[category, hour] for hour in ahead]
    hours = sum(w * by_hour[hour % 24] for w, hour in zip(weights, ahead, strict=True)) / sum(weights)
    places = [factor("cells", 3, lambda sums, cell=cell: sums[cell]) for cell in range(SHAPE[0])]
    cells = raced(2, mean_one(places, state_sums("cells", 1))[cell])
    level = raced(0 if horizon == 0 else 6 + horizon - 1, factor("level", 20, lambda sums: sums[0]))
    return raced(3 + horizon, level * hours * cells)


def test_the_factors_are_those_of_the_formula():
    spec, state = msgspec.structs.replace(SPEC, timezone="UTC"), some_state()
    profile = np.random.default_rng(12).gamma(3, 0.3, (2, 168))
    follower = replace(FOLLOWER, spec=spec, profile=profile)
    shown = follower.at(state, START_S + 7 * HOUR_S).shown()
    for cell, category, horizon in np.ndindex(*shown.shape):
        by_hand = factor_by_hand(state, profile, START_S + 7 * HOUR_S, horizon, category, cell)
        assert shown[cell, category, horizon] == pytest.approx(by_hand)


def test_what_was_usual_of_an_hour_is_followed_as_a_forecast_of_that_hour_was():
    state, ticks = some_state(), [START_S + hour * HOUR_S for hour in range(5)]
    spans = [(tick_s, tick_s + HOUR_S) for tick_s in ticks]
    as_forecast = np.stack([FOLLOWER.at(state, tick_s).shown()[..., 0] for tick_s in ticks], axis=-1)
    np.testing.assert_allclose(FOLLOWER.over_spans(state, spans), as_forecast)


def test_each_filter_expects_what_the_forecast_with_all_others_expects():
    state, raw = some_state(), np.random.default_rng(13).gamma(2, 0.2, SHAPE)
    first = outcome(state, 7, raw, np.ones(SHAPE, np.int64))
    after, now = FOLLOWER.learn(state, [first]), first.following
    due = {
        "level": (raw.T * now.cells * now.hours[0]).sum(axis=1),
        "hours": (raw.T * now.cells * now.levels[0]).sum(axis=1),
        "cells": (raw.T * now.levels[0] * now.hours[0]).sum(axis=1),
    }
    for (name, expected), days in zip(due.items(), HALF_LIVES_DAYS, strict=True):
        before, of_now = (getattr(each, name)[1].sum(axis=1) for each in (state, after))
        np.testing.assert_allclose(of_now, before * 0.5 ** (1 / 24 / days) + expected, err_msg=name)


def test_the_evidence_of_a_longer_horizon_is_a_part_of_two_log_scores():
    state, raw = some_state(), np.random.default_rng(14).gamma(2, 2.0, SHAPE)
    day = outcome(state, 7, raw, np.random.default_rng(15).poisson(raw), 2)
    of, evidence = day.following, FOLLOWER.learn(state, [day]).evidence - state.evidence
    alone = of.cells * of.hours[2]
    better = [
        [log_scores(raw * mean.T, day.observed, DISPERSION).sum(axis=0) for mean in pair]
        for pair in ((np.ones_like(alone), alone * of.levels[2]), (alone, alone * of.level))
    ]
    for row, (without, with_it) in zip((3 + 2, 6 + 1), better, strict=True):
        np.testing.assert_allclose(evidence[row], (without - with_it) / 24)
    shown = [log_scores(raw * mean, day.observed, DISPERSION).sum(axis=0) for mean in (1.0, of.shown()[..., 2])]
    np.testing.assert_allclose(FOLLOWER.gained(day), shown[0] - shown[1])


def test_a_chance_returns_to_its_prior_by_the_hours_that_passed():
    raw, new = np.full(SHAPE, 0.05), FollowerState.new(SPEC)
    state = lived([*np.zeros((9, *SHAPE), int), np.ones(SHAPE, int)], raw, replace(new, still=new.still * 0 + 0.1))[-1]
    np.testing.assert_allclose(state.still[:GUARDS], 0.1 + 10 * SHARE * (STILL - 0.1))


@pytest.mark.parametrize(("level", "hours", "is_silent"), [(0.5, 20, False), (1.0, 20, True), (2.0, 8, True)])
def test_a_silence_is_judged_by_what_was_shown(level, hours, is_silent):
    raw = np.full(SHAPE, 1 / 12)  # an incident an hour
    counts = [*np.zeros((hours, *SHAPE), int), np.ones(SHAPE, int)]
    state = lived(counts, raw, state_of(SPEC, level))[-1]
    assert (state.silent_until_s > 0) == is_silent


def test_a_change_that_looks_like_a_burst_is_found_in_steps():
    raw = np.full(SHAPE, 0.5)
    state = lived(np.random.default_rng(8).poisson(5 * raw, (14 * 24, *SHAPE)), raw)[-1]
    np.testing.assert_allclose(FOLLOWER.at(state, START_S).level, 5, rtol=0.15)


NOW_S = 20_000 * DAY_S
SMALL = toy_spec(2, 2)
EVENLY = np.ones(24 + 4)


def shown(hours=None, cells=(1, 1, 1, 1)):
    """hours: hour -> factor."""
    factors = np.ones(28)
    for hour, factor in (hours or {}).items():
        factors[hour] = factor
    factors[24:] = cells
    return FollowedFactors(factors, EVENLY)


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
    hours = FollowedFactors(shown({5: 2.0, 6: 4.0}).factors, np.where(np.arange(28) == 6, 3.0, 1.0))
    assert change_of(*[hours] * 6)[1] == "05 to 07 h x 3.5"


def test_only_what_lasts_for_three_days_is_told():
    later, earlier = shown({5: 2, 9: 2}), shown({5: 2})
    assert change_of(later, later, earlier, earlier, earlier) == (NOW_S - 4 * DAY_S, "05 to 06 h x 2.0")
    assert change_of(later, later, later, later, earlier) == (NOW_S - 4 * DAY_S, "05 to 06 h x 2.0, 09 to 10 h x 2.0")
    assert change_of(*[shown({5: 1.25})] * 6) is None


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
    state = state_of(SMALL, 2.0)
    np.testing.assert_allclose(FollowedFactors.of(state).factors[:24], 2, rtol=1e-3)
    np.testing.assert_allclose(FollowedFactors.of(state).factors[24:], 1, rtol=1e-3)
    assert FollowedFactors.of(FollowerState.new(SMALL)).factors == pytest.approx(1)
    state.level[0, 0] = 1e4
    state.hours[1, 0], state.hours[1, 1:] = 3.0, 1.0
    assert FollowedFactors.of(state).factors[:24] == pytest.approx(
        (3 + 2 * (len(SMALL.categories) - 1)) / (2 + len(SMALL.categories)), rel=0.1
    )
