"""Weights of uncertain times against minutes counted one by one, and drawn times against the weights."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files.aoristic import aoristic_weights, draw_within
from schemas.errors import DataError

MINUTE, HOUR = 60, 3600


def array(*seconds):
    return np.array(seconds, np.int64)


def minutes_counted(start, end, edges):
    """Share of the interval's minutes in each step; an interval of no length counts its one minute."""
    minutes = range(start, max(end, start + 1))
    return [sum(first <= minute < last for minute in minutes) / len(minutes) for first, last in pairwise(edges)]


edges = st.lists(st.integers(-200, 800), min_size=2, max_size=12, unique=True).map(sorted)
intervals = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 200)), max_size=10)


@given(intervals, edges)
def test_weights_are_the_shares_of_minutes_counted_one_by_one(intervals, edges):
    start = np.array([first for first, _ in intervals], np.int64)
    end = start + np.array([length for _, length in intervals], np.int64)
    weights = aoristic_weights(start * MINUTE, end * MINUTE, np.array(edges) * MINUTE)
    counted = [minutes_counted(first, last, edges) for first, last in zip(start, end, strict=True)]
    np.testing.assert_allclose(weights, np.reshape(counted, weights.shape), atol=1e-12)
    covered = (start >= edges[0]) & (np.maximum(end, start + 1) <= edges[-1])
    np.testing.assert_allclose(weights[covered].sum(axis=1), 1, atol=1e-12)


def test_an_interval_of_no_length_is_the_one_step_that_begins_with_it():
    weights = aoristic_weights(array(HOUR), array(HOUR), array(0, HOUR, 2 * HOUR))
    assert weights.tolist() == [[0, 1]]


def test_an_interval_that_ends_before_it_starts_is_refused():
    with pytest.raises(DataError, match="1 intervals end before they start"):
        aoristic_weights(array(10, 10), array(9, 10), array(0, 20))


def test_drawn_times_have_the_weights_as_their_expectation():
    #  hour      0         1         2         3
    #  interval     [-----------------------)         0:30 to 2:45
    edges = array(0, HOUR, 2 * HOUR, 3 * HOUR)
    start, end = array(HOUR // 2), array(11 * HOUR // 4)
    draws = 20_000
    times = draw_within(np.repeat(start, draws), np.repeat(end, draws), np.random.default_rng(5))
    seen = np.histogram(times, edges)[0] / draws
    [weights] = aoristic_weights(start, end, edges)
    chance = np.sqrt(weights * (1 - weights) / draws)
    assert (np.abs(seen - weights) < 4 * chance).all()
    assert seen.sum() == 1


def test_every_second_of_an_interval_can_be_drawn_and_its_end_cannot():
    times = draw_within(np.repeat(array(7), 200), np.repeat(array(10), 200), np.random.default_rng(0))
    assert set(times.tolist()) == {7, 8, 9}
    assert draw_within(array(7), array(7), np.random.default_rng(0)).tolist() == [7]


def test_equal_seeds_draw_equal_times():
    start, end = np.zeros(50, np.int64), np.full(50, HOUR)
    first, again, other = (draw_within(start, end, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
