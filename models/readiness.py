"""Readiness: which share of the expected calls free units reach in time, and where they would reach more.

It scores places, never people: a unit is a place here, without a name or a crew. What a unit reaches from a place are
points within the cells by straight line and speed, or cells by driving times.

Objective: maximum expected covering, MEXCLP. A unit is busy with probability `busy`, independent of the others, so a
point that n units reach is served with probability 1 - busy ** n. Source: Daskin, Transportation Science 17(1), 1983.
With `busy` 0 it is the maximal covering problem, MCLP.

The best posts: greedy choice (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978), then exchanges of one
unit at a time until none gains, and the same from random posts. An area below its floor outweighs every gain. Areas of
which posts are to leave none without a unit are an agency's own, or parts of the grid by the compass.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import ArtifactError, DataError
from schemas.grid import Cells, Floats, Grid
from schemas.spec import Spec

MOST_UNITS = 200
BUSY = 0.3  # 0.2 to 0.5 give nearly the same posts
FLOOR = 0.1  # of the expected calls of each area
EQUAL = 1e-9  # shares that differ by less are equal

PLACES = "a CSV file with the columns place,lat,lon and, where several units or none stand at a place, units"
T = TypeVar("T")

Posts = tuple[int, ...]  # the place of each unit, ascending
DETOUR = 1.3  # driven metres over the straight line's; 1.2 to 1.4 in the street networks of most cities
MOST_A_SIDE = 4  # points of a cell
POINTS_IN_REACH = 8  # at least, from a place to the edge of its reach: so a cell is reached in part
MOST_PAIRS = 40_000_000  # of a place and a point: 0.3 GB
_WITHIN_M = 0.001  # a place at the edge is within reach, whatever the rounding

Ints = npt.NDArray[np.int32]
RESTARTS, _FLOOR_RESTARTS = 20, 5
_LACKING = 1000.0  # what a share below a floor weighs, of gains that are at most 1
LEAST_PART = 0.01  # of the expected calls: a part of the grid with fewer has no floor; an agency's own area has one
_COMPASS = (("south-west", "south", "south-east"), ("west", "centre", "east"), ("north-west", "north", "north-east"))
ASSUMES = (
    "Units drive 1.3 times the straight line at one speed, unless driving times were given, and each is away for the "
    "same share of the time. Roads, hospitals, priorities, turnout and other agencies are not known. Places where "
    "people report less seem to need less."
)


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


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where units may stand. units: how many do; None where the file does not say."""

    place: Annotated[str, msgspec.Meta(min_length=1)]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    units: Annotated[int, msgspec.Meta(ge=0, le=MOST_UNITS)] | None = None


def rows_of(path: Path, kind: type[list[T]], expected: str) -> list[T]:
    """The rows of a CSV file, checked: at least one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = msgspec.convert(list(csv.DictReader(file, skipinitialspace=True)), kind, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.ValidationError) as error:
        raise DataError(f"{path} cannot be read ({error})", f"give {expected}") from error
    if not rows:
        raise DataError(f"{path} has no row", f"give {expected}")
    return rows


def read_places(path: Path, grid: Grid | None = None) -> list[Place]:
    """The places of a file. Raises DataError for one that is not in a given grid, and for a name that stands twice."""
    places = rows_of(path, list[Place], PLACES)
    names = [place.place for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {', '.join(map(repr, twice[:3]))} stands several times", "name each place once")
    if grid:
        refuse_outside(grid, *np.array([(place.lat, place.lon) for place in places]).T)
    return places


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


def by_straight_line(grid: Grid, places_m: Floats, drive: Drive, fine: int = 1) -> Reach:
    """places_m: (places, 2) as `metres_of` gives them. fine: squares a side of a cell, whose calls are known.

    Raises DataError for a reach that the cells, or their squares, cannot show.
    """
    reach_m = drive.metres
    if not reach_m >= grid.cell_m / fine / 2:
        raise DataError(
            f"{drive.minutes:g} minutes at {drive.speed_kmh:g} km/h reach {reach_m:.0f} m by straight line, less than "
            f"half a {'cell' if fine == 1 else 'square'} of {grid.cell_m / fine:g} m",
            "give more minutes or a higher speed, or train with smaller cells, or with squares in them (`fine`)",
        )
    side = fine * -(-points_a_side(grid.cell_m, reach_m) // fine)
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
        minutes.append((np.sqrt(square[near]) * (drive.minutes / reach_m)).astype(np.float32))
        start.append(start[-1] + len(row))
    point, taken = np.concatenate(points), np.concatenate(minutes)
    return Reach(cells=grid.cells, per_cell=side**2, start=np.array(start), point=point, minutes=taken)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Where `units` units should stand, of the places of `reach`; several may stand at one.

    expected: (cells,) calls. shares: (cells, squares) of a cell's calls in each of its squares, from the south-west row
    by row, of which the reach has whole numbers of points; None: evenly. fixed: places of units, among them, that stay.
    areas: by name the cells of those of whose calls the share `floor` is to be within reach; they may overlap.
    """

    expected: Floats
    reach: Reach
    units: int
    shares: npt.NDArray[np.float32] | None = None
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
        of_cells, per_cell = self.expected / self.expected.sum(), self.reach.per_cell
        if self.shares is None:
            return np.repeat(of_cells / per_cell, per_cell)
        fine, side = isqrt(self.shares.shape[1]), isqrt(per_cell)
        row, col = np.divmod(np.arange(per_cell), side)
        square = row * fine // side * fine + col * fine // side
        return np.asarray(of_cells[:, None] * self.shares[:, square] * (fine / side) ** 2).ravel()

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
    def all_busy(self) -> Floats:
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
        return float((self.weight * (1 - self.all_busy[covered])).sum())

    def lacking(self, posts: Posts) -> float:
        """The share of all expected calls that areas lack below their floors; 0 where the floor is kept."""
        return float(np.maximum(self.needed - self.within_areas(posts) - EQUAL, 0).sum())


