"""Counts as random numbers: negative binomial around a mean, with a size, so that variance = m + m**2 / size.

A large size is Poisson. Sources of the formulas: the distributions' definitions; tests compare with SciPy. torch and
scipy.special take long to import, and commands that score nothing reach this file: they are imported where they are
used.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]

LEAST_GAIN = 5e-4  # of a validation loss, for what is less simple to be kept: chance alone gains 1e-4
# Nats of the validation block's log likelihood that a choice gains at least over the usual one. Where steps do not
# overlap, one that is no better gains as much with a chance of exp(-5) at most; horizons of a day that are asked every
# few hours count an incident several times, and gain as many times that. Source: the universal bound of Royall, On the
# probability of observing misleading statistical evidence, Journal of the American Statistical Association 95, 2000.
LEAST_NATS = 5.0
QUADRATIC, LINEAR = 0.0, 1.0  # powers: how the variance beyond the mean grows with the mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dispersion:
    """How far counts lie around their mean m: size = r * m**power.

    QUADRATIC: variance = m + m**2 / r, as when the mean itself is uncertain. LINEAR: variance = m + m / r, as when one
    incident is reported several times. Source: the forms NB2 and NB1 of Cameron and Trivedi, Econometric models based
    on count data, Journal of Applied Econometrics 1, 1986.
    """

    r: Floats  # of any shape, > 0
    power: Floats  # of the same shape: QUADRATIC or LINEAR

    @classmethod
    def quadratic(cls, r: Floats) -> "Dispersion":
        return cls(r=np.asarray(r, np.float64), power=np.full(np.shape(r), QUADRATIC))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dispersion) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("r", "power")
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, place: Any) -> "Dispersion":
        """The dispersion of one place, or of several."""
        return Dispersion(r=np.asarray(self.r[place]), power=np.asarray(self.power[place]))

    def size(self, mean: AnyFloats) -> AnyFloats:
        """The size at each mean; r and power are broadcast against it. Gives mean's type."""
        r = self.r.astype(mean.dtype)
        return np.asarray(np.where(self.power == LINEAR, r * mean, r) if self.power.any() else r)

    def widened(self, variance: Floats, mean: AnyFloats) -> "Dispersion":
        """The dispersion of counts whose mean has a factor that is uncertain, common to all cells.

        variance: (categories, horizons) of the factor over its mean's square. mean: (cells, categories, horizons), by
        whose incidents the linear form is as wide as the quadratic one. Two digits are kept: tables of quantiles are
        remembered by r.
        """
        of_incidents = (mean.astype(np.float64) ** 2).sum(axis=0) / np.maximum(mean.sum(axis=0, dtype=np.float64), 1e-9)
        more = variance * np.where(self.power == LINEAR, of_incidents, 1.0)
        wide = 1 / ((1 + variance) / self.r + more)
        digits = 10 ** np.floor(np.log10(wide) - 1)
        rounded = np.minimum(np.maximum(np.round(wide / digits), 1) * digits, self.r)
        r = np.where(variance > 0, rounded, self.r)
        return Dispersion(r=r, power=np.broadcast_to(self.power, r.shape))

    def tensor_size(self, mean: "Tensor") -> "Tensor":
        """What `size` gives, as a tensor on the device of `mean`."""
        r, power = mean.new_tensor(self.r), mean.new_tensor(self.power)
        return (r * mean).where(power == LINEAR, r) if self.power.any() else r

    def excess(self, mean: AnyFloats) -> AnyFloats:
        """mean / size: the variance over the mean, less 1. Shapes and type as those of `size`."""
        r = self.r.astype(mean.dtype)
        return np.asarray(np.where(self.power == LINEAR, 1, mean) / r if self.power.any() else mean / r)


TABLE = 48  # quantiles up to this are found in a table of that many steps
_TRIED = 16


def poisson_deviance(log_mean: "Tensor", counts: "Tensor") -> "Tensor":
    """Twice the log likelihood lost against a forecast that knew the counts. Any one shape, >= 0."""
    mean = log_mean.exp()
    return 2 * (counts.xlogy(counts) - counts * log_mean - counts + mean)


