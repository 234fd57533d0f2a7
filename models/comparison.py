"""Is one model better than another? Both forecast the same steps, so their difference is judged step by step.

*Confidence sequences* are bounds of a mean that hold on all days at once, so that one may look daily and stop at will.
An interval that is right for one day is wrong for somebody who looks every day: sooner or later chance carries any
comparison across it. Here that happens in at most `alpha` of all comparisons, however long they run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from models.dispersion import Floats

MOST_ALIKE = 0.8  # correlation beyond which a process of first order describes nothing
TUNED_FOR = 30  # days at which the bounds are narrowest; they hold on every day
BLOCK_DAYS = 3  # at hourly and daily steps alike: errors of neighbouring days are alike, by 0.3 on Chicago's days
LEAST_JUDGED = 100  # incidents; of fewer, the forecast that expects nothing seems best
LEAST_BLOCKS = 10  # fewer say nothing about how much one block differs from another
RESAMPLES = 10_000
ADDS_NOTHING = "The network adds nothing here; the baseline scores"  # every figure of both is equal


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
    # Counted from the first day: then the sums stay exact where days hardly differ, and are 0 where they are equal.
    apart = days - days[..., :1]
    middle = np.cumsum(apart, axis=-1) / number
    squares = np.cumsum(apart**2, axis=-1) - number * middle**2
    # The sum over neighbours of (x - m)(y - m), with m the mean until each day, from sums that only grow.
    products = np.zeros_like(days)
    products[..., 1:] = np.cumsum(apart[..., 1:] * apart[..., :-1], axis=-1)
    both = 2 * number * middle - apart[..., :1] - apart  # of both neighbours: all but the first, all but the last
    neighbours = products - middle * both + (number - 1) * middle**2
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(squares > 0, neighbours / squares, 0.0)
        deviation = np.sqrt(squares / np.maximum(number - 1, 1)) * widening(correlation, number)
        radius = deviation * boundary(number, alpha=alpha)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of two models' mean log scores, nats per value; below zero the first is better."""

    mean: float
    low: float  # of the 95 % interval
    high: float
    blocks: int
    correlation: float  # of neighbouring blocks, -1..1; above 0 it widens the interval
    verdict: str  # better, worse, tie, too short or too few, of the first

    @property
    def is_none(self) -> bool:
        """Whether both models gave the same forecasts."""
        return self.mean == self.low == self.high == 0


def difference_of(
    per_step: Floats, block: npt.NDArray[np.int64], random: np.random.Generator, *, judged: int
) -> Difference:
    """The difference, its interval, widened where neighbouring blocks are alike, and its verdict.

    per_step: (seeds, steps) how far the model's score lies from the rival's, whose seeds count by their mean; with the
    rest as `block_bootstrap` takes it. Equal states of `random` make pairs of models comparable. judged: incidents of
    these steps; fewer than LEAST_JUDGED are `too few`.
    """
    mean = float(per_step.mean())
    per_block = np.bincount(block, weights=per_step.mean(axis=0)) / np.bincount(block)
    correlation = neighbours_correlate(per_block)
    wider = float(widening(np.asarray(correlation), len(per_block)))
    low, high = (mean + wider * (edge - mean) for edge in block_bootstrap(per_step, block, random))
    return Difference(
        mean=mean,
        low=low,
        high=high,
        blocks=len(per_block),
        correlation=correlation,
        verdict=verdict(low, high, len(per_block), judged),
    )


def ratio_of(
    part: Floats, whole: Floats, block: npt.NDArray[np.int64], random: np.random.Generator, *, least: float = 0.0
) -> tuple[float, float, float]:
    """The sum of `part` over that of `whole`, (steps,) each, with the ends of its 95 % interval, as `difference_of`.

    least: what is known of the ratio.
    """
    ratio = float(part.sum() / whole.sum())
    per_block: Floats = np.bincount(block, weights=part - ratio * whole).astype(np.float64)
    wider = float(widening(np.asarray(neighbours_correlate(per_block)), len(per_block)))
    low, high = (ratio + wider * (edge - ratio) for edge in block_bootstrap(part[None], block, random, whole))
    return ratio, max(low, least), high


