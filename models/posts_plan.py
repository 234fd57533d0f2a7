"""Fixed posts for a usual week, beside those that there are now: what each promises, and what it kept.

What is expected of the calls that standing units answer is from the artifact's data alone, by hours of the week. Places
of units and tables of driving times are CSV files, checked against the grid. Where there are few places, HiGHS proves
the best posts as an integer program.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from models.baseline import BaselineConstants, horizon_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.files.incident_files import IncidentTable
from models.local_time import HOURS_OF_BLOCK
from models.readiness import (
    EQUAL,
    MOST_UNITS,
    Drive,
    Posts,
    Question,
    Reach,
    Reached,
    answered_columns,
    best_floor,
    choose,
    metres_of,
    reached_by,
    refuse_outside,
    without_needless_moves,
)
from schemas.errors import DataError, SettingsError
from schemas.files import sha256
from schemas.grid import Cells, Floats, Grid
from schemas.spec import Spec

Hours = npt.NDArray[np.bool_]  # (24,) which hours of the local day
ALL_DAY: Hours = np.ones(24, np.bool_)
PLACES = "a CSV file with the columns place,lat,lon and, where several units or none stand at a place, units"
TIMES = "a CSV file with the columns place,cell,minutes, with a row for each place and each cell that units answer"
MOST_MINUTES = 24 * 60
T = TypeVar("T")
_NEGLIGIBLE = 1e-7  # of a unit's work: so many units do not stand before another one that is free
FEW_PLACES = 500  # so many HiGHS can prove
_PROVED = 1e-4  # of all expected calls


def hours_of(shift: str) -> Hours:
    """The whole hours of a shift, which may go beyond midnight. Raises SettingsError for what is no such thing.

    >>> hours_of("19-07").sum()
    np.int64(12)
    """
    match = re.fullmatch(r"(\d\d?)-(\d\d?)", shift)
    begin, end = map(int, match.groups()) if match else (0, 0)
    if not (0 <= begin < 24 and 0 < end <= 24 and begin != end):
        remedy = "give the whole hours of its beginning and its end, like 07-19 or 19-07"
        raise SettingsError(f"--shift {shift} is no part of a day", remedy)
    return np.asarray((np.arange(24) - begin) % 24 < ((end - begin) % 24 or 24))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """In a usual week, of the categories that units answer together."""

    expected: Floats  # (cells,) calls in the week
    has_history: npt.NDArray[np.bool_]  # (cells,) any such call in the days whose counts are kept

    @property
    def cells(self) -> Cells:
        """Those with history."""
        return np.flatnonzero(self.has_history).astype(np.int32)


def usual_week(spec: Spec, constants: BaselineConstants, state: CountState, shift: Hours = ALL_DAY) -> Demand:
    """The baseline's expectation at the state's time, over a week's hours of the shift.

    Raises ArtifactError where nothing is answered, DataError where no call is on record.
    """
    answered = answered_columns(spec)
    features = FeatureEngine(spec, constants).compute(state)
    log_usual = features.values[:, :, usual_columns(len(spec.horizons_s))][:, :, -1].astype(np.float64)
    per_hour = np.exp(log_usual) / horizon_hours(constants, state.tick_s, spec)[:, :, -1]
    served = HOURS_OF_BLOCK * np.tile(shift, 7)
    hours = np.einsum("bw,kw->kb", served, constants.profile)  # of average rate, in each block of the day
    has_history = np.asarray((features.support[:, answered] > 0).any(axis=1))
    if not has_history.any():
        categories = ", ".join(spec.answered_by)
        raise DataError(f"no call is on record in {spec.region} for {categories}", "train on a file with such calls")
    week = per_hour * np.einsum("ckb,kb->ck", constants.day_lift, hours)
    return Demand(expected=week[:, answered].sum(axis=1), has_history=has_history)


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where units may stand. units: how many do; None where the file does not say."""

    place: Annotated[str, msgspec.Meta(min_length=1)]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    units: Annotated[int, msgspec.Meta(ge=0, le=MOST_UNITS)] | None = None


class _Time(msgspec.Struct):
    place: str
    cell: str
    minutes: Annotated[float, msgspec.Meta(ge=0, le=MOST_MINUTES)]


def metres_of_places(places: Sequence[Place], grid: Grid) -> Floats:
    """(places, 2) north and east of the grid's corner."""
    lat, lon = np.array([(place.lat, place.lon) for place in places]).T
    return metres_of(grid, lat, lon)


