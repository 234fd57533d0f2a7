"""The follower: what it finds, what it leaves alone, and that equal pasts give equal factors."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dispersion import LINEAR, Dispersion
from models.following import LIMIT, SHARE, SILENT, STILL, FollowerState, ScoreGain, SomeCounts
from models.likelihood import log_scores
from schemas.errors import DataError
from schemas.files import pack_arrays, unpack_arrays
from schemas.spec import HOUR_S, Spec
from tests.harness.followed_town import DISPERSION, FOLLOWER, SHAPE, SPEC, START_S, follower_of, lived, outcome

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
    follower = follower_of(
        Spec(**{part: getattr(SPEC, part) for part in SPEC.__struct_fields__} | {"timezone": timezone})
    )
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
