"""Counts as random numbers: negative binomial with mean m and a size, so that variance = m + m**2 / size.

A large size is Poisson. Sources of the formulas: the distributions' definitions; tests compare with SciPy.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import betaincc
from torch import Tensor

from models.dispersion import LINEAR, QUADRATIC, Dispersion, Floats

TABLE = (48, 384)  # quantiles up to these are found in a table of that many steps; beyond, by expansion
_Z = {0.05: -1.6448536269514722, 0.95: 1.6448536269514722}  # the normal distribution's quantiles


def poisson_deviance(log_mean: Tensor, counts: Tensor) -> Tensor:
    """Twice the log likelihood lost against a forecast that knew the counts. Any one shape, >= 0."""
    mean = torch.exp(log_mean)
    return 2 * (torch.xlogy(counts, counts) - counts * log_mean - counts + mean)


def negative_binomial_nll(log_mean: Tensor, counts: Tensor, size: Tensor, combinations: Tensor | None = None) -> Tensor:
    """Minus log probability of counts; `size` is broadcast against the rest.

    combinations: `log_combinations` of the same counts, where many means are tried.
    """
    log_share = log_mean - torch.log(size + torch.exp(log_mean))  # log(m / (size + m))
    at_zero = size * torch.log1p(torch.exp(log_mean) / size)  # -log P(0)
    return at_zero - counts * log_share - (log_combinations(counts, size) if combinations is None else combinations)


def log_combinations(counts: Tensor, size: Tensor) -> Tensor:
    """What of the log probability of counts does not depend on their mean."""
    return torch.lgamma(counts + size) - torch.lgamma(size) - torch.lgamma(counts + 1)


def log_scores(mean: Floats, counts: npt.NDArray[np.number], dispersion: Dispersion) -> Floats:
    """Minus log probability of counts, nats. mean, counts: one shape, which the dispersion's is broadcast against."""
    size = torch.from_numpy(np.broadcast_to(dispersion.size(mean), mean.shape).astype(np.float64))
    log_mean, observed = torch.from_numpy(np.log(mean)), torch.from_numpy(counts.astype(np.float64))
    return np.asarray(negative_binomial_nll(log_mean, observed, size).numpy())


def at_least_one(mean: npt.NDArray[np.float32], dispersion: Dispersion) -> npt.NDArray[np.float32]:
    """Probability of one incident or more, 0..1. mean: of any shape, which the dispersion's is broadcast against."""
    return np.asarray(-np.expm1(-dispersion.size(mean) * np.log1p(dispersion.excess(mean))), np.float32)


def predictive_quantile(mean: npt.NDArray[np.float32], dispersion: Dispersion, share: float) -> npt.NDArray[np.float32]:
    """Smallest count that is not exceeded with probability `share` (0.05 or 0.95).

    The dispersion is broadcast against the mean. Gives mean's shape. Counts past the table come from a Cornish-Fisher
    expansion, within 3 % of the exact ones.
    """
    kinds, kind = np.unique(np.where(dispersion.power == LINEAR, -dispersion.r, dispersion.r), return_inverse=True)
    kind = np.broadcast_to(kind.reshape(dispersion.r.shape), mean.shape)
    steps = np.stack([_steps_of(signed, share, TABLE[0]) for signed in kinds.tolist()])
    apart = steps[:, -1].max() + 1.0  # one kind's steps stand behind another's, so that one search does for all
    behind = apart * np.arange(len(kinds))
    capped = np.minimum(mean.astype(np.float64), apart)
    steps_below = np.searchsorted((steps + behind[:, None]).ravel(), capped + behind[kind]) - TABLE[0] * kind
    quantile: npt.NDArray[np.float32] = steps_below.astype(np.float32)
    beyond = mean > steps[kind, -1]
    for number in np.unique(kind[beyond]).tolist():
        here = beyond & (kind == number)
        quantile[here] = _past_the_table(mean[here], float(kinds[number]), share)
    return quantile


def _past_the_table(means: npt.NDArray[np.float32], signed: float, share: float) -> npt.NDArray[np.float32]:
    """(n,) quantiles of distributions with these means (n,) and one dispersion."""
    steps = _steps_of(signed, share, TABLE[1])
    quantile = np.searchsorted(steps, means).astype(np.float32)
    beyond = means > steps[-1]
    if beyond.any():
        dispersion = Dispersion(r=np.array(abs(signed)), power=np.array(LINEAR if signed < 0 else QUADRATIC))
        quantile[beyond] = _expansion(means[beyond].astype(np.float64), dispersion, share)
    return quantile


def _steps_of(signed: float, share: float, count: int) -> Floats:
    """signed: r, below zero where the dispersion is LINEAR."""
    return quantile_steps(abs(signed), LINEAR if signed < 0 else QUADRATIC, share, count)


@lru_cache(maxsize=1024)
def quantile_steps(r: float, power: float, share: float, count: int) -> Floats:
    """(count,) means m_k at which the quantile steps from k to k + 1: P(X <= k | m_k) = share, by bisection."""
    dispersion = Dispersion(r=np.array(r), power=np.array(power))
    k = np.arange(count)
    low, high = np.full(count, -40.0), np.full(count, np.log(1e6))  # log of the mean
    for _ in range(54):
        middle = (low + high) / 2
        excess, size = dispersion.excess(np.exp(middle)), dispersion.size(np.exp(middle))
        too_low = betaincc(k + 1.0, size, excess / (1 + excess)) > share  # P(X <= k)
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    steps: Floats = np.exp((low + high) / 2)
    steps.flags.writeable = False
    return steps


def _expansion(mean: Floats, dispersion: Dispersion, share: float) -> Floats:
    z, excess = _Z[share], dispersion.excess(mean)
    variance = mean * (1 + excess)
    skew = (1 + 2 * excess) / np.sqrt(variance)
    kurtosis = 6 * excess / mean + 1 / variance
    shift = z + skew * (z**2 - 1) / 6 + kurtosis * (z**3 - 3 * z) / 24 - skew**2 * (2 * z**3 - 5 * z) / 36
    return np.asarray(np.maximum(np.round(mean + np.sqrt(variance) * shift), 0))
