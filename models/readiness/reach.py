"""What a unit reaches from a place: points within the cells by straight line and speed, or cells by driving times."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.grid import Floats, Grid

DETOUR = 1.3  # driven metres over the straight line's; 1.2 to 1.4 in the street networks of most cities
MOST_A_SIDE = 4  # points of a cell
POINTS_IN_REACH = 8  # at least, from a place to the edge of its reach: so a cell is reached in part
MOST_PAIRS = 40_000_000  # of a place and a point: 0.3 GB
_WITHIN_M = 0.001  # a place at the edge is within reach, whatever the rounding

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """How far a unit gets in time: straight line x DETOUR at a mean speed.

    >>> round(Drive(minutes=8, speed_kmh=40).metres)
    4103
    """

    minutes: float
    speed_kmh: float

    @property
    def metres(self) -> float:
        """Of the straight line."""
        return self.minutes * self.speed_kmh * 1000 / 60 / DETOUR

    def minutes_for(self, metres: Floats) -> Floats:
        return metres * (self.minutes / self.metres)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The points that each place reaches, as the rows of a sparse matrix; no row is empty.

    Cell c has the points c * per_cell up to (c + 1) * per_cell, each with an equal share of what its cell expects.
    """

    cells: int
    per_cell: int
    start: npt.NDArray[np.int64]  # (places + 1,) where the pairs of each place begin
    point: Ints  # (pairs,)
    minutes: npt.NDArray[np.float32]  # (pairs,)

    @property
    def places(self) -> int:
        return len(self.start) - 1

    def points_of(self, place: int) -> Ints:
        return self.point[self.start[place] : self.start[place + 1]]

    def sums(self, of_points: Floats) -> Floats:
        """(places,) the sum over the points that each place reaches."""
        return np.asarray(np.add.reduceat(of_points[self.point], self.start[:-1]))

    @cached_property
    def _by_point(self) -> tuple[npt.NDArray[np.int64], Ints]:
        """Where the pairs of each point begin, and the place of each pair."""
        order = np.argsort(self.point, kind="stable")
        place = np.repeat(np.arange(self.places, dtype=np.int32), np.diff(self.start))[order]
        number = np.bincount(self.point, minlength=self.cells * self.per_cell)
        return np.concatenate([[0], np.cumsum(number)]), place

    def sums_of(self, points: Ints, values: Floats) -> Floats:
        """(places,) `sums` of values that a few points have, and all others have not. values: (points,)."""
        start, place = self._by_point
        number = start[points + 1] - start[points]
        pair = np.repeat(start[points] - np.cumsum(number) + number, number) + np.arange(number.sum())
        return np.asarray(np.bincount(place[pair], np.repeat(values, number), self.places), np.float64)

    def covered(self, posts: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """(points,) how many of the units at these places reach each point; a place may stand there several times."""
        reached = [self.points_of(place) for place in posts] or [self.point[:0]]
        return np.bincount(np.concatenate(reached), minlength=self.cells * self.per_cell)


def metres_of(grid: Grid, lat_deg: Floats, lon_deg: Floats) -> Floats:
    """(n, 2) metres north and east of the grid's corner."""
    per_lat, per_lon = grid.metres_per_degree
    return np.stack([(lat_deg - grid.south_deg) * per_lat, (lon_deg - grid.west_deg) * per_lon], axis=1)


def refuse_outside(grid: Grid, lat_deg: Floats, lon_deg: Floats) -> None:
    """Raises DataError for places that lie in no cell. lat_deg, lon_deg: (n,) degrees."""
    outside = np.flatnonzero(~grid.locate(lat_deg, lon_deg)[1])
    if len(outside):
        (south, north), (west, east) = (edges[[0, -1]] for edges in grid.corners())
        raise DataError(
            f"{len(outside)} of {len(lat_deg)} places lie outside the grid, the first at {lat_deg[outside[0]]:.5f}, "
            f"{lon_deg[outside[0]]:.5f}",
            f"leave them out; the grid has latitude {south:.3f} to {north:.3f}, longitude {west:.3f} to {east:.3f}",
        )


def points_a_side(cell_m: float, reach_m: float) -> int:
    """k x k points stand for a cell, `POINTS_IN_REACH` or more of them to the edge of the reach, k at most MOST_A_SIDE.

    >>> points_a_side(1000, 4000), points_a_side(1000, 8000), points_a_side(1000, 600)
    (2, 1, 4)
    """
    return int(np.clip(np.ceil(POINTS_IN_REACH * cell_m / reach_m), 1, MOST_A_SIDE))


def by_straight_line(grid: Grid, places_m: Floats, drive: Drive) -> Reach:
    """places_m: (places, 2) as `metres_of` gives them. Raises DataError for a reach that the cells cannot show."""
    reach_m = drive.metres
    if not reach_m >= grid.cell_m / 2:
        raise DataError(
            f"{drive.minutes:g} minutes at {drive.speed_kmh:g} km/h reach {reach_m:.0f} m by straight line, less than "
            f"half a cell of {grid.cell_m:g} m",
            "give more minutes or a higher speed, or train with smaller cells",
        )
    side = points_a_side(grid.cell_m, reach_m)
    step_m = grid.cell_m / side
    if (pairs := len(places_m) * min(np.pi * (reach_m / step_m) ** 2, grid.cells * side**2)) > MOST_PAIRS:
        raise DataError(
            f"{len(places_m):,} places reach {pairs:,.0f} points, at most {MOST_PAIRS:,} are looked at",
            "give the stations in place of any cell, or a shorter reach",
        )
    axes_m = [(np.arange(number * side) + 0.5) * step_m for number in (grid.rows, grid.cols)]
    start, most_m = [0], reach_m + _WITHIN_M
    points, minutes = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for place_m in places_m:
        away_m = [axis - at for axis, at in zip(axes_m, place_m, strict=True)]
        rows, cols = (np.flatnonzero(np.abs(away) <= most_m) for away in away_m)  # the circle lies in their square
        square = away_m[0][rows, None] ** 2 + away_m[1][cols] ** 2
        near = np.nonzero(square <= most_m**2)
        row, col = rows[near[0]], cols[near[1]]
        cell = (row // side) * grid.cols + col // side
        points.append((cell * side**2 + (row % side) * side + col % side).astype(np.int32))
        minutes.append(drive.minutes_for(np.sqrt(square[near])).astype(np.float32))
        start.append(start[-1] + len(row))
    point, taken = np.concatenate(points), np.concatenate(minutes)
    return Reach(cells=grid.cells, per_cell=side**2, start=np.array(start), point=point, minutes=taken)