def choose(question: Question, random: np.random.Generator, *, restarts: int = RESTARTS) -> Posts:
    """The best posts that were found. Whether they keep the floor, `question.lacking` says.

    >>> from models.readiness import Reach
    >>> reach = Reach(cells=3, per_cell=1, start=np.arange(4), point=np.arange(3), minutes=np.ones(3))
    >>> choose(Question(expected=np.array([5.0, 1.0, 4.0]), reach=reach, units=2), np.random.default_rng(0))
    (0, 2)
    """
    free, posts = question.units - len(question.fixed), question.fixed
    for _ in range(free):
        posts = (*posts, _best(question, _values(question, posts))[0])
    best, best_value = _exchanged(question, posts)
    for _ in range(restarts if free else 0):
        drawn = random.integers(0, question.reach.places, free).tolist()
        posts, value = _exchanged(question, (*question.fixed, *drawn))
        if value > best_value + EQUAL:
            best, best_value = posts, value
    return tuple(sorted(best))


def best_floor(question: Question) -> float:
    """The largest floor below the question's for which posts are found, in thousandths."""
    least, most = 0, int(1000 * question.floor)
    while most - least > 1:
        floor = (least + most) // 2
        asked = replace(question, floor=floor / 1000)
        keeps = asked.lacking(choose(asked, np.random.default_rng(0), restarts=_FLOOR_RESTARTS)) == 0
        least, most = (floor, most) if keeps else (least, floor)
    return least / 1000


def without_needless_moves(question: Question, now: Posts, best: Posts, cost: float) -> Posts:
    """The best posts, with each unit left where units are now whose move gains nothing: all together at most `cost`.

    best: posts that keep the floor. now: with the fixed ones.
    """
    least, posts = question.served(best) - cost, best
    for place in (Counter(best) - Counter(now)).elements():
        abandoned = [*(Counter(now) - Counter(posts))]
        if not abandoned:
            break
        rest = [*posts]
        rest.remove(place)
        back, value = _best(
            question, _values(question, tuple(rest)), np.isin(np.arange(question.reach.places), abandoned)
        )
        posts = tuple(sorted((*rest, back))) if value >= least else posts
    return posts


def _values(question: Question, posts: Posts) -> Floats:
    """(places,) the objective with one more unit at each place, less what floors lack."""
    reach, covered = question.reach, question.reach.covered(posts)
    busy = question.all_busy[covered]
    values: Floats = (question.weight * (1 - busy)).sum() + reach.sums(question.weight * busy * (1 - question.busy))
    bare = question.weight * (covered == 0)
    lacks = question.needed - question.inside @ (question.weight - bare)
    for area in np.flatnonzero(lacks > EQUAL):
        more = reach.sums(bare * question.inside[area])
        values = values - _LACKING * np.maximum(lacks[area] - more - EQUAL, 0)
    return values


def _best(question: Question, values: Floats, allowed: npt.NDArray[np.bool_] | None = None) -> tuple[int, float]:
    """The best place, of those that are allowed, and its value; of equal places that near most calls."""
    if allowed is not None:
        values = np.where(allowed, values, -np.inf)
    equal = np.flatnonzero(values >= values.max() - EQUAL)
    place = int(equal[np.argmin(question.near[equal])])
    return place, float(values[place])


