"""Calibration: do probabilities, intervals and whole distributions keep their promise?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from models.dispersion import Dispersion
from models.measures.cube import Counts, Floats

PIT_BINS = 20  # so that a 90 % interval is whole bins
RELIABILITY_BINS = 20
PART_VALUES = 1 << 20  # that are put into bins at a time
BUSY = 1.0  # expected incidents from which on a histogram of the PIT notices a wrong forecast
Probabilities = npt.NDArray[np.float32] | Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Forecast against observed frequency of "at least one", bins from the lowest probability to the highest."""

    forecast: Floats  # (bins,) mean probability
    observed: Floats  # (bins,) share of values with at least one incident
    values: npt.NDArray[np.int64]  # (bins,) how many values

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over all values of a bin's |observed - forecast|.

        Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities, AAAI 2015; bins of equal mass.
        """
        return float(np.average(np.abs(self.observed - self.forecast), weights=self.values))


def reliability_of(probability: Probabilities, happened: npt.NDArray[np.bool_], *, bins: int) -> Reliability:
    """The table of at most `bins` bins of equally many values. probability, happened: any one shape.

    Equal probabilities share a bin, so ties make fewer and unequal bins; a constant forecast has one.
    """
    flat, came = probability.ravel(), happened.ravel()
    tops = np.unique(np.quantile(flat, np.arange(1, bins + 1) / bins, method="inverted_cdf"))
    forecast = np.zeros(len(tops))
    values, observed = np.zeros((2, len(tops)), np.int64)
    for start in range(0, flat.size, PART_VALUES):
        part = slice(start, start + PART_VALUES)
        bin_of = np.searchsorted(tops, flat[part])  # the first bin whose highest probability is not below
        values += np.bincount(bin_of, minlength=len(tops))
        observed += np.bincount(bin_of[came[part]], minlength=len(tops))
        np.add.at(forecast, bin_of, flat[part])  # one after another, so that the parts' size changes nothing
    return Reliability(forecast=forecast / values, observed=observed / values, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Tallies of a predictive distribution against counts; those of two sets of values add up.

    Counts are small: the plain 90 % interval of a mean of 0.03 is [0, 0] and covers 97 % however good the forecast.
    `coverage_90` is therefore the share of the randomised PIT in [0.05, 0.95], 0.9 for a forecast that is right.
    """

    pit: npt.NDArray[np.int64]  # (20,) histogram of the randomised PIT over 0..1; flat when the forecast is right
    busy: npt.NDArray[np.int64]  # the same of the values with an expected count of at least BUSY

    def __add__(self, other: "Intervals") -> "Intervals":
        return Intervals(pit=self.pit + other.pit, busy=self.busy + other.busy)

    def figures(self) -> dict[str, float]:
        """Coverages by their names in a score sheet."""
        of_busy = _middle_90(self.busy) if self.busy.any() else np.nan
        return {"coverage_90": _middle_90(self.pit), "busy_coverage_90": of_busy}


NO_INTERVALS = Intervals(pit=np.zeros(PIT_BINS, np.int64), busy=np.zeros(PIT_BINS, np.int64))


def _middle_90(pit: npt.NDArray[np.int64]) -> float:
    outside = PIT_BINS // 20
    return float(pit[outside : PIT_BINS - outside].sum() / pit.sum())


def intervals_of(mean: Floats, counts: Counts, dispersion: Dispersion, uniform: Floats) -> Intervals:
    """Tallies of the negative binomial. mean, counts, uniform: one shape, which the dispersion's is broadcast against.

    The randomised PIT is P(X < y) + u P(X = y), u in `uniform`, drawn from 0..1. Source: Czado, Gneiting
    and Held, Predictive model assessment for count data, Biometrics 65, 2009.
    """
    below, up_to = cumulative(mean, counts, dispersion)
    pit = below + uniform * (up_to - below)
    return Intervals(
        pit=np.histogram(pit, bins=PIT_BINS, range=(0, 1))[0].astype(np.int64),
        busy=np.histogram(pit[mean >= BUSY], bins=PIT_BINS, range=(0, 1))[0].astype(np.int64),
    )


def cumulative(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """P(X < count) and P(X <= count). mean, counts: one shape, which the dispersion's is broadcast against.

    By the incomplete beta function, because scipy's nbdtr cuts the size to a whole number.
    """
    size = np.broadcast_to(dispersion.size(mean), mean.shape)
    share = mean / (size + mean)
    up_to = 1 - betainc(counts + 1.0, size, share)
    below = np.zeros(mean.shape)
    some = counts > 0
    below[some] = 1 - betainc(counts[some], size[some], share[some])
    return below, up_to