def neighbours_correlate(per_block: Floats) -> float:
    """First autocorrelation of the blocks' differences; 0 where all are equal."""
    apart = per_block - per_block.mean()
    spread = float((apart**2).sum())
    return float((apart[1:] * apart[:-1]).sum()) / spread if spread > 0 else 0.0


def day_blocks(*stretches: int, steps_per_week: int) -> npt.NDArray[np.int64]:
    """(steps,) the block of each step, from 0: runs of BLOCK_DAYS days, at least one step each.

    stretches: the steps of each stretch of time, one behind the other. No block reaches from one into the next.
    """
    size, parts, begun = max(1, round(BLOCK_DAYS * steps_per_week / 7)), [], 0
    for steps in stretches:
        parts.append(begun + np.arange(steps) // size)
        begun += -(-steps // size)
    return np.concatenate(parts)


def block_bootstrap(
    per_step: Floats, block: npt.NDArray[np.int64], random: np.random.Generator, whole: Floats | None = None
) -> tuple[float, float]:
    """95 % interval of the mean over steps, by drawing whole blocks, and where there are several, seeds.

    per_step: (seeds, steps). block: (steps,) number of each step's block, from 0, none left out. whole: (steps,) of
    which the values are parts, whose share is then drawn; a draw without any is left out. Each draw takes as many
    blocks and seeds as there are, with replacement; seeds are first moved apart by sqrt(S / (S - 1)), as a draw of S
    of S values has only (S - 1) / S of their variance. Source: block bootstrap with fixed blocks, Carlstein,
    Annals of Statistics 14, 1986; percentiles for few blocks as in `levels`.
    """
    sums = np.stack([np.bincount(block, weights=differences) for differences in per_step])
    seeds, blocks = sums.shape
    mean = sums.mean(axis=0)
    sums = mean + (sums - mean) * sqrt(seeds / max(seeds - 1, 1))
    drawn, trained = _drawn(blocks, random), _drawn(seeds, random) / seeds
    wholes = drawn @ np.bincount(block, weights=whole)
    means = (((trained @ sums) * drawn).sum(axis=1))[wholes > 0] / wholes[wholes > 0]
    low, high = np.percentile(means, levels(blocks))
    return float(low), float(high)


def interval_of(
    per_block: Floats, figure: Callable[[Floats], Floats], random: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of a figure of sums, by drawing whole blocks as `block_bootstrap` does.

    per_block: (blocks, ...) sums of each. figure: (draws,) from drawn sums (draws, ...).
    """
    low, high = np.percentile(
        figure(np.tensordot(_drawn(len(per_block), random), per_block, 1)), levels(len(per_block))
    )
    return float(low), float(high)


def levels(blocks: int) -> tuple[float, float]:
    """The percentiles whose interval of a bootstrapped mean holds the true one in 95 of 100 cases.

    The plain 2.5 and 97.5 are too narrow for few blocks. Source: expanded percentile interval, Hesterberg, What
    teachers should know about the bootstrap, The American Statistician 69, 2015.
    """
    from scipy.stats import norm  # takes a while to import, and commands that compare nothing reach this file
    from scipy.stats import t as student

    if blocks < 2:
        return 0.0, 100.0
    low = 100 * float(norm.cdf(sqrt(blocks / (blocks - 1)) * student.ppf(0.025, blocks - 1)))
    return low, 100 - low


def _drawn(number: int, random: np.random.Generator) -> Floats:
    """(RESAMPLES, number) how often each was drawn."""
    draws = random.integers(0, number, (RESAMPLES, number)) + number * np.arange(RESAMPLES)[:, None]
    return np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape).astype(np.float64)


def verdict(low: float, high: float, blocks: int, judged: int) -> str:
    """The interval of a difference of scores in words. judged: the incidents that it rests on."""
    if judged < LEAST_JUDGED:
        return "too few"
    if blocks < LEAST_BLOCKS:
        return "too short"
    return "better" if high < 0 else "worse" if low > 0 else "tie"
