"""Counts where inside a cell its incidents were, with two guards on single addresses; schemas/fine.py has the result.

Two guards stand before any share, of each category and of all of them together:

- *A point counts at most what all other points of its square have together.* Points are places within some 11 m.
- *Squares that then have fewer than LEAST share evenly what they have*; a single one shares with the next smallest, so
  that nobody can compute it from the others.

Whatever happens at one address, its square counts at most twice what all others of the square have; where that is
below LEAST, the address is not seen in that row. *Not held yet*: the rows of some categories taken from that over all
give what is left, small numbers and a home among them; an address with several points counts as several; and two
artifacts of a place that changed can be compared.
"""

from dataclasses import replace

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
    _, point = np.unique(np.rint(incidents.place / _POINT), axis=0, return_inverse=True)
    _, is_default = default_places(incidents.place)
    parts = []
    for category in range(OVER_ALL, int(incidents.category.max(initial=-1)) + 1):
        of_category = (incidents.category == category) | (category == OVER_ALL)
        here, spread = of_category & ~is_default, of_category & is_default
        counts = guarded(square[here], point.ravel()[here], grid.cells * squares).reshape(-1, squares)
        cell = np.flatnonzero(counts.sum(axis=1) >= (LEAST if category == OVER_ALL else LEAST * squares))
        evenly = np.bincount(incidents.cell[spread], minlength=grid.cells)[cell, None] / squares
        parts.append((cell, np.full(len(cell), category), shared(counts[cell]) + evenly))
    cells, categories, counted = (np.concatenate(of) for of in zip(*parts, strict=True))
    order = np.lexsort((categories, cells))
    cells, categories = cells[order].astype(np.int32), categories[order].astype(np.int16)
    return FineShares(grid=grid, fine=fine, cell=cells, category=categories, share=counted[order])


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
