"""Fixed posts for a usual week, beside those that there are now: what each promises, and what it kept.

What is expected of the calls that standing units answer is from the artifact's data alone, by hours of the week. Places
of units and tables of driving times are CSV files, checked against the grid. Where there are few places, HiGHS proves
the best posts as an integer program.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from models.artifact import Artifact, champion_of
from models.baseline import BaselineConstants, horizon_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.files.data_report import read_past
from models.files.incident_files import IncidentTable
from models.files.layouts import parse_layout
from models.local_time import HOURS_OF_BLOCK, hour_of_week
from models.readiness import (
    ASSUMES,
    BUSY,
    DETOUR,
    EQUAL,
    FLOOR,
    LEAST_PART,
    PLACES,
    Drive,
    Place,
    Posts,
    Question,
    Reach,
    Reached,
    answered_columns,
    best_floor,
    by_straight_line,
    choose,
    metres_of,
    parts_of,
    reached_by,
    read_places,
    rows_of,
    with_enough,
    without_needless_moves,
)
from models.training.region_tasks import DATA_HELP, Artifacts, FileLayout, MasksFile, Region, refuse_unwritable
from schemas.areas import cells_of_areas, read_areas, read_masks, refuse_other_masks
from schemas.errors import DataError, SettingsError, needs_extra
from schemas.files import replace_file, sha256, write_errors
from schemas.fine import OVER_ALL
from schemas.grid import Cells, Floats, Grid
from schemas.spec import Spec

Hours = npt.NDArray[np.bool_]  # (24,) which hours of the local day
ALL_DAY: Hours = np.ones(24, np.bool_)
TIMES = "a CSV file with the columns place,cell,minutes, with a row for each place and each cell that units answer"
MOST_MINUTES = 24 * 60
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


def read_times(
    path: Path, places: Sequence[Place], grid: Grid, *, minutes: float, answered: Cells
) -> tuple[Reach, str]:
    """What each place reaches within `minutes` by a table of driving times, and the hash of the table.

    answered: cells with calls. Raises DataError for a place or such a cell that the table lacks, and for a place that
    reaches no cell in time.
    """
    times = np.full((len(places), grid.cells), np.nan, np.float32)
    number = {place.place: row for row, place in enumerate(places)}
    for row in rows_of(path, list[_Time], TIMES):
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


_DRIVE_HELP = f"Mean speed, km/h, over {DETOUR} times the straight line"
_ALL_HOURS = "00-24"
_LEAST_SHOWN = 0.05  # calls a week, in the picture


def posts_command(
    region: Region,
    units: Annotated[int, typer.Option(help="Units that stand ready, the fixed ones among them")],
    artifacts: Artifacts = Path("data/artifacts"),
    reach_minutes: Annotated[
        float, typer.Option(min=0.1, max=240, help="Minutes of driving in which a call is to be reached")
    ] = 8,
    speed: Annotated[float, typer.Option(min=1, max=300, help=_DRIVE_HELP)] = 40,
    travel: Annotated[Path | None, typer.Option(help=f"In place of a speed, {TIMES}")] = None,
    stations: Annotated[Path | None, typer.Option(help=f"Places of units, else any cell: {PLACES}")] = None,
    fixed: Annotated[Path | None, typer.Option(help="Units that stay where they are: a file as --stations")] = None,
    busy: Annotated[float, typer.Option(help="Share of the time in which a unit is away on a call")] = BUSY,
    areas: Annotated[Path | None, typer.Option(help="GeoJSON of areas with a `name`, else parts by compass")] = None,
    floor: Annotated[float, typer.Option(help="Share of each area's calls to have within reach; 0: none")] = FLOOR,
    shift: Annotated[
        str, typer.Option(help="Hours of the local day that the units serve, like 07-19 or 19-07")
    ] = _ALL_HOURS,
    calls: Annotated[Path | None, typer.Option(help=f"To see what is kept of the promise. {DATA_HELP}")] = None,
    layout: FileLayout = "",
    masks: MasksFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for posts.geojson and posts.png")] = None,
) -> None:
    """Show where units should stand in a usual week, and which share of the calls they then have within reach.

    Only for categories that the region's spec names as answered by standing units. Roads, hospitals and priorities are
    not known to it.
    """
    if out:
        with needs_extra("evaluate"):
            import matplotlib  # noqa: F401 - only whether it is there
        refuse_unwritable(out)
    if travel and not stations:
        raise SettingsError("--travel without --stations", "name the places of the table, with where they are")
    artifact, hours = champion_of(artifacts, region), hours_of(shift)
    spec, grid = artifact.spec, artifact.spec.grid
    demand = usual_week(spec, artifact.constants, artifact.history(), hours)
    named = cells_of_areas(read_areas(areas, "name"), [grid])[0] if areas else parts_of(grid)
    floored = with_enough(named, demand.expected, demand.has_history, least=0 if areas else LEAST_PART)
    later = None
    if calls:  # those in these hours that the artifact does not know
        hidden, cutoff_s = read_masks(masks), artifact.manifest.data.cutoff_s
        refuse_other_masks(f"the artifact of {spec.region}", spec.masked, hidden.digest)
        table = read_past(calls, parse_layout(layout), now_s=time.time(), masks=hidden)
        table = table.select(grid.locate(table.lat_deg, table.lon_deg)[1] & (table.occurred_s >= cutoff_s))
        answered = np.array([name in spec.answered_by for name in table.categories])
        of_day = (hour_of_week(table.occurred_s, spec.timezone) % 24).astype(np.intp)
        later = table.select(answered[table.category] & hours[of_day])
        if not len(later):
            raise DataError(
                f"{calls}: no call of {', '.join(spec.answered_by)} after {day_of(cutoff_s)}, until which the model "
                "learned",
                "give a file that goes on, or train with `until`, a date before its end",
            )
    shares = artifact.fine.of_category(OVER_ALL) if artifact.fine and not travel else None
    drive, staying = Drive(minutes=reach_minutes, speed_kmh=speed), read_places(fixed, grid) if fixed else []

    def candidates(name: str, places: list[Place]) -> Places:
        every, digest = [*places, *staying], ""
        if travel:
            reach, digest = read_times(travel, every, grid, minutes=reach_minutes, answered=demand.cells)
        else:
            reach = by_straight_line(grid, metres_of_places(every, grid), drive, spec.fine)
        stay = _standing(staying, first=len(places), usual=1)
        question = Question(
            expected=demand.expected,
            reach=reach,
            units=units,
            shares=shares,
            busy=busy,
            fixed=stay,
            areas=floored,
            floor=floor,
        )
        return Places(name=name, places=every, question=question, times_sha256=digest)

    choices, asked = [], AskedPlans(grid=grid, demand=demand, drive=drive, areas=named, calls=later)
    if stations:
        places = read_places(stations, grid)
        choice = candidates(f"best of {len(places)} stations", places)
        free = units - len(choice.question.fixed)
        if places[0].units is not None:
            now = {"as now": _standing(places, first=0, usual=0)}
        else:  # they do not say how many units they have
            now = {"spread evenly": tuple(unit % len(places) for unit in range(free))}
        now = {name: (*choice.question.fixed, *posts) for name, posts in now.items()}
        choices.append(replace(choice, now=now))
    if not travel:
        choices.append(candidates("best of any cell", places_of(demand.cells, grid)))
    plans, console = list(plans_of(choices[0], asked)), Console(highlight=False)
    facts = facts_of(artifact, asked, choices[0], shift)
    for choice in choices[1:]:
        try:
            plans += plans_of(choice, asked)
        except DataError as error:  # the stations keep the floor; of very many cells none was found that do
            facts[choice.name] = error.message
    print_plans(plans, facts, console)
    if out:
        write_plans(out, plans, facts, asked)
        console.print(f"files: {out}", soft_wrap=True)


def _standing(places: list[Place], *, first: int, usual: int) -> Posts:
    """The posts of the units at places, which begin at the number `first`. usual: units where the file says none."""
    units = (usual if place.units is None else place.units for place in places)
    return tuple(number for number, several in enumerate(units, first) for _ in range(several))


def day_of(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d")


def facts_of(artifact: Artifact, asked: AskedPlans, choice: Places, shift: str) -> dict[str, str]:
    """What the plans rest on, as it is printed and written."""
    drive, question, expected = asked.drive, choice.question, asked.demand.expected.sum()
    by_line = f"{drive.minutes:g} minutes at {drive.speed_kmh:g} km/h over {DETOUR} x the straight line"
    floor = f"{question.floor:.0%} of the calls of each area within reach"
    hours = "" if shift == _ALL_HOURS else f", from {shift.replace('-', ' to ')} h"
    calls_of = ", ".join(artifact.spec.answered_by)
    facts = {
        "region": f"{artifact.spec.region}, {expected:,.0f} calls of {calls_of} a week{hours}",
        "model": f"{artifact.version}, data until {day_of(artifact.manifest.data.cutoff_s)}",
        "units": f"{question.units}, each away for {question.busy:.0%} of the time",
        "reach": f"{drive.minutes:g} minutes of driving by the table of sha256 {choice.times_sha256}"
        if choice.times_sha256
        else f"{by_line}: {drive.metres / 1000:.1f} km",
        "floor": f"{floor}, asked of the best posts"
        if question.floor
        else "none, as --floor 0 asks: an area may be left without any unit",
    }
    if asked.calls is not None:
        first, last = (day_of(int(asked.calls.occurred_s[end])) for end in (0, -1))
        facts["kept"] = f"of {len(asked.calls):,} calls, {first} to {last}, which the model does not know"
    if expected < 1:
        facts["warning"] = f"{expected:.2g} calls are expected in a week: posts for so few are a guess"
    if bare := [name for name, cells in asked.areas.items() if not asked.demand.has_history[cells].any()]:
        facts["no call on record"] = f"{', '.join(bare)}: what is expected there is a guess, and no floor holds"
    return facts


def print_plans(plans: Sequence[Plan], facts: dict[str, str], console: Console) -> None:
    """What they rest on, the shares, and where units should stand."""
    for name, fact in facts.items():
        console.print(f"[bold]{name}:[/bold] {escape(fact)}", soft_wrap=True)
    table, now = Table(box=None, padding=(0, 2, 0, 0)), {post.place: post.units or 0 for post in plans[0].posts}
    table.add_column("share of the calls", no_wrap=True)
    for plan in plans:
        table.add_column(escape(plan.plan) + (", proved" if plan.proved_best else ""), justify="right")
    for name, share in (("within reach", "within"), ("by a free unit", "by_a_free_unit"), ("by two units", "by_two")):
        table.add_row(name, *(_percent(getattr(plan.reached, share)) for plan in plans))
        if share in plans[0].kept:
            table.add_row(f"kept: {name}", *(_percent(plan.kept[share]) for plan in plans))
    moved, worst = list[str](), list[str]()
    for plan in plans:
        moved.append(str(sum(max((post.units or 0) - now.get(post.place, 0), 0) for post in plan.posts)))
        with_calls = [area for area in plan.reached.areas if area.within is not None]
        with_floor = [area for area in with_calls if area.floor_kept is not None]
        area = min(with_floor or with_calls, key=lambda area: area.within or 0, default=None)
        worst.append(f"{escape(area.area)} {_percent(area.within)}" if area else "")
    if len(plans) > 1:
        table.add_row("units that move", *moved)
    table.add_row("worst area", *worst)
    for of_plans in zip(*(plan.reached.areas for plan in plans), strict=True):
        area, mark = of_plans[0], "" if of_plans[0].floor_kept is not None else ", no floor"
        name = escape(f"{area.area}: {area.expected:,.1f} a week{mark}")
        table.add_row(name, *(_percent(each.within) + " < floor" * (each.floor_kept is False) for each in of_plans))
    console.print(table)
    for plan in plans:
        places = (f"{post.place} x {post.units}" if post.units != 1 else post.place for post in plan.posts)
        console.print(f"[bold]{escape(plan.plan)}:[/bold] {escape(', '.join(places))}", soft_wrap=True)
    console.print(ASSUMES, style="dim", soft_wrap=True)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def write_plans(out: Path, plans: Sequence[Plan], facts: dict[str, str], asked: AskedPlans) -> None:
    """posts.geojson, with the facts beside its places, and posts.png, a map for each plan.

    It shows what is expected in each cell, the posts, and the circle that each reaches. Raises SettingsError where it
    cannot.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Ellipse

    from models.evaluation.evaluation_report import BASELINE, NETWORK, WIDTH, canvas, styled

    features = [
        {
            "type": "Feature",
            "properties": {"plan": plan.plan, "place": post.place, "units": post.units},
            "geometry": {"type": "Point", "coordinates": [post.lon, post.lat]},
        }
        for plan in plans
        for post in plan.posts
    ]
    content = {"type": "FeatureCollection", "features": features, **facts, "plans": plans, "assumes": ASSUMES}
    with write_errors(SettingsError, f"--out {out}"):
        replace_file(out / "posts.geojson", msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        grid, (lat, lon), (per_lat, per_lon) = asked.grid, asked.grid.corners(), asked.grid.metres_per_degree
        expected = np.where(asked.demand.has_history, asked.demand.expected, np.nan).reshape(grid.rows, grid.cols)
        size = (2 * asked.drive.metres / per_lon, 2 * asked.drive.metres / per_lat)
        with styled():
            figure = canvas(WIDTH / len(plans) * grid.rows / grid.cols + 1.2)
            panels = np.atleast_1d(figure.subplots(1, len(plans), sharex=True, sharey=True))
            for axes, plan in zip(panels, plans, strict=True):
                shown = axes.pcolormesh(lon, lat, expected, cmap="Greys", norm=LogNorm(vmin=_LEAST_SHOWN, clip=True))
                for post in plan.posts:
                    at, several = (post.lon, post.lat), str(post.units) if post.units != 1 else ""
                    axes.plot(
                        *at, "o", color=BASELINE, markersize=11 if several else 6, markeredgecolor="white", zorder=3
                    )
                    axes.annotate(several, at, color="white", fontsize=7, ha="center", va="center", zorder=4)
                    if "sha256" not in facts["reach"]:
                        axes.add_patch(Ellipse(at, *size, facecolor=f"{NETWORK}20", edgecolor=NETWORK, linewidth=1))
                axes.set(aspect=per_lat / per_lon, xticks=[], yticks=[], xlim=lon[[0, -1]], ylim=lat[[0, -1]])
                axes.set_title(f"{plan.plan}\n{_percent(plan.reached.within)} within reach", fontsize=8)
                axes.spines[:].set_visible(False)
            bar = figure.colorbar(
                shown, ax=panels.tolist(), orientation="horizontal", shrink=0.5, pad=0.03, format="%g"
            )
            bar.set_label("calls in a usual week; a number: units at a post")
            figure.savefig(out / "posts.png", dpi=110)
