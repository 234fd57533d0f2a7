"""Ranking: how many of the incidents fall into the cells that a forecast puts first.

The area is the cells with any history: a rectangle's empty cells would make each share of it larger.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.grid import Floats

Counts = npt.NDArray[np.signedinteger[Any]]
AREA_SHARES = (0.01, 0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtShare:
    """What flagging a fixed share of the area catches; all nan when there was no incident."""

    area_share: float  # of the cells with any history, as asked for
    cells: int  # flagged in every step: the share in whole cells, at least one
    hit_rate: float  # n/N: caught incidents over all
    ideal_hit_rate: float  # n*/N: of the best choice in hindsight, step by step
    pai: float  # (n/N) / (a/A): Chainey, Tompson and Uhlig, Security Journal 21, 2008. 1 is chance
    pei: float  # n/n*: Hunt, Do crime hot spots move?, 2016. 1 is the best choice in hindsight


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Incidents in the first k cells for every k, summed over steps; those of two sets of steps add up."""

    caught: Floats  # (cells,) [k - 1]: in the k cells of the highest forecast
    ideal: Floats  # (cells,) [k - 1]: in the k cells that turned out to have most
    incidents: float  # those in other cells, too

    def __add__(self, other: "Capture") -> "Capture":
        incidents = self.incidents + other.incidents
        return Capture(caught=self.caught + other.caught, ideal=self.ideal + other.ideal, incidents=incidents)

    def curve(self) -> tuple[Floats, Floats, Floats]:
        """Share of the area flagged, hit rate, and the ideal's hit rate, (cells + 1,) each, from 0 to 1."""
        incidents = self.incidents or np.nan
        caught, ideal = (np.concatenate([[0.0], most]) / incidents for most in (self.caught, self.ideal))
        return np.linspace(0, 1, len(caught)), caught, ideal

    def at(self, area_share: float) -> AtShare:
        """The figures at one share of the area."""
        area, hit_rate, ideal = self.curve()
        k = max(1, round(area_share * len(self.caught)))
        return AtShare(
            area_share=area_share,
            cells=k,
            hit_rate=float(hit_rate[k]),
            ideal_hit_rate=float(ideal[k]),
            pai=float(hit_rate[k] / area[k]),
            pei=float(hit_rate[k] / ideal[k]),
        )


def captured(mean: Floats, counts: Counts) -> Capture:
    """Rank the cells of each step by the forecast. mean, counts: (steps, cells)."""
    credit, most_first = (by_place.sum(axis=0, dtype=np.float64) for by_place in by_places(mean, counts))
    return capture_of(credit, most_first, float(counts.sum()))


def capture_of(credit: Floats, most_first: Floats, incidents: float) -> Capture:
    """The capture by what `by_places` gives, summed over steps."""
    return Capture(caught=credit.cumsum(), ideal=most_first.cumsum(), incidents=incidents)


def by_places(mean: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """(steps, cells) incidents in the cells of each step, in the order of the forecast, and the most first.

    Cells of equal forecast stand in no order: each of them is credited with their mean count, which is what a
    random order catches on average. No order of the grid is favoured. mean, counts: (steps, cells).
    """
    order = np.argsort(-mean, axis=1)
    ranked = np.take_along_axis(mean, order, axis=1)
    first_of_ties = np.ones(mean.shape, np.bool_)
    first_of_ties[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    tie = np.cumsum(first_of_ties) - 1  # a number for each set of equals of a step
    incidents = np.bincount(tie, weights=np.take_along_axis(counts, order, axis=1).ravel())
    credit = (incidents / np.bincount(tie))[tie].reshape(mean.shape)
    return credit, np.sort(counts, axis=1)[:, ::-1]
