"""`python -m models posts`: the best fixed posts of a region's units, beside those that there are."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.options import DATA_HELP, Artifacts, FileLayout, Region
from models.cli.posts_table import day_of, print_plans
from models.files.data_report import read_past
from models.files.incident_files import IncidentTable
from models.files.layouts import parse_layout
from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.demand import usual_week
from models.readiness.places import PLACES, TIMES, Places, read_places, read_times
from models.readiness.plan import Asked, Candidates, Plan
from models.readiness.question import BUSY, FLOOR
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
    reach_minutes: Annotated[float, typer.Option(help="Minutes of driving in which a call is to be reached")] = 8,
    speed: Annotated[float, typer.Option(help=_DRIVE_HELP)] = 40,
    travel: Annotated[Path | None, typer.Option(help=f"In place of a speed, {TIMES}")] = None,
    stations: Annotated[Path | None, typer.Option(help=f"Places of units, else any cell: {PLACES}")] = None,
    fixed: Annotated[Path | None, typer.Option(help="Units that stay where they are: a file as --stations")] = None,
    busy: Annotated[float, typer.Option(help="Share of the time in which a unit is away on a call")] = BUSY,
    areas: Annotated[Path | None, typer.Option(help="GeoJSON of areas with a `name`, else parts by compass")] = None,
    floor: Annotated[float, typer.Option(help="Share of each area's calls to have within reach; 0: none")] = FLOOR,
    no_floor_in: Annotated[
        list[str] | None, typer.Option(help="An area that may be left without; several times")
    ] = None,
    calls: Annotated[Path | None, typer.Option(help=f"To see what is kept of the promise. {DATA_HELP}")] = None,
    layout: FileLayout = "",
    out: Annotated[Path | None, typer.Option(help="Folder for posts.json, posts.geojson and posts.png")] = None,
) -> None:
    """Show where units should stand in a usual week, and which share of the calls they then have within reach.

    Only for categories that the region's spec names as answered by standing units. Roads, hospitals and priorities are
    not known to it.
    """
    write_files = _writer(out) if out else None
    if not (0 < reach_minutes <= 240 and 0 < speed <= 300):
        raise SettingsError(
            f"{reach_minutes:g} minutes at {speed:g} km/h", "give minutes up to 240, and km/h up to 300"
        )
    if travel and not stations:
        raise SettingsError("--travel without --stations", "name the places of the table, with where they are")
    artifact = champion_of(artifacts, region)
    grid = artifact.spec.grid
    demand = usual_week(artifact.spec, artifact.constants, artifact.history())
    named = cells_of_areas(read_areas(areas, "name"), [grid])[0] if areas else parts_of(grid)
    counted = with_enough(named, demand.expected, demand.has_history, least=0 if areas else LEAST_PART)
    if unknown := set(no_floor_in or ()) - set(named):
        raise SettingsError(f"--no-floor-in {min(unknown)}", f"name one of {', '.join(named)}")
    asked = Asked(
        artifact=artifact,
        demand=demand,
        drive=Drive(minutes=reach_minutes, speed_kmh=speed),
        units=units,
        busy=busy,
        floor=floor,
        areas=named,
        counted=counted,
        floored=[name for name in counted if name not in (no_floor_in or ())],
    )
    later = _calls_after(artifact, calls, layout) if calls else None
    staying = read_places(fixed, grid) if fixed else None
    candidates = [_of_stations(asked, read_places(stations, grid), staying, travel)] if stations else []
    if not travel:
        candidates.append(_of_any_cell(asked, staying))
    plans = [plan for choice in candidates for plan in choice.plans(asked, later)]
    console = Console(highlight=False)
    print_plans(plans, asked, later, console)
    if out and write_files:
        write_files(out, plans, asked, later)
        console.print(f"files: {out}", soft_wrap=True)


def _of_stations(asked: Asked, stations: Places, fixed: Places | None, travel: Path | None) -> Candidates:
    places, staying = stations.and_fixed(fixed)
    grid, drive = asked.grid, asked.drive
    now = (*staying, *stations.standing(asked.units - len(staying)))
    said = "as now" if stations.units is not None else "spread evenly"
    digest = ""
    if travel:
        answered = np.flatnonzero(asked.demand.has_history).astype(np.int32)
        reach, digest = read_times(travel, places, grid, minutes=drive.minutes, answered=answered)
    else:
        reach = by_straight_line(grid, places.metres(grid), drive)
    return Candidates(
        name=f"best of {len(stations)} stations",
        places=places,
        reach=reach,
        fixed=staying,
        now={said: now},
        times_sha256=digest,
    )


def _of_any_cell(asked: Asked, fixed: Places | None) -> Candidates:
    cells = np.flatnonzero(asked.demand.has_history).astype(np.int32)
    places, staying = Places.of_cells(asked.grid, cells).and_fixed(fixed)
    reach = by_straight_line(asked.grid, places.metres(asked.grid), asked.drive)
    return Candidates(name="best of any cell", places=places, reach=reach, fixed=staying)


def _calls_after(artifact: Artifact, path: Path, layout: str) -> IncidentTable:
    """The calls of a file that the artifact does not know. Raises DataError without any."""
    spec, cutoff_s = artifact.spec, artifact.manifest.data.cutoff_s
    table = read_past(path, parse_layout(layout), now_s=time.time())
    answered = [number for number, name in enumerate(table.categories) if name in spec.answered_by]
    inside = spec.grid.locate(table.lat_deg, table.lon_deg)[1]
    calls = table.select(inside & np.isin(table.category, answered) & (table.occurred_s >= cutoff_s))
    if not len(calls):
        raise DataError(
            f"{path}: no call of {', '.join(spec.answered_by)} after {day_of(cutoff_s)}, until which the model learned",
            "give a file that goes on, or train with `until`, a date before its end",
        )
    return calls


def _writer(out: Path) -> "Callable[[Path, Sequence[Plan], Asked, IncidentTable | None], None]":
    """What writes the files. Raises SettingsError, before the work, when it could not."""
    try:
        from models.cli.posts_files import write_plans
    except ModuleNotFoundError as error:
        raise not_installed(error, "evaluate") from error
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)
    return write_plans
