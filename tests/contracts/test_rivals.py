"""The simple rivals, each against its definition computed step by step and cell by cell."""

import pickle
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, xlogy

from models.evaluation.rival_contract import least_mean, poisson_loss
from models.evaluation.rivals import (
    RIVALS,
    Constant,
    Ewma,
    EwmaProfile,
    Expanding,
    FittedEwmaProfile,
    FittedKde,
    FittedSelfExciting,
    Historical,
    Kde,
    LastWeek,
    SameWeekday,
    SelfExciting,
    smooth,
    week_profile,
    week_slots,
)
from tests.harness.small_task import cube_of, random_cube, stacked


@st.composite
def tasks(draw):
    """A cube, the first step to forecast, and the delay, which may hide all that was before."""
    steps = draw(st.integers(2, 80))
    cube = random_cube(
        np.random.default_rng(draw(st.integers(0, 2**32))),
        steps=steps,
        rows=draw(st.integers(1, 4)),
        cols=draw(st.integers(1, 4)),
        categories=draw(st.integers(1, 3)),
        steps_per_week=draw(st.sampled_from([7, 28])),
    )
    return cube, draw(st.integers(1, steps - 1)), draw(st.integers(0, 12))


def by_steps(cube, first, delay, mean_of):
    """(steps - first, cells, categories): `mean_of(known counts, step)` for each step, from its known counts alone."""
    rows = [mean_of(cube.counts[: max(step - delay, 0)], step) for step in range(first, len(cube))]
    return np.broadcast_to(np.stack(rows), (len(cube) - first, *cube.counts.shape[1:]))


def mean_or_zero(counts):
    return counts.mean(axis=0) if len(counts) else np.zeros(counts.shape[1:])


def weighted_mean(counts, half_life_steps):
    age = np.arange(len(counts))[::-1]
    weights = 0.5 ** (age / half_life_steps)
    return np.average(counts, axis=0, weights=weights) if len(counts) else np.zeros(counts.shape[1:])


def same_weekday(cube, past, step):
    return mean_or_zero(past[cube.hour_of_week[: len(past)] == cube.hour_of_week[step]])


