"""Confidence sequences: bounds of a mean that hold on all days at once, so that one may look daily and stop at will.

An interval that is right for one day is wrong for somebody who looks every day: sooner or later chance carries any
comparison across it. Here that happens in at most `alpha` of all comparisons, however long they run.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.measures.cube import Floats

MOST_ALIKE = 0.8  # correlation beyond which a process of first order describes nothing
TUNED_FOR = 30  # days at which the bounds are narrowest; they hold on every day


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The mean of the days until each day, and its bounds, all (..., days). Each bound errs in `alpha`, one-sided."""

    mean: Floats
    lower: Floats
    upper: Floats


def bounds_of(days: Floats, *, alpha: float) -> Bounds:
    """Bounds for the mean of (..., days) values of equal meaning in the order of time.

    Asymptotic: the sum of a day's many cells is near normal, and the deviation is that of the days so far, widened as
    by `widening` where neighbouring days are alike. Before the third day the bounds are infinite.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central limit theory and asymptotic confidence
    sequences, Annals of Statistics 52, 2024.
    """
    number = np.arange(1, days.shape[-1] + 1)
    mean = np.cumsum(days, axis=-1) / number
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = _long_run_deviation(days, number) * boundary(number, alpha=alpha)
    radius = np.where(number < 3, np.inf, radius)
    return Bounds(mean=mean, lower=mean - radius, upper=mean + radius)


def boundary(number: npt.NDArray[np.integer], *, alpha: float) -> Floats:
    """Distance from the mean of `number` standard normal values that is ever exceeded upwards with at most `alpha`.

    A normal mixture over positive drifts, rho its deviation: 2 P(x) exp(x**2 / 2) / sqrt(n rho**2 + 1) starts at 1 and
    is a martingale, with P the normal distribution and x = (sum of the values) rho / sqrt(n rho**2 + 1), so it ever
    reaches 1 / alpha with at most `alpha` (Ville). As P(x) is at least 1 - exp(-x**2 / 2) / 2, x**2 has then reached
    2 log((1 + sqrt(n rho**2 + 1) / alpha) / 2).
    Source: Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical
    Statistics 41, 1970; rho for the day TUNED_FOR as in Waudby-Smith et al. 2024.
    """
    twice = -2 * np.log(2 * alpha)
    growth = number * (twice + np.log(twice + 1)) / TUNED_FOR + 1
    x = np.sqrt(2 * np.log((1 + np.sqrt(growth) / alpha) / 2))
    return np.asarray(x * np.sqrt(growth / (growth - 1) / number))


def widening(correlation: Floats, number: npt.NDArray[np.integer] | int) -> Floats:
    """What an interval from `number` values is multiplied by when the correlation of neighbours came out so.

    Fewer of the n are then independent: n (1 - r) / (1 + r) of them. Source: Wilks, Statistical Methods in the
    Atmospheric Sciences, 5.2.4, for a process of first order; the correlation of few values comes out too low by
    (1 + 3 r) / n, Kendall, Biometrika 41, 1954.
    """
    alike = np.clip(correlation + (1 + 3 * correlation) / number, 0.0, MOST_ALIKE)
    return np.asarray(np.sqrt((1 + alike) / (1 - alike)))


def _long_run_deviation(days: Floats, number: npt.NDArray[np.integer]) -> Floats:
    """(..., days) deviation of the days until each, such that deviation / sqrt(n) is that of their mean."""
    # Counted from the first day: then the sums stay exact where days hardly differ, and are 0 where they are equal.
    apart = days - days[..., :1]
    middle = np.cumsum(apart, axis=-1) / number
    squares = np.cumsum(apart**2, axis=-1) - number * middle**2
    # The sum over neighbours of (x - m)(y - m), with m the mean until each day, from sums that only grow.
    products = np.zeros_like(days)
    products[..., 1:] = np.cumsum(apart[..., 1:] * apart[..., :-1], axis=-1)
    both = 2 * number * middle - apart[..., :1] - apart  # of both neighbours: all but the first, all but the last
    neighbours = products - middle * both + (number - 1) * middle**2
    correlation = np.where(squares > 0, neighbours / squares, 0.0)
    return np.asarray(np.sqrt(squares / np.maximum(number - 1, 1)) * widening(correlation, number))
