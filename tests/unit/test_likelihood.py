"""Likelihoods, probabilities and quantiles against SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson

from models.likelihood import (
    at_least_one,
    negative_binomial_nll,
    poisson_deviance,
    poisson_nll,
    predictive_quantile,
)

MEANS = np.geomspace(1e-6, 300, 60)
COUNTS = np.array([0, 1, 2, 5, 40, 400])
SIZES = np.array([[0.1, 0.5], [3.0, 300.0]])
LOG_MEAN = torch.from_numpy(np.log(MEANS))[:, None]
SEEN = torch.from_numpy(COUNTS).double()[None, :]


def test_poisson_is_scipys():
    np.testing.assert_allclose(poisson_nll(LOG_MEAN, SEEN), -poisson.logpmf(COUNTS, MEANS[:, None]), rtol=1e-10)
    saturated = poisson.logpmf(COUNTS, np.maximum(COUNTS, 1e-300))
    expected = 2 * (saturated - poisson.logpmf(COUNTS, MEANS[:, None]))
    np.testing.assert_allclose(poisson_deviance(LOG_MEAN, SEEN), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", SIZES.ravel())
def test_negative_binomial_is_scipys(size):
    expected = -nbinom.logpmf(COUNTS, size, size / (size + MEANS[:, None]))
    result = negative_binomial_nll(LOG_MEAN, SEEN, torch.tensor(size).double())
    np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-12)


def test_the_probability_of_one_or_more_is_scipys():
    mean = np.broadcast_to(MEANS[:, None, None], (60, 2, 2)).astype(np.float32)
    expected = nbinom.sf(0, SIZES, SIZES / (SIZES + mean.astype(np.float64)))
    np.testing.assert_allclose(at_least_one(mean, SIZES), expected, rtol=2e-6)


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_quantiles_are_scipys_and_near_them_past_the_table(share):
    mean = np.broadcast_to(np.geomspace(1e-3, 5000, 300)[:, None, None], (300, 2, 2)).astype(np.float32)
    expected = nbinom.ppf(share, SIZES, SIZES / (SIZES + mean.astype(np.float64)))
    result = predictive_quantile(mean, SIZES, share)
    within = expected < 380
    assert within.mean() > 0.7
    np.testing.assert_array_equal(result[within], expected[within])
    assert (np.abs(result - expected) <= 0.03 * expected + 1)[~within].all()