@pytest.mark.parametrize(
    ("rival", "mean_of"),
    [
        (Constant(), lambda cube, past, step, first: np.ones(cube.counts.shape[1:])),
        (LastWeek(), lambda cube, past, step, first: mean_or_zero(past[-cube.steps_per_week :])),
        (Expanding(), lambda cube, past, step, first: mean_or_zero(past)),
        (SameWeekday(), lambda cube, past, step, first: same_weekday(cube, past, step)),
        (Historical(), lambda cube, past, step, first: cube.counts[:first].mean(axis=0)),  # before validation
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@given(task=tasks())
def test_a_mean_of_counts_is_that_of_the_steps_in_its_definition(rival, mean_of, task):
    cube, first, delay = task
    forecast = stacked(rival.fit(cube, first).forecast(cube, first, delay=delay))
    expected = by_steps(cube, first, delay, lambda past, step: mean_of(cube, past, step, first))
    np.testing.assert_allclose(forecast, expected, rtol=1e-12)


@given(tasks(), st.floats(0.2, 400))
def test_ewma_halves_the_weight_of_a_step_with_each_half_life(task, half_life_days):
    cube, first, delay = task
    half_life_steps = half_life_days * cube.steps_per_week / 7
    expected = by_steps(cube, first, delay, lambda past, _: weighted_mean(past, half_life_steps))
    forecast = stacked(Ewma(half_life_days=half_life_days).forecast(cube, first, delay=delay))
    np.testing.assert_allclose(forecast, expected, rtol=1e-9)


@given(tasks(), st.floats(0.2, 400), st.sampled_from([0.0, 0.5]))
def test_ewma_profile_is_the_rate_times_how_busy_the_region_is_then(task, half_life_days, share):
    cube, first, delay = task
    profile = week_profile(cube.until(first))
    half_life_steps = half_life_days * cube.steps_per_week / 7

    def mean_of(past, step):
        rate = (1 - share) * weighted_mean(past, half_life_steps) + share * mean_or_zero(past)
        return rate * profile[cube.hour_of_week[step] * cube.steps_per_week // 168]

    fitted = FittedEwmaProfile(half_life_days=half_life_days, expanding_share=share, profile=profile)
    forecast = stacked(fitted.forecast(cube, first, delay=delay))
    np.testing.assert_allclose(forecast, by_steps(cube, first, delay, mean_of), rtol=1e-9)


@given(tasks())
def test_the_profile_is_each_slots_mean_with_one_usual_week_more(task):
    cube, first, _ = task
    past = cube.until(first)
    per_step = past.counts.sum(axis=1)
    for category in np.flatnonzero(per_step.any(axis=0)):
        usual = per_step[:, category].mean()
        slots = [
            np.append(per_step[week_slots(past) == slot, category], usual).mean() for slot in range(cube.steps_per_week)
        ]
        np.testing.assert_allclose(week_profile(past)[:, category], slots / np.mean(slots))


def test_a_slot_that_was_never_seen_and_a_category_that_never_happened_are_usual():
    counts = np.zeros((3, 4, 2))
    counts[:, 0, 0] = 5
    np.testing.assert_allclose(week_profile(cube_of(counts, rows=2, cols=2)), np.ones((7, 2)))


def test_slots_follow_the_local_week_where_a_change_of_clocks_makes_a_step_longer():
    cube = cube_of(np.zeros((14, 1, 1)), rows=1, cols=1)
    np.testing.assert_array_equal(week_slots(cube), [3, 4, 5, 6, 0, 1, 2] * 2)  # 1970 began on a Thursday
    cube.starts_s[5:] += 3600
    np.testing.assert_array_equal(week_slots(cube), [3, 4, 5, 6, 0, 1, 2] * 2)


@given(tasks(), st.floats(0.1, 3.0))
def test_smoothing_is_a_sum_over_a_kernel_and_over_its_reflections(task, bandwidth):
    cube, first, _ = task
    rate = cube.counts[first:].astype(np.float64)
    reach = int(4 * bandwidth + 0.5)  # four standard deviations
    distance = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (distance / bandwidth) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    square = rate.reshape(len(rate), cube.rows, cube.cols, -1)
    framed = np.pad(square, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    expected = np.zeros_like(square)
    for row, col in np.ndindex(cube.rows, cube.cols):
        around = framed[:, row : row + 2 * reach + 1, col : col + 2 * reach + 1]
        expected[:, row, col] = np.einsum("trcj,rc->tj", around, kernel)
    smoothed = np.stack([smooth(step, cube, bandwidth) for step in rate])
    np.testing.assert_allclose(smoothed, expected.reshape(rate.shape), atol=1e-12)
    np.testing.assert_allclose(smoothed.sum(axis=1), rate.sum(axis=1))


@given(tasks())
def test_kde_with_the_smallest_bandwidth_is_the_ewma(task):
    cube, first, delay = task
    forecast = stacked(FittedKde(half_life_days=9.0, bandwidth_cells=0.1).forecast(cube, first, delay=delay))
    np.testing.assert_array_equal(forecast, stacked(Ewma(half_life_days=9.0).forecast(cube, first, delay=delay)))


@settings(max_examples=25)
@given(tasks(), st.floats(1, 400), st.floats(0, 0.5), st.sampled_from([1.0, 0.5]))
def test_excitation_decays_and_reaches_the_neighbours(task, half_life_hours, weight, own_share):
    """What is not reported is taken as usual, so the excitation's weights sum to 1 with any delay."""
    cube, first, delay = task
    keep = 0.5 ** (168 / cube.steps_per_week / half_life_hours)
    usual = FittedEwmaProfile(half_life_days=9.0, expanding_share=0.0, profile=week_profile(cube.until(first)))
    usually = stacked(usual.forecast(cube, first, delay=delay))
    expected = np.empty_like(usually)
    for step in range(first, len(cube)):
        for cell in range(cube.rows * cube.cols):
            near = [other for other in range(cube.rows * cube.cols) if 0 < chebyshev(cube, cell, other) <= 1]
            excitation = np.zeros(len(cube.categories))
            for age in range(step):
                counts = cube.counts[step - 1 - age]
                here = own_share * counts[cell] + (1 - own_share) * counts[near].sum(axis=0) / 8
                excitation += (1 - keep) * keep**age * (here if age >= delay else usually[step - first, cell])
            if delay > step:  # steps before the cube began, of which there would be no report either
                excitation += (keep**step - keep**delay) * usually[step - first, cell]
            expected[step - first, cell] = (1 - weight) * usually[step - first, cell] + weight * excitation
    fitted = FittedSelfExciting(usual=usual, half_life_hours=half_life_hours, weight=weight, own_share=own_share)
    forecast = stacked(fitted.forecast(cube, first, delay=delay))
    np.testing.assert_allclose(forecast, expected, rtol=1e-7, atol=1e-12)


def chebyshev(cube, cell, other):
    rows, cols = np.divmod([cell, other], cube.cols)
    return max(abs(rows[0] - rows[1]), abs(cols[0] - cols[1]))


@given(tasks())
def test_two_losses_differ_as_the_poisson_likelihoods_do(task):
    cube, first, _ = task
    counts = cube.counts[first:]
    forecast, other = (stacked(Ewma(half_life_days=days).forecast(cube, first)) + 0.01 for days in (2.0, 20.0))
    expected = np.mean([minus_log_probability(mean, counts) for mean in (forecast, other)], axis=(1, 2, 3))
    assert poisson_loss(forecast, counts) - poisson_loss(other, counts) == pytest.approx(
        expected[0] - expected[1], abs=1e-9
    )


def minus_log_probability(mean, counts):
    return mean - xlogy(counts, mean) + gammaln(counts + 1)


PROFILES, KDE = EwmaProfile(half_lives_days=(1.0, 4.0, 16.0, 64.0)), Kde()
EXCITING = SelfExciting(usual=EwmaProfile(half_lives_days=(16.0,)))
CANDIDATES = [  # a rival that chooses, and one for each of its choices
    (
        PROFILES,
        [
            EwmaProfile(half_lives_days=(half_life,), expanding_shares=(share,))
            for half_life, share in product(PROFILES.half_lives_days, PROFILES.expanding_shares)
        ],
    ),
    (KDE, [Kde(bandwidths_cells=(bandwidth,)) for bandwidth in KDE.bandwidths_cells]),
    (
        EXCITING,
        [
            SelfExciting(usual=EXCITING.usual, half_lives_hours=(half_life,), weights=(weight,), own_shares=(share,))
            for half_life, weight, share in product(EXCITING.half_lives_hours, EXCITING.weights, EXCITING.own_shares)
        ],
    ),
]


@pytest.mark.parametrize(("rival", "one_by_one"), CANDIDATES, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize(("seed", "delay"), [(0, 0), (1, 0), (2, 0), (0, 6)])
def test_each_choice_is_the_best_of_its_candidates_on_the_validation_steps(rival, one_by_one, seed, delay):
    past, validation = random_cube(np.random.default_rng(seed), steps=90, rows=4, cols=4).until(80), 60
    counts, least = past.counts[validation:], least_mean(past.counts[:validation])

    def loss(candidate):
        fitted = candidate.fit(past, validation, delay=delay)
        mean = np.maximum(stacked(fitted.forecast(past, validation, delay=delay)), least)
        return float(np.round(minus_log_probability(mean, counts).mean(), 12))

    assert loss(rival) == min(map(loss, one_by_one)) < max(map(loss, one_by_one))


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_every_rival_is_pure_gives_a_mean_for_every_cell_and_says_what_it_chose_by_a_name_of_its_own(rival):
    assert [other for other in RIVALS if other.name == rival.name] == [rival]
    assert type(rival).__doc__ or sys.modules[type(rival).__module__].__doc__
    cube = random_cube(np.random.default_rng(2), steps=64, steps_per_week=28)
    cube.counts[:, 0] = 0
    before = cube.counts.copy()
    fitted = pickle.loads(pickle.dumps(rival.fit(cube.until(50), 40)))  # noqa: S301 - our own
    for delay in (0, 3, 60):
        forecast = stacked(fitted.forecast(cube, 50, delay=delay))
        assert (forecast.shape, forecast.dtype) == ((14, 6, 2), np.float64)
        assert (forecast >= 0).all()
        assert np.isfinite(forecast).all()
        np.testing.assert_array_equal(forecast, stacked(fitted.forecast(cube, 50, delay=delay)))
    np.testing.assert_array_equal(cube.counts, before)
    assert all(isinstance(value, float) for value in fitted.chosen.values())


@given(st.integers(0, 2**32), st.integers(1, 5000), st.integers(0, 40))
def test_the_least_forecast_adds_half_an_incident_and_hardly_more(seed, cells, incidents):
    """Over all the steps that were learned from, whatever the forecast is."""
    random = np.random.default_rng(seed)
    counts = np.zeros((50, cells, 2), np.int32)
    np.add.at(counts, (random.integers(50, size=incidents), random.integers(cells, size=incidents), 0), 1)
    least = least_mean(counts)
    assert (least > 0).all(), "a category that was never seen may come"
    forecast = counts.mean(axis=0)
    added = 50 * (np.maximum(forecast, least) - forecast).sum(axis=0)
    assert (added <= np.array([1e-4 * incidents + 0.5, 0.5]) + 1e-9).all()
