"""When a feed is silent: so few incidents, hour after hour, that chance does not explain it.

A run is a stretch of quiet hours: each has at most QUIET of what is usual. A run is a hole where chance alone shows so
few incidents once in SILENT_DAYS or more seldom, somewhere in the region. Each category is tested, and all together, as
feeds are often one for each service. A hole that reaches the present is a feed that is silent now. What lies in a hole
says nothing of the city: features take what is usual in its place, also when the feed is back.

The whole region's counts are negative binomial, with the mean m and the variance m + spread * m**2, as its hours lay
around the baseline in training. Source of the test: the scan's (scan.py), at its other end.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.dispersion import Floats
from schemas.limits import MOST_DAYS, SILENT_DAYS

QUIET = 0.2  # of the usual: a feed that still brings more is not silent
_RUNS_A_DAY = 24.0  # that can begin in a category
_LEAST_CHANCE = 1e-300
Counts = npt.NDArray[np.integer[Any]]
AnyCounts = TypeVar("AnyCounts", Counts, Floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Hours [first, stop) of those looked at in which the feed of a category, or of all together, was silent."""

    category: int  # that of all together is the number of categories
    first: int
    stop: int
    observed: int
    usual: float
    days: float  # once in so many days chance alone shows as much


def with_sum(by_category: AnyCounts) -> AnyCounts:
    """(..., categories + 1) with the sum over the categories as the last."""
    return np.concatenate([by_category, by_category.sum(axis=-1, keepdims=True)], axis=-1)


def holes(counts: Counts, usual: Floats, spread: Floats, last_hour: tuple[Counts, Floats]) -> list[Hole]:
    """counts, usual: (hours, categories) of the whole region, the hour that is not over as the last.

    usual: 0 where nobody counted, which says nothing. spread: (categories + 1,) variance beyond Poisson's over the
    square of the mean. last_hour: (categories,) counts and usual of the last sixty minutes, by which the newest hour is
    judged, as it may have hardly begun.
    """
    came, mean = with_sum(counts), with_sum(usual)
    last_came, last_mean = with_sum(last_hour[0]), with_sum(last_hour[1])
    is_quiet = np.zeros((len(came) + 2, came.shape[1]), np.int8)
    is_quiet[1:-1] = (came <= QUIET * mean) & (mean > 0)
    is_quiet[-2] = (last_came <= QUIET * last_mean) & (last_mean > 0)
    edges = np.diff(is_quiet, axis=0).T
    (category, first), (_, stop) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    before_came, before_mean = (np.vstack([0 * of[:1], of.cumsum(axis=0)]) for of in (came, mean))
    observed = before_came[stop, category] - before_came[first, category]
    expected = before_mean[stop, category] - before_mean[first, category]
    is_short = first == len(came) - 1  # what began within sixty minutes
    observed, expected = (
        np.where(is_short, last_came[category], observed),
        np.where(is_short, last_mean[category], expected),
    )
    days = _days(observed, expected, spread[category], of=came.shape[1])
    found = [
        Hole(category=int(category[at]), first=int(first[at]), stop=int(stop[at]), observed=int(observed[at]),
             usual=float(expected[at]), days=float(f"{days[at]:.2g}"))
        for at in np.flatnonzero(days >= SILENT_DAYS).tolist()
    ]  # fmt: skip
    return [hole for hole in found if hole.category < counts.shape[1] or _is_of_all(hole, found, counts, usual, spread)]


def _days(count: Counts, mean: Floats, spread: Floats, *, of: int) -> Floats:
    """(n,) once in how many days chance alone shows a run with `count` or fewer. of: categories that are tested."""
    from scipy.special import betainc  # takes a while to import, and commands that count nothing reach this file

    size = 1 / np.maximum(spread, 1e-6)
    chance = betainc(size, count + 1.0, size / (size + np.maximum(mean, 1e-9)))
    return np.asarray(np.minimum(1 / (_RUNS_A_DAY * of * np.maximum(chance, _LEAST_CHANCE)), MOST_DAYS))


def _is_of_all(hole: Hole, found: list[Hole], counts: Counts, usual: Floats, spread: Floats) -> bool:
    """Whether a hole of all together is one also without the categories whose own are longer at either end."""
    longer = [
        other.category
        for other in found
        if (other.first < hole.first - 1 and other.stop > hole.first)
        or (other.stop > hole.stop + 1 and other.first < hole.stop)
    ]
    rest = np.setdiff1d(np.arange(counts.shape[1]), longer)
    came, mean = (of[hole.first : hole.stop, rest].sum() for of in (counts, usual))
    return not longer or bool(_days(came, mean, spread[-1], of=counts.shape[1] + 1) >= SILENT_DAYS)


def missing_share(found: list[Hole], counts: Counts, usual: Floats) -> Floats:
    """(hours, categories) how much of the usual is missing in the holes: 1 where nothing came; outside of them 0."""
    is_hole = np.zeros(counts.shape, bool)
    for hole in found:
        is_hole[hole.first : hole.stop, slice(None) if hole.category == counts.shape[1] else hole.category] = True
    return np.where(is_hole, np.clip(1 - counts / np.maximum(usual, 1e-9), 0, 1), 0.0)
