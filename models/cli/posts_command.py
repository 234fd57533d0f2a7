"""`risk posts`: the best fixed posts of a region's units, beside those that there are."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact import Artifact, champion_of
from models.cli.options import DATA_HELP, Artifacts, FileLayout, MasksFile, Region, refuse_unwritable
from models.files.data_report import read_past
from models.files.incident_files import IncidentTable
from models.files.layouts import parse_layout
from models.local_time import hour_of_week
from models.posts_plan import (
    PLACES,
    TIMES,
    AskedPlans,
    Hours,
    Place,
    Places,
    Plan,
    hours_of,
    metres_of_places,
    places_of,
    plans_of,
    read_places,
    read_times,
    usual_week,
)
from models.readiness import (
    ASSUMES,
    BUSY,
    DETOUR,
    FLOOR,
    LEAST_PART,
    Drive,
    Posts,
    Question,
    by_straight_line,
    parts_of,
    with_enough,
)
from schemas.areas import Masks, cells_of_areas, read_areas, read_masks, refuse_other_masks
from schemas.errors import DataError, SettingsError, needs_extra
from schemas.files import replace_file, write_errors

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
    later = _calls_after(artifact, calls, layout, hours, read_masks(masks)) if calls else None
    drive, staying = Drive(minutes=reach_minutes, speed_kmh=speed), read_places(fixed, grid) if fixed else []

    def candidates(name: str, places: list[Place]) -> Places:
        every, digest = [*places, *staying], ""
        if travel:
            reach, digest = read_times(travel, every, grid, minutes=reach_minutes, answered=demand.cells)
        else:
            reach = by_straight_line(grid, metres_of_places(every, grid), drive)
        stay = _standing(staying, first=len(places), usual=1)
        question = Question(
            expected=demand.expected, reach=reach, units=units, busy=busy, fixed=stay, areas=floored, floor=floor
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


def _calls_after(artifact: Artifact, path: Path, layout: str, hours: Hours, masks: Masks) -> IncidentTable:
    """The calls of a file in these hours, that the artifact does not know. Raises DataError without any."""
    spec, cutoff_s = artifact.spec, artifact.manifest.data.cutoff_s
    refuse_other_masks(f"the artifact of {spec.region}", spec.masked, masks.digest)
    table = read_past(path, parse_layout(layout), now_s=time.time(), masks=masks)
    table = table.select(spec.grid.locate(table.lat_deg, table.lon_deg)[1] & (table.occurred_s >= cutoff_s))
    answered = np.array([name in spec.answered_by for name in table.categories])
    of_day = (hour_of_week(table.occurred_s, spec.timezone) % 24).astype(np.intp)
    calls = table.select(answered[table.category] & hours[of_day])
    if not len(calls):
        raise DataError(
            f"{path}: no call of {', '.join(spec.answered_by)} after {day_of(cutoff_s)}, until which the model learned",
            "give a file that goes on, or train with `until`, a date before its end",
        )
    return calls


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
    for name, field in (("within reach", "within"), ("by a free unit", "by_a_free_unit"), ("by two units", "by_two")):
        table.add_row(name, *(_percent(getattr(plan.reached, field)) for plan in plans))
        if field in plans[0].kept:
            table.add_row(f"kept: {name}", *(_percent(plan.kept[field]) for plan in plans))
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
    """posts.geojson, with the facts beside its places, and posts.png. Raises SettingsError where it cannot."""
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
        _draw(out / "posts.png", plans, asked, by_times="sha256" in facts["reach"])


def _draw(path: Path, plans: Sequence[Plan], asked: AskedPlans, *, by_times: bool) -> None:
    """A map for each plan: what is expected in each cell, the posts, and the circle that each reaches."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Ellipse

    from models.evaluation.drawing import BASELINE, NETWORK, WIDTH, canvas, styled

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
                axes.plot(*at, "o", color=BASELINE, markersize=11 if several else 6, markeredgecolor="white", zorder=3)
                axes.annotate(several, at, color="white", fontsize=7, ha="center", va="center", zorder=4)
                if not by_times:
                    axes.add_patch(Ellipse(at, *size, facecolor=f"{NETWORK}20", edgecolor=NETWORK, linewidth=1))
            axes.set(aspect=per_lat / per_lon, xticks=[], yticks=[], xlim=lon[[0, -1]], ylim=lat[[0, -1]])
            axes.set_title(f"{plan.plan}\n{_percent(plan.reached.within)} within reach", fontsize=8)
            axes.spines[:].set_visible(False)
        bar = figure.colorbar(shown, ax=panels.tolist(), orientation="horizontal", shrink=0.5, pad=0.03, format="%g")
        bar.set_label("calls in a usual week; a number: units at a post")
        figure.savefig(path, dpi=110)
