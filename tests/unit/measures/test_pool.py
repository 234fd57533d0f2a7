"""The log-linear pool: its weights against a search of all of them, and what a pool is."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from models.measures.pool import pool_weights, pooled


@pytest.fixture
def random():
    return np.random.default_rng(7)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.05, 1.5))
def test_no_weights_of_a_fine_grid_make_the_counts_likelier(seed, noise):
    random = np.random.default_rng(seed)
    truth = random.gamma(0.5, 1.0, (200, 2)) + 0.01
    counts = random.poisson(truth).astype(np.int32)
    means = [truth * np.exp(random.normal(0, noise, truth.shape)) for _ in range(3)]
    weights = pool_weights(means, counts)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    shares = np.array([each for each in product(range(21), repeat=3) if sum(each) == 20]) / 20
    pools = np.exp(np.vstack([weights, shares]) @ np.log(means).reshape(3, -1))
    log_likelihood = poisson.logpmf(counts.ravel(), pools).sum(axis=1)
    assert log_likelihood[0] >= log_likelihood.max() - 1e-4


def test_weights_of_forecasts_that_nothing_followed_are_found():
    weights = pool_weights([np.full((4, 1), 0.1), np.full((4, 1), 0.2)], np.zeros((4, 1), np.int32))
    np.testing.assert_allclose(weights, [1, 0], atol=1e-9)


def test_a_pool_is_the_weighted_geometric_mean(random):
    means = random.gamma(1.0, 1.0, (3, 7, 5, 2)) + 1e-6
    weights = np.array([0.2, 0.5, 0.3])
    expected = np.prod([mean**weight for mean, weight in zip(means, weights, strict=True)], axis=0)
    np.testing.assert_allclose(pooled(list(means), weights), expected)