def _exchanged(question: Question, posts: Posts) -> tuple[Posts, float]:
    """The posts after exchanges that gain, and their value. The first ones are fixed, as the question has them."""
    fixed = unit = len(question.fixed)
    value = question.served(posts) - _LACKING * question.lacking(posts)
    unchanged, covered, values = 0, question.reach.covered(posts), _values(question, posts)
    while unchanged < len(posts) - fixed:
        if len(question.needed):
            without = _values(question, (*posts[:unit], *posts[unit + 1 :]))
        else:  # what one unit alone serves is little: so of all sums only few points change
            points = question.reach.points_of(posts[unit])
            alone = question.weight[points] * question.all_busy[covered[points] - 1] * (1 - question.busy)
            few = alone > 0
            more = question.reach.sums_of(points[few], alone[few] * (1 - question.busy))
            without = values - alone.sum() + more
        place, with_it = _best(question, without)
        unchanged += 1
        if with_it > value + EQUAL:
            posts, value, unchanged = (*posts[:unit], place, *posts[unit + 1 :]), with_it, 0
            covered, values = question.reach.covered(posts), _values(question, posts)
        unit = unit + 1 if unit + 1 < len(posts) else fixed
    return posts, value


def parts_of(grid: Grid) -> dict[str, Cells]:
    """Nine parts of the grid; fewer where it has fewer than three rows or columns.

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=3, cols=3)
    >>> parts_of(grid)["north-west"].tolist()
    [6]
    """
    numbers = np.arange(grid.cells, dtype=np.int32).reshape(grid.rows, grid.cols)
    parts: dict[str, Cells] = {}
    for names, band in zip(_COMPASS, np.array_split(numbers, 3), strict=True):
        parts |= dict(zip(names, map(np.ravel, np.array_split(band, 3, axis=1)), strict=True))
    return {name: cells for name, cells in parts.items() if len(cells)}


def with_enough(
    areas: Mapping[str, Cells], expected: Floats, has_history: npt.NDArray[np.bool_], *, least: float
) -> dict[str, Cells]:
    """Those with history and `least` of the expected calls. expected, has_history: (cells,)."""
    enough = least * expected.sum()
    return {
        name: cells for name, cells in areas.items() if has_history[cells].any() and expected[cells].sum() >= enough
    }


def answered_columns(spec: Spec) -> list[int]:
    """The places of the spec's `answered_by` among its categories. Raises ArtifactError without any."""
    if not spec.answered_by:
        raise ArtifactError(
            f"{spec.region} has no posts: its spec names no category that standing units answer (`answered_by`)",
            "name them when it is trained, as answered_by = ['ems'], for calls that units drive to: ambulances, fire "
            "engines. Posts for crime would be a patrol map, which this program does not make",
        )
    return [spec.categories.index(name) for name in spec.answered_by]


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaReach:
    """within: share of the area's expected calls; None where none are. floor_kept: None where no floor holds."""

    area: str
    expected: float
    within: float | None
    floor_kept: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Shares of the expected calls: within reach of a post, by a unit that is not busy, within reach of two."""

    units: int
    expected: float
    within: float
    by_a_free_unit: float
    by_two: float
    floor: float
    areas: tuple[AreaReach, ...]


def reached_by(question: Question, posts: Posts, areas: Mapping[str, Cells]) -> Reached:
    """areas: all that are told, by name; the floor holds in those of the question."""
    covered = question.reach.covered(posts)
    expected = question.weight.reshape(-1, question.reach.per_cell) * question.expected.sum()
    within = expected * (covered > 0).reshape(expected.shape)

    def of_area(name: str) -> AreaReach:
        whole = float(expected[areas[name]].sum())
        share = float(within[areas[name]].sum()) / whole if whole > 0 else None
        has_floor = question.floor > 0 and name in question.areas
        is_kept = (share or 0.0) >= question.floor - EQUAL if has_floor else None
        rounded = None if share is None else round(share, 4)
        return AreaReach(area=name, expected=round(whole, 4), within=rounded, floor_kept=is_kept)

    return Reached(
        units=len(posts),
        expected=round(float(question.expected.sum()), 4),
        within=round(question.within(posts), 4),
        by_a_free_unit=round(question.served(posts), 4),
        by_two=round(float((question.weight * (covered > 1)).sum()), 4),
        floor=question.floor,
        areas=tuple(map(of_area, areas)),
    )
