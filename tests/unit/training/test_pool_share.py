"""The share of a network's correction that is served."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import poisson

from models.training.pool_share import MORE_OFF, pool_share


def farthest(usual, correction, counts):
    """How far the total may lie off."""
    return off(usual, correction, counts, 0) + MORE_OFF + 2 / np.sqrt(max(counts.sum(), 1))


def off(usual, correction, counts, share):
    """How far the log of the total's forecast over what came lies from 0."""
    return abs(np.log((usual * np.exp(share * correction)).sum() / max(counts.sum(), 1)))


@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.floats(-0.5, 0.5))
def test_the_likeliest_share_by_scipy_unless_the_total_is_farther_off(seed, strength, level):
    random = np.random.default_rng(seed)
    usual = random.gamma(1.0, size=(200, 2)) + 0.01
    correction = random.normal(size=usual.shape) + level
    counts = random.poisson(usual * np.exp(strength * (correction - level)))
    tensors = (torch.from_numpy(of) for of in (np.log(usual), correction, counts.astype(float)))
    share = pool_share(*tensors)
    loss = lambda at: -poisson.logpmf(counts, usual * np.exp(at * correction)).sum()  # noqa: E731
    likeliest = minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    bound = farthest(usual, correction, counts)
    assert share <= likeliest + 0.011
    assert off(usual, correction, counts, share) <= bound + 1e-9
    if share < likeliest - 0.011:  # then the next percent would be too far off
        assert off(usual, correction, counts, share + 0.01) > bound


def test_a_network_that_knows_the_places_but_undoes_the_level_serves_only_a_part():
    usual = 1000 * np.array([[0.001]] * 10 + [[20.0]])
    counts = 1000 * np.array([[0.4]] * 10 + [[20.0]])
    correction = np.log(
        1000 * np.array([[0.4]] * 10 + [[28.0]]) / usual
    )  # right where it is quiet, too high where it is busy
    share = pool_share(*(torch.from_numpy(of) for of in (np.log(usual), correction, counts)))
    bound = farthest(usual, correction, counts)
    assert off(usual, correction, counts, share) <= bound < off(usual, correction, counts, share + 0.01)
    assert 0.9 < share < 0.96  # by likelihood alone it would be 0.98


def test_where_nothing_came_the_smaller_forecast_is_served():
    usual, half, none = (torch.full((4, 1), value, dtype=torch.float64) for value in (np.log(0.2), np.log(0.5), 0))
    assert pool_share(usual, half, none) == 1
    assert pool_share(usual, -half, none) == 0
