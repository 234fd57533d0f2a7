"""Counts where inside a cell its incidents were, so that no single address shows: see schemas/fine.py for the result.

Two guards stand before any share. Each is applied to each category by itself and to all of them together.

- *A point counts at most what all other points of its square have together.* Points are places within some 11 m.
- *Squares that then have fewer than LEAST share evenly what they have.* Where there is one of them alone, it shares
  with the next smallest: nobody can compute it from the others.

So whatever happens at one address, its square counts at most twice what all others of the square have; where that is
below LEAST, the address is not seen at all. What can be learned is a square's number to that factor, and by taking the
rows of some categories from that over all, about how many of the others it has. More can be learned of an address that
has several points more than 11 m apart, and by one who compares two artifacts of a place that changed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.fine import OVER_ALL, FineShares, squares_of
from schemas.grid import Floats, Grid
from schemas.incidents import Incidents, in_degrees

LEAST = 10  # incidents of a square that has a share of its own
PSEUDO_COUNTS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # of each square
_POINT = 1_000  # steps of a place, 1e-7 degrees each
_DEFAULT_SHARE, _DEFAULT_LEAST = 0.01, 100  # of all incidents at one place: no address and no crossing has so many


def default_places(place: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """(places, 2) where a geocoder puts what it does not find, and (n,) which incidents are there. place: (n, 2)."""
    places, which, incidents = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    is_default = incidents >= max(_DEFAULT_SHARE * len(place), _DEFAULT_LEAST)
    return places[is_default], is_default[which.ravel()]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineCounts:
    """Incidents by square after the guards, in the rows of `FineShares`."""

    grid: Grid
    fine: int  # squares a side of a cell
    cell: npt.NDArray[np.int32]  # (rows,)
    category: npt.NDArray[np.int16]  # (rows,)
    counts: Floats  # (rows, squares), with those of default places, which are spread over the cell

    @classmethod
    def of(cls, incidents: Incidents, grid: Grid, fine: int) -> "FineCounts":
        """All incidents weigh the same. A category has its own row in cells with LEAST of it for each square."""
        squares = fine**2
        square = squares_of(grid, fine, incidents.cell, *in_degrees(incidents.place).T)
        _, point = np.unique(np.rint(incidents.place / _POINT), axis=0, return_inverse=True)
        _, is_default = default_places(incidents.place)
        parts = []
        for category in range(OVER_ALL, int(incidents.category.max(initial=-1)) + 1):
            of_category = np.ones(len(square), np.bool_) if category == OVER_ALL else incidents.category == category
            here, spread = of_category & ~is_default, of_category & is_default
            counts = guarded(
                incidents.cell[here].astype(np.int64) * squares + square[here],
                point.ravel()[here],
                grid.cells * squares,
            ).reshape(-1, squares)
            enough = LEAST if category == OVER_ALL else LEAST * squares
            cell = np.flatnonzero(counts.sum(axis=1) >= enough)
            evenly = np.bincount(incidents.cell[spread], minlength=grid.cells)[cell, None] / squares
            parts.append((cell, np.full(len(cell), category), shared(counts[cell]) + evenly))
        cell, category_of, counts = (np.concatenate(of) for of in zip(*parts, strict=True))
        order = np.lexsort((category_of, cell))
        return cls(
            grid=grid,
            fine=fine,
            cell=cell[order].astype(np.int32),
            category=category_of[order].astype(np.int16),
            counts=counts[order],
        )

    def shares(self, pseudo_count: float) -> FineShares:
        """Shrunk to even shares by a pseudo-count in each square."""
        raised = self.counts + pseudo_count
        share = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float16)
        return FineShares(grid=self.grid, fine=self.fine, cell=self.cell, category=self.category, share=share)


def guarded(square: npt.NDArray[np.int64], point: npt.NDArray[np.int64], squares: int) -> Floats:
    """(squares,) incidents of each, where a point counts at most what the others of its square have together.

    square, point: (n,) of each incident, by any numbers from 0.
    """
    points = int(point.max(initial=0)) + 1
    pair, incidents = np.unique(square * points + point, return_counts=True)
    counts, most = np.bincount(square, minlength=squares), np.zeros(squares, np.int64)
    np.maximum.at(most, pair // points, incidents)
    counted: Floats = np.minimum(counts, 2 * (counts - most)).astype(np.float64)
    return counted


def shared(counts: Floats) -> Floats:
    """(rows, squares) where squares with fewer than LEAST share what they have, a single one with the next smallest."""
    few = counts < LEAST
    alone = few.sum(axis=1) == 1
    few[alone, np.argsort(counts[alone], axis=1, kind="stable")[:, 1]] = True
    together = (counts * few).sum(axis=1) / np.maximum(few.sum(axis=1), 1)
    return np.where(few, together[:, None], counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedFine:
    """The shares that serve, and what the card says of them."""

    shares: FineShares
    pseudo_count: float
    at_default: int  # incidents at default places

    @classmethod
    def of(cls, learned: Incidents, later: Incidents, everything: Incidents, grid: Grid, fine: int) -> "FittedFine":
        """The pseudo-count by `later`, the shares from everything. learned: what was before `later`."""
        pseudo_count = choose_pseudo_count(FineCounts.of(learned, grid, fine), later)
        at_default = int(default_places(everything.place)[1].sum())
        shares = FineCounts.of(everything, grid, fine).shares(pseudo_count)
        return cls(shares=shares, pseudo_count=pseudo_count, at_default=at_default)

    def in_words(self) -> str:
        own = int((self.shares.category == OVER_ALL).sum())
        return (
            f"{own:,} of {self.shares.grid.cells:,} cells have shares, {len(self.shares.cell) - own:,} categories "
            "in them their own, shrunk to even ones by a pseudo-count of "
            f"{self.pseudo_count:g} in each square. {self.at_default:,} incidents at places where a geocoder puts what "
            "it does not find are spread over their cells."
        )


def choose_pseudo_count(learned: FineCounts, later: Incidents) -> float:
    """The one of PSEUDO_COUNTS under which the squares of later incidents are least surprising in their cells."""
    scores = [-log_shares(learned.shares(pseudo), later).sum() for pseudo in PSEUDO_COUNTS]
    return PSEUDO_COUNTS[int(np.argmin(scores))]


def log_shares(shares: FineShares, incidents: Incidents) -> Floats:
    """(n,) logarithm of the share of each incident's square."""
    square = squares_of(shares.grid, shares.fine, incidents.cell, *in_degrees(incidents.place).T)
    of_each = np.zeros(len(square))
    for category in np.unique(incidents.category).tolist():
        here = incidents.category == category
        of_each[here] = np.log(shares.of_category(category)[incidents.cell[here], square[here]])
    return of_each
