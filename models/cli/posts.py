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
from models.cli.options import DATA_HELP, Artifacts, FileLayout, MasksFile, Region, refuse_unwritable
from models.cli.posts_report import ALL_DAY, day_of, facts_of, print_plans, write_plans
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
    hours_of,
    metres_of_places,
    places_of,
    plans_of,
    read_places,
    read_times,
    usual_week,
)
from models.readiness import (
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
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import DataError, SettingsError, needs_extra
from schemas.masks import Masks, read_masks, refuse_other_masks

_DRIVE_HELP = f"Mean speed, km/h, over {DETOUR} times the straight line"


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
    ] = ALL_DAY,
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
        choices.append(replace(choice, now=_now(places, choice.question)))
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


def _now(stations: list[Place], question: Question) -> dict[str, Posts]:
    """The posts as they are, or spread evenly over stations that do not say how many units they have."""
    if stations[0].units is not None:
        return {"as now": (*question.fixed, *_standing(stations, first=0, usual=0))}
    free = question.units - len(question.fixed)
    return {"spread evenly": (*question.fixed, *(unit % len(stations) for unit in range(free)))}


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
