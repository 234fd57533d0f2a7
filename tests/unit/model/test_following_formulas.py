"""The follower against its formulas, one number after the other."""

import operator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.following import GUARDS, HALF_LIVES_DAYS, SHARE, STILL, FollowerState
from models.likelihood import log_scores
from schemas.spec import HOUR_S
from tests.harness.followed_town import DISPERSION, FOLLOWER, SHAPE, SPEC, START_S, lived, outcome
from tests.harness.toy import state_of


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