def places_of(cells: Cells, grid: Grid) -> list[Place]:
    """The centres of cells."""
    ids, (lat, lon) = grid.cell_ids(), grid.centres()
    return [Place(place=ids[cell], lat=float(lat[cell]), lon=float(lon[cell])) for cell in cells.tolist()]


def read_places(path: Path, grid: Grid) -> list[Place]:
    """The places of a file. Raises DataError for one that is not in the grid, and for a name that stands twice."""
    places = _rows(path, list[Place], PLACES)
    names = [place.place for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {', '.join(map(repr, twice[:3]))} stands several times", "name each place once")
    refuse_outside(grid, *np.array([(place.lat, place.lon) for place in places]).T)
    return places


def read_times(
    path: Path, places: Sequence[Place], grid: Grid, *, minutes: float, answered: Cells
) -> tuple[Reach, str]:
    """What each place reaches within `minutes` by a table of driving times, and the hash of the table.

    answered: cells with calls. Raises DataError for a place or such a cell that the table lacks, and for a place that
    reaches no cell in time.
    """
    times = np.full((len(places), grid.cells), np.nan, np.float32)
    number = {place.place: row for row, place in enumerate(places)}
    for row in _rows(path, list[_Time], TIMES):
        if row.place in number:
            at = number[row.place], grid.index_of(row.cell)
            if not np.isnan(times[at]):
                raise DataError(f"{path} has two times from {row.place!r} to {row.cell}", "give each pair one row")
            times[at] = row.minutes
    gaps = np.argwhere(np.isnan(times[:, answered]))
    if len(gaps):
        place, cell = gaps[0]
        raise DataError(
            f"{path} lacks {len(gaps):,} times, the first from {places[place].place!r} to "
            f"{grid.cell_id(int(answered[cell]))}",
            f"give a row for each place and each cell with calls; {MOST_MINUTES} minutes where there is no road",
        )
    start, end = np.nonzero(times <= minutes)
    reached = np.bincount(start, minlength=len(places))
    if (reached == 0).any():
        name = places[int(np.argmin(reached))].place
        raise DataError(
            f"{path}: {name!r} reaches no cell in {minutes:g} minutes", "correct its times, or leave it out"
        )
    reach = Reach(
        cells=grid.cells,
        per_cell=1,
        start=np.searchsorted(start, np.arange(len(places) + 1)),
        point=end.astype(np.int32),
        minutes=times[start, end],
    )
    return reach, sha256(path.read_bytes())


def _rows(path: Path, kind: type[list[T]], expected: str) -> list[T]:
    """The rows of a CSV file, checked: at least one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = msgspec.convert(list(csv.DictReader(file, skipinitialspace=True)), kind, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.ValidationError) as error:
        raise DataError(f"{path} cannot be read ({error})", f"give {expected}") from error
    if not rows:
        raise DataError(f"{path} has no row", f"give {expected}")
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """posts: None where none were found. bound: no posts serve more; is_best: these do so much."""

    posts: Posts | None
    bound: float
    is_best: bool


def solve(question: Question, *, seconds: float = 10.0) -> Proved:
    """The best posts that keep the floor. `posts` is None, with `is_best`, where no posts can keep it.

    Points that the same places reach are one. Each may be served by a first unit, a second, and so on; the m-th is
    worth (1 - busy) * busy ** (m - 1). Their worth falls, so only the numbers of units at places must be whole.
    """
    reach, places = question.reach, question.reach.places
    reached = np.zeros((len(question.weight), places), np.bool_)
    reached[reach.point, np.repeat(np.arange(places), np.diff(reach.start))] = True
    alike = np.hstack([np.packbits(reached, axis=1), question.inside.T])
    _, first_point, group = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    group, reaches = group.ravel(), csr_array(reached[first_point].astype(np.float64))  # reaches: (groups, places)
    levels, groups = 1, reaches.shape[0]  # levels: how many units may stand one behind the other
    if question.busy > 0:
        levels = int(min(question.units, np.ceil(np.log(_NEGLIGIBLE) / np.log(question.busy))))
    identity = csr_array((np.ones(groups), (np.arange(groups), np.arange(groups))))
    served = hstack([-reaches, *[identity] * levels])
    is_place = np.arange(served.shape[1]) < places
    limits = [LinearConstraint(served, -np.inf, 0), LinearConstraint(is_place.astype(float), *[question.units] * 2)]
    if areas := len(question.inside):
        area, point = np.nonzero(question.inside)
        first = csr_array((question.weight[point], (area, group[point])), shape=(areas, groups))
        within = hstack([csr_array((areas, places)), first, csr_array((areas, groups * (levels - 1)))])
        limits.append(LinearConstraint(within, question.needed - EQUAL, np.inf))
    low, high, cost = np.zeros(len(is_place)), np.ones(len(is_place)), np.zeros(len(is_place))
    low[:places] = np.bincount(np.array(question.fixed, np.int64), minlength=places)
    high[:places] = question.units
    weight = np.bincount(group, question.weight, minlength=groups)
    cost[places:] = np.concatenate([-weight * (1 - question.busy) * question.busy**level for level in range(levels)])
    solution = milp(
        cost,
        constraints=limits,
        bounds=Bounds(low, high),
        integrality=is_place,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if solution.x is None:
        return Proved(posts=None, bound=1.0, is_best=solution.status == 2)
    units = np.rint(solution.x[:places]).astype(int)
    posts = tuple(np.repeat(np.arange(places), units).tolist())
    return Proved(posts=posts, bound=-solution.mip_dual_bound + 0.0, is_best=solution.status == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPlans:
    """What all plans of a region share. areas: all that are told; calls: later ones, which lie in the grid."""

    grid: Grid
    demand: Demand
    drive: Drive
    areas: Mapping[str, Cells]
    calls: IncidentTable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """proved_best: of its places no posts have more calls reached by a free unit. kept: shares of later calls, at their
    real places, as `Reached` promises them of expected ones; empty without."""

    plan: str
    reached: Reached
    proved_best: bool
    kept: Mapping[str, float]
    posts: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where units may stand. now: posts as they are, by name; times_sha256: of a table of driving times."""

    name: str
    places: Sequence[Place]
    question: Question
    now: Mapping[str, Posts] = field(default_factory=dict)
    times_sha256: str = ""

    def plan(self, name: str, posts: Posts, asked: AskedPlans, *, proved_best: bool) -> Plan:
        """calls are judged by straight line at their real places, by driving times in their cells."""
        standing, kept = [], {}
        for post, units in Counter(posts).items():
            standing.append(msgspec.structs.replace(self.places[post], units=units))
        if (calls := asked.calls) is not None:
            if self.times_sha256:
                covered = self.question.reach.covered(posts)[asked.grid.locate(calls.lat_deg, calls.lon_deg)[0]]
            else:
                of_calls = metres_of(asked.grid, calls.lat_deg, calls.lon_deg)
                covered = np.zeros(len(calls), np.int64)
                for post_m in metres_of_places(self.places, asked.grid)[list(posts)]:
                    covered += np.hypot(*(of_calls - post_m).T) <= asked.drive.metres
            shares = {"within": covered > 0, "by_a_free_unit": 1 - self.question.all_busy[covered]}
            kept = {name: round(float(share.mean()), 4) for name, share in shares.items()}
        return Plan(
            plan=name,
            reached=reached_by(replace(self.question, units=len(posts), fixed=()), posts, asked.areas),
            proved_best=proved_best,
            kept=kept,
            posts=tuple(sorted(standing, key=lambda post: post.place)),
        )


def plans_of(choice: Places, asked: AskedPlans) -> Iterator[Plan]:
    """The posts as they are, then the best ones. Raises DataError, with the best floor found, where none keep it."""
    question = choice.question
    posts = choose(question, np.random.default_rng(0))
    proved = solve(question) if len(choice.places) <= FEW_PLACES or question.lacking(posts) else None
    if proved and proved.posts is not None:
        posts = max(posts, proved.posts, key=lambda each: (-question.lacking(each), question.served(each)))
    if question.lacking(posts) > 0:
        lacks = question.within_areas(tuple(range(question.reach.places))) < question.needed - EQUAL
        far = [name for name, is_far in zip(question.areas, lacks, strict=True) if is_far]
        units = "1 unit has" if question.units == 1 else f"{question.units} units have"
        raise DataError(
            f"no posts found where {units} {question.floor:.0%} of the calls of each area within reach ({choice.name})"
            + (f": no place reaches so much of {', '.join(far)}" if far else ""),
            f"give --floor {best_floor(question):g}, the best found, more units, minutes or stations, or --areas "
            "without what your units need not reach",
        )
    for now in choice.now.values():
        posts = without_needless_moves(question, now, posts, _PROVED)
    for name, now in choice.now.items():
        named = name if len(now) == question.units else f"{name}, {len(now)} units"
        yield choice.plan(named, now, asked, proved_best=False)
    is_best = proved is not None and proved.bound - question.served(posts) < _PROVED
    yield choice.plan(choice.name, posts, asked, proved_best=is_best)
