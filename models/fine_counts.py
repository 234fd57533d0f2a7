"""Counts where inside a cell its incidents were, with two guards on single addresses; schemas/fine.py has the result.

Two guards stand before any share:

- *A point counts at most what all other points of its square have together.* A point is all that lies within some
  5 m, and up to twice as far: places are rounded to 11 m in four ways, and the least of the four counts is taken.
- *Squares that then have fewer than LEAST share evenly what they have*; a single one shares with the next smallest, so
  that nobody can compute it from the others.

Both are applied to each category with a row of its own and to all other incidents of the cell together. The row over
all is the sum of these parts, so that rows taken from it leave nothing that was not guarded.

Whatever happens at one address, its square counts in each part at most twice what all others of the square have; where
that is below LEAST, the address is not seen. *Not held*: an address with points that are farther apart counts as
several, and two artifacts of a place that changed can be compared.
"""

from dataclasses import replace
from itertools import product

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


def fine_counts(incidents: Incidents, grid: Grid, fine: int) -> FineShares:
    """Counts in place of shares, which `shrunk` makes of them. All incidents weigh the same.

    A category has a row of its own in cells with LEAST of it for each square. What is at default places is spread over
    its cell.
    """
    squares = fine**2
    square = incidents.cell.astype(np.int64) * squares
    square += squares_of(grid, fine, incidents.cell, *in_degrees(incidents.place).T)
    _, is_default = default_places(incidents.place)

    def counted(chosen: npt.NDArray[np.bool_]) -> Floats:
        return guarded(square[chosen], incidents.place[chosen], grid.cells * squares).reshape(-1, squares)

    over_all, rest = np.zeros((grid.cells, squares)), ~is_default
    parts = []
    for category in range(int(incidents.category.max(initial=-1)) + 1):
        counts = counted((incidents.category == category) & ~is_default)
        has_own = counts.sum(axis=1) >= LEAST * squares
        rest &= (incidents.category != category) | ~has_own[incidents.cell]
        of_own = shared(counts[has_own])
        over_all[has_own] += of_own
        parts.append((category, np.flatnonzero(has_own), of_own))
    over_all += shared(counted(rest))
    is_told = over_all.sum(axis=1) >= LEAST
    parts.append((OVER_ALL, np.flatnonzero(is_told), over_all[is_told]))
    rows = []
    for category, cell, counts in parts:
        spread = is_default & ((incidents.category == category) | (category == OVER_ALL))
        evenly = np.bincount(incidents.cell[spread], minlength=grid.cells)[cell, None] / squares
        rows.append((cell, np.full(len(cell), category), counts + evenly))
    cells, categories, counts = (np.concatenate(of) for of in zip(*rows, strict=True))
    order = np.lexsort((categories, cells))
    cells, categories = cells[order].astype(np.int32), categories[order].astype(np.int16)
    return FineShares(grid=grid, fine=fine, cell=cells, category=categories, share=counts[order])


def guarded(square: npt.NDArray[np.int64], place: npt.NDArray[np.int32], squares: int) -> Floats:
    """(squares,) incidents of each, where a point counts at most what the others of its square have together.

    square: (n,) by any numbers from 0. place: (n, 2) 1e-7 degrees.
    """
    counts = np.bincount(square, minlength=squares)
    least = counts.copy()
    for shift in product((0, _POINT // 2), repeat=2):
        _, point = np.unique((place + np.array(shift)) // _POINT, axis=0, return_inverse=True)
        points = int(point.max(initial=0)) + 1
        pair, incidents = np.unique(square * points + point.ravel(), return_counts=True)
        most = np.zeros(squares, np.int64)
        np.maximum.at(most, pair // points, incidents)
        least = np.minimum(least, 2 * (counts - most))
    return least.astype(np.float64)


def shared(counts: Floats) -> Floats:
    """(rows, squares) where squares with fewer than LEAST share what they have, a single one with the next smallest."""
    few = counts < LEAST
    alone = few.sum(axis=1) == 1
    few[alone, np.argsort(counts[alone], axis=1, kind="stable")[:, 1]] = True
    together = (counts * few).sum(axis=1) / np.maximum(few.sum(axis=1), 1)
    return np.where(few, together[:, None], counts)


def shrunk(counts: FineShares, pseudo_count: float) -> FineShares:
    """Shares, shrunk to even ones by a pseudo-count in each square."""
    raised = counts.share + pseudo_count
    return replace(counts, share=(raised / raised.sum(axis=1, keepdims=True)).astype(np.float16))


def fit_shares(
    incidents: Incidents, grid: Grid, fine: int, *, learned_until_s: int, chosen_from_s: int
) -> tuple[FineShares, float]:
    """The shares of all incidents, with the one of PSEUDO_COUNTS under which the later ones are least surprising."""
    learned = fine_counts(incidents.select(incidents.occurred_s < learned_until_s), grid, fine)
    later = incidents.select(incidents.occurred_s >= chosen_from_s)
    losses = [-log_shares(shrunk(learned, pseudo_count), later).sum() for pseudo_count in PSEUDO_COUNTS]
    pseudo_count = PSEUDO_COUNTS[int(np.argmin(losses))]
    return shrunk(fine_counts(incidents, grid, fine), pseudo_count), pseudo_count


def log_shares(shares: FineShares, incidents: Incidents) -> Floats:
    """(n,) logarithm of the share of each incident's square."""
    square = squares_of(shares.grid, shares.fine, incidents.cell, *in_degrees(incidents.place).T)
    logs = np.zeros(len(square))
    for category in np.unique(incidents.category).tolist():
        here = incidents.category == category
        logs[here] = np.log(shares.of_category(category)[incidents.cell[here], square[here]])
    return logs
