"""Counts as random numbers: negative binomial with mean m and size r, so that variance = m + m**2 / r.

A large r is Poisson. Sources of the formulas: the distributions' definitions; tests compare with SciPy.
"""

from functools import lru_cache
from math import lgamma

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

TABLE = (48, 384)  # quantiles up to these are found in a table of that many steps; beyond, by expansion
_Z = {0.05: -1.6448536269514722, 0.95: 1.6448536269514722}  # the normal distribution's quantiles


def poisson_deviance(log_mean: Tensor, counts: Tensor) -> Tensor:
    """Twice the log likelihood lost against a forecast that knew the counts. Any one shape, >= 0."""
    mean = torch.exp(log_mean)
    return 2 * (torch.xlogy(counts, counts) - counts * log_mean - counts + mean)


def negative_binomial_nll(log_mean: Tensor, counts: Tensor, dispersion: Tensor) -> Tensor:
    """Minus log probability of counts; `dispersion` is the size r, broadcast against the rest."""
    log_share = log_mean - torch.log(dispersion + torch.exp(log_mean))  # log(m / (r + m))
    at_zero = dispersion * torch.log1p(torch.exp(log_mean) / dispersion)  # -log P(0)
    combinations = torch.lgamma(counts + dispersion) - torch.lgamma(dispersion) - torch.lgamma(counts + 1)
    return at_zero - counts * log_share - combinations


def at_least_one(mean: npt.NDArray[np.float32], dispersion: Floats) -> npt.NDArray[np.float32]:
    """Probability of one incident or more, 0..1. mean: (cells, categories, horizons); dispersion without cells."""
    size = dispersion.astype(np.float32)
    return np.asarray(-np.expm1(-size * np.log1p(mean / size)), np.float32)


def predictive_quantile(mean: npt.NDArray[np.float32], dispersion: Floats, share: float) -> npt.NDArray[np.float32]:
    """Smallest count that is not exceeded with probability `share` (0.05 or 0.95).

    mean: (cells, categories, horizons); dispersion: (categories, horizons). Gives mean's shape. Counts past the
    table come from a Cornish-Fisher expansion, within 3 % of the exact ones.
    """
    quantile = np.empty(mean.shape, np.float32)
    for place in np.ndindex(dispersion.shape):
        here = (slice(None), *place)
        size, means = float(dispersion[place]), mean[here]
        steps = quantile_steps(size, share, TABLE[0])
        if means.max(initial=0) > steps[-1]:
            steps = quantile_steps(size, share, TABLE[1])
        found = np.searchsorted(steps, means).astype(np.float32)
        beyond = means > steps[-1]
        if beyond.any():
            found[beyond] = _expansion(means[beyond].astype(np.float64), size, share)
        quantile[here] = found
    return quantile


@lru_cache(maxsize=1024)
def quantile_steps(size: float, share: float, count: int) -> Floats:
    """(count,) means m_k at which the quantile steps from k to k + 1: P(X <= k | m_k) = share, by bisection."""
    k = np.arange(count)
    weight = np.array([lgamma(size + j) - lgamma(size) - lgamma(j + 1) for j in range(count)])
    low, high = np.full(count, -40.0), np.full(count, np.log(1e6))  # log of the mean
    below = k[None, :] <= k[:, None]
    for _ in range(54):
        middle = (low + high) / 2
        log_share = -np.log1p(size * np.exp(-middle))  # log(m / (r + m))
        at_zero = -size * np.log1p(np.exp(middle) / size)
        terms = np.exp(weight + at_zero[:, None] + k * log_share[:, None])
        too_low = np.where(below, terms, 0).sum(axis=1) > share
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    steps: Floats = np.exp((low + high) / 2)
    steps.flags.writeable = False
    return steps


def _expansion(mean: Floats, size: float, share: float) -> Floats:
    z = _Z[share]
    variance = mean + mean**2 / size
    skew = (1 + 2 * mean / size) / np.sqrt(variance)
    kurtosis = 6 / size + 1 / variance
    shift = z + skew * (z**2 - 1) / 6 + kurtosis * (z**3 - 3 * z) / 24 - skew**2 * (2 * z**3 - 5 * z) / 36
    return np.maximum(np.round(mean + np.sqrt(variance) * shift), 0)
