"""The question where units should stand, and the shares that say how good an answer is.

Objective: maximum expected covering, MEXCLP. A unit is busy with probability `busy`, independent of the others, so a
point that n units reach is served with probability 1 - busy ** n. Source: Daskin, Transportation Science 17(1), 1983.
With `busy` 0 it is the maximal covering problem, MCLP.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.readiness.reach import Reach
from schemas.errors import DataError
from schemas.grid import Cells, Floats

MOST_UNITS = 200
BUSY = 0.3  # 0.2 to 0.5 give nearly the same posts
FLOOR = 0.1  # of the expected calls of each area
EQUAL = 1e-9  # shares that differ by less are equal

Posts = tuple[int, ...]  # the place of each unit, ascending


@dataclass(frozen=True, kw_only=True)
class Question:
    """Where `units` units should stand, of the places of `reach`; several may stand at one.

    expected: (cells,) calls. fixed: places of units, among them, that stay. areas: by name the cells of those of whose
    calls the share `floor` is to be within reach; they may overlap.
    """

    expected: Floats
    reach: Reach
    units: int
    busy: float = BUSY
    fixed: Posts = ()
    areas: Mapping[str, Cells] = field(default_factory=dict)
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.units <= MOST_UNITS:
            raise DataError(f"{self.units} units", f"ask for 1 to {MOST_UNITS}")
        if not 0 <= self.busy < 1:
            raise DataError(f"a busy share of {self.busy:g}", "give the share of time, 0 to less than 1, as 0.3")
        if not 0 <= self.floor < 1:
            raise DataError(f"a floor of {self.floor:g}", "give a share of each area, 0 to less than 1, as 0.1")
        if len(self.fixed) > self.units:
            raise DataError(f"{len(self.fixed)} units are fixed, of {self.units}", "ask for more, or fix fewer")
        if not self.expected.sum() > 0:
            raise DataError("nothing is expected in any cell", "train on a file with calls that units answer")

    @cached_property
    def weight(self) -> Floats:
        """(points,) each point's share of all expected calls."""
        return np.repeat(self.expected / self.expected.sum() / self.reach.per_cell, self.reach.per_cell)

    @cached_property
    def inside(self) -> npt.NDArray[np.bool_]:
        """(areas, points) which points belong to each area; no row without a floor."""
        inside = np.zeros((len(self.areas) if self.floor else 0, self.reach.cells), np.bool_)
        for row, cells in zip(inside, self.areas.values(), strict=False):
            row[cells] = True
        return np.repeat(inside, self.reach.per_cell, axis=1)

    @cached_property
    def needed(self) -> Floats:
        """(areas,) the share of all expected calls that must be within reach in each area."""
        return self.floor * (self.inside @ self.weight)

    @cached_property
    def left(self) -> Floats:
        """(units + 1,) the share of the time in which none of so many units is free."""
        return np.asarray(self.busy ** np.arange(MOST_UNITS + 1))

    @cached_property
    def near(self) -> Floats:
        """(places,) mean minutes to the expected calls within reach: of equal places the nearer is better."""
        minutes = np.add.reduceat(self.weight[self.reach.point] * self.reach.minutes, self.reach.start[:-1])
        return np.asarray(minutes / np.maximum(self.reach.sums(self.weight), np.finfo(np.float64).tiny))

    def within(self, posts: Posts) -> float:
        """The share of the expected calls within reach of a unit."""
        return float((self.weight * (self.reach.covered(posts) > 0)).sum())

    def within_areas(self, posts: Posts) -> Floats:
        """(areas,) the same in each area, as a share of all expected calls."""
        return np.asarray(self.inside @ (self.weight * (self.reach.covered(posts) > 0)))

    def served(self, posts: Posts) -> float:
        """The share of the expected calls that a unit reaches which is not busy: the objective."""
        covered = self.reach.covered(posts)
        return float((self.weight * (1 - self.left[covered])).sum())

    def lacking(self, posts: Posts) -> float:
        """The share of all expected calls that areas lack below their floors; 0 where the floor is kept."""
        return float(np.maximum(self.needed - self.within_areas(posts) - EQUAL, 0).sum())