def negative_binomial_nll(
    log_mean: "Tensor", counts: "Tensor", size: "Tensor", combinations: "Tensor | None" = None
) -> "Tensor":
    """Minus log probability of counts; `size` is broadcast against the rest.

    combinations: `log_combinations` of the same counts, where many means are tried.
    """
    log_share = log_mean - (size + log_mean.exp()).log()  # log(m / (size + m))
    at_zero = size * (log_mean.exp() / size).log1p()  # -log P(0)
    return at_zero - counts * log_share - (log_combinations(counts, size) if combinations is None else combinations)


def log_combinations(counts: "Tensor", size: "Tensor") -> "Tensor":
    """What of the log probability of counts does not depend on their mean."""
    return (counts + size).lgamma() - size.lgamma() - (counts + 1).lgamma()


def log_scores(mean: Floats, counts: npt.NDArray[np.number], dispersion: Dispersion) -> Floats:
    """Minus log probability of counts, nats. mean, counts: one shape, which the dispersion's is broadcast against."""
    import torch

    size = torch.from_numpy(np.broadcast_to(dispersion.size(mean), mean.shape).astype(np.float64))
    log_mean, observed = torch.from_numpy(np.log(mean)), torch.from_numpy(counts.astype(np.float64))
    return np.asarray(negative_binomial_nll(log_mean, observed, size).numpy())


def at_least_one(mean: npt.NDArray[np.float32], dispersion: Dispersion) -> npt.NDArray[np.float32]:
    """Probability of one incident or more, 0..1. mean: of any shape, which the dispersion's is broadcast against."""
    return np.asarray(-np.expm1(-dispersion.size(mean) * np.log1p(dispersion.excess(mean))), np.float32)


def predictive_quantile(mean: npt.NDArray[np.float32], dispersion: Dispersion, share: float) -> npt.NDArray[np.float32]:
    """Smallest count that is not exceeded with probability `share` (0.05 or 0.95).

    The dispersion is broadcast against the mean. Gives mean's shape.
    """
    kinds, kind = np.unique(np.where(dispersion.power == LINEAR, -dispersion.r, dispersion.r), return_inverse=True)
    kind = np.broadcast_to(kind.reshape(dispersion.r.shape), mean.shape)
    steps = np.stack([_steps_of(signed, share, TABLE) for signed in kinds.tolist()])
    apart = steps[:, -1].max() + 1.0  # one kind's steps stand behind another's, so that one search does for all
    behind = apart * np.arange(len(kinds))
    capped = np.minimum(mean.astype(np.float64), apart)
    steps_below = np.searchsorted((steps + behind[:, None]).ravel(), capped + behind[kind]) - TABLE * kind
    quantile: npt.NDArray[np.float32] = steps_below.astype(np.float32)
    beyond = mean > steps[kind, -1]
    if beyond.any():
        means = mean.astype(np.float64)
        quantile[beyond] = any_quantile(
            means[beyond], np.broadcast_to(dispersion.size(means), mean.shape)[beyond], share
        )
    return quantile


def any_quantile(mean: Floats, size: Floats, share: float) -> npt.NDArray[np.float32]:
    """Smallest count that is not exceeded with probability `share`. mean, size: of one shape, which it gives."""
    from scipy.special import betainc, nbdtrik

    success = size / (size + np.maximum(mean, 1e-9))  # without a mean there is no root
    count = np.zeros(mean.size)
    beyond = np.arange(mean.size)
    for tried in range(_TRIED):  # most are that small, and the search for a root takes thirty times as long as a try
        beyond = beyond[betainc(size.flat[beyond], tried + 1, success.flat[beyond]) < share]
        count[beyond] = tried + 1
    if len(beyond):
        size, success = size.flat[beyond], success.flat[beyond]
        root = np.maximum(np.ceil(nbdtrik(share, size, success)), 0)
        root -= (root > 0) & (betainc(size, np.maximum(root, 1), success) >= share)  # rounded up beyond its whole
        count[beyond] = root
    return count.reshape(mean.shape).astype(np.float32)


def _steps_of(signed: float, share: float, count: int) -> Floats:
    """signed: r, below zero where the dispersion is LINEAR."""
    return quantile_steps(abs(signed), LINEAR if signed < 0 else QUADRATIC, share, count)


@lru_cache(maxsize=1024)
def quantile_steps(r: float, power: float, share: float, count: int) -> Floats:
    """(count,) means m_k at which the quantile steps from k to k + 1: P(X <= k | m_k) = share, by bisection."""
    from scipy.special import betaincc

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
