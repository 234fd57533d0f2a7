"""`python -m models posts`: the best fixed posts of a region's units, beside those that there are."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.options import DATA_HELP, Artifacts, FileLayout, Region
from models.cli.posts_report import day_of, facts_of, print_plans, write_plans
from models.files.data_report import read_past
from models.files.incident_files import IncidentTable
from models.files.layouts import parse_layout
from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.demand import Shift, usual_week
from models.readiness.places import PLACES, TIMES, Place, metres_of_places, places_of, read_places, read_times
from models.readiness.plan import Asked, Candidates, plans_of
from models.readiness.question import BUSY, FLOOR, Posts
from models.readiness.reach import DETOUR, Drive, by_straight_line
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import DataError, SettingsError, not_installed
from schemas.files import make_writable, write_errors

_DRIVE_HELP = f"Mean speed, km/h, over {DETOUR} times the straight line"


# Typer reads a command's options from its parameters.
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
    ] = "00-24",
    calls: Annotated[Path | None, typer.Option(help=f"To see what is kept of the promise. {DATA_HELP}")] = None,
    layout: FileLayout = "",
    out: Annotated[Path | None, typer.Option(help="Folder for posts.geojson and posts.png")] = None,
) -> None:
    """Show where units should stand in a usual week, and which share of the calls they then have within reach.

    Only for categories that the region's spec names as answered by standing units. Roads, hospitals and priorities are
    not known to it.
    """
    if out:
        _refuse_out(out)
    if travel and not stations:
        raise SettingsError("--travel without --stations", "name the places of the table, with where they are")
    artifact = champion_of(artifacts, region)
    grid = artifact.spec.grid
    served = Shift.of(shift)
    demand = usual_week(artifact.spec, artifact.constants, artifact.history(), served)
    named = cells_of_areas(read_areas(areas, "name"), [grid])[0] if areas else parts_of(grid)
    asked = Asked(
        grid=grid,
        demand=demand,
        shift=served,
        drive=Drive(minutes=reach_minutes, speed_kmh=speed),
        units=units,
        busy=busy,
        floor=floor,
        areas=named,
        floored=with_enough(named, demand.expected, demand.has_history, least=0 if areas else LEAST_PART),
    )
    later = _calls_after(artifact, calls, layout, served) if calls else None
    staying, choices = read_places(fixed, grid) if fixed else [], []
    if stations:
        places = read_places(stations, grid)
        choice = _choice(f"best of {len(places)} stations", places, staying, asked, travel)
        choices.append(replace(choice, now=_now(places, choice.fixed, units)))
    if not travel:
        cells = places_of(np.flatnonzero(demand.has_history).astype(np.int32), grid)
        choices.append(_choice("best of any cell", cells, staying, asked, None))
    plans = list(plans_of(choices, asked, later))
    facts, console = facts_of(artifact, asked, later, choices[0].times_sha256), Console(highlight=False)
    print_plans(plans, facts, console)
    if out:
        write_plans(out, plans, facts, asked)
        console.print(f"files: {out}", soft_wrap=True)


def _choice(name: str, places: list[Place], fixed: list[Place], asked: Asked, travel: Path | None) -> Candidates:
    """fixed: places of units that stay; they come last."""
    answered = np.flatnonzero(asked.demand.has_history).astype(np.int32)
    every, digest = [*places, *fixed], ""
    if travel:
        reach, digest = read_times(travel, every, asked.grid, minutes=asked.drive.minutes, answered=answered)
    else:
        reach = by_straight_line(asked.grid, metres_of_places(every, asked.grid), asked.drive)
    staying = np.repeat(
        np.arange(len(places), len(every)), [1 if place.units is None else place.units for place in fixed]
    )
    return Candidates(name=name, places=every, reach=reach, fixed=tuple(staying.tolist()), times_sha256=digest)


def _now(stations: list[Place], fixed: Posts, units: int) -> dict[str, Posts]:
    """The posts as they are, or spread evenly over stations that do not say how many units they have."""
    if stations[0].units is None:
        return {"spread evenly": (*fixed, *(unit % len(stations) for unit in range(units - len(fixed))))}
    standing = np.repeat(np.arange(len(stations)), [place.units or 0 for place in stations])
    return {"as now": (*fixed, *standing.tolist())}


def _calls_after(artifact: Artifact, path: Path, layout: str, shift: Shift) -> IncidentTable:
    """The calls of a file in the shift, that the artifact does not know. Raises DataError without any."""
    spec, cutoff_s = artifact.spec, artifact.manifest.data.cutoff_s
    table = read_past(path, parse_layout(layout), now_s=time.time())
    answered = [number for number, name in enumerate(table.categories) if name in spec.answered_by]
    inside = spec.grid.locate(table.lat_deg, table.lon_deg)[1]
    served = inside & np.isin(table.category, answered) & shift.has(table.occurred_s, spec.timezone)
    calls = table.select(served & (table.occurred_s >= cutoff_s))
    if not len(calls):
        raise DataError(
            f"{path}: no call of {', '.join(spec.answered_by)} after {day_of(cutoff_s)}, until which the model learned",
            "give a file that goes on, or train with `until`, a date before its end",
        )
    return calls


def _refuse_out(out: Path) -> None:
    """Raises SettingsError, before the work, when nothing could be written."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise not_installed(error, "evaluate") from error
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)
