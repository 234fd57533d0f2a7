"""What readiness gains, simulated with busy units on real calls, and what it costs.

All rows have the same calls, times and solver; how units answer: fleet.py.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.fleet import DRIVE, CityOfCalls, simulate
from models.evaluation.published import TASKS
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.measures.paired import BLOCK_DAYS, difference_of
from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.choose import choose
from models.readiness.demand import usual_week
from models.readiness.exact import solve
from models.readiness.question import BUSY, Question
from models.readiness.reach import Drive, by_straight_line, metres_of
from models.training.fit_baseline import Blocks, constants_until
from models.training.fit_baseline import choose as choose_baseline
from models.training.region_spec import spec_for
from models.training.replay import IncidentHistory, Replay
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S

UNITS = (20, 30)
DRIVES = (DRIVE, Drive(minutes=8, speed_kmh=48.75), Drive(minutes=8, speed_kmh=60))  # to 4.1, 5.0 and 6.2 km
SERVICE_MINUTES = (40, 60)  # means, with the way to a hospital
OBJECTIVES = "posts by objective, calls in time in %"
FLOORS, PROMISES = "a floor for 10 units, calls within reach in %", "promised and kept, calls within reach in %"
PROOFS = "60 stations: below HiGHS' bound"
CITIES = {"montgomery": (2000.0, ("ems",)), "chicago": (1000.0, ("battery",))}
Say = Callable[[str], None]


def city_of(name: str) -> CityOfCalls:
    """Raises DataError where the file is not there."""
    cell_m, answered = CITIES[name]
    path = next(path for task, (_, path) in TASKS.items() if task.startswith(name))
    if not path.exists():
        raise DataError(f"{path} is not here", "put the file there: docs/reference/incident-files.md says which it is")
    table = read_incidents(path, LAYOUTS[name])
    cutoff_s = int(table.occurred_s[-1]) // DAY_S * DAY_S
    spec = spec_for(table, region=name, cell_m=cell_m, cutoff_s=cutoff_s)
    spec = msgspec.structs.replace(spec, answered_by=answered)
    past = IncidentHistory.of(table, spec, cutoff_s)
    blocks = Blocks.of(past.first_s, cutoff_s)
    constants = constants_until(past, blocks.test_s, choose_baseline(past, blocks, lambda share: None))
    demand = usual_week(spec, constants, Replay(past).lead_to(blocks.test_s))
    inside = spec.grid.locate(table.lat_deg, table.lon_deg)[1]
    wanted = np.isin(table.category, [spec.categories.index(each) for each in spec.answered_by])
    calls = table.select(inside & wanted & (table.occurred_s >= blocks.test_s) & (table.occurred_s < cutoff_s))
    return CityOfCalls(
        grid=spec.grid,
        demand=demand,
        at_s=calls.occurred_s,
        call_m=metres_of(spec.grid, calls.lat_deg, calls.lon_deg),
    )


def objectives(city: CityOfCalls, say: Say) -> list[dict[str, Any]]:
    """MEXCLP's posts against MCLP's, simulated: reached in time, and the difference in points with its interval."""
    places_m, rows = city.places_m(city.demand.cells), []
    for drive, units, minutes in product(DRIVES, UNITS, SERVICE_MINUTES):
        done, reach = {}, city.reach(city.demand.cells, drive)
        for busy in (0.0, BUSY):
            question = Question(expected=city.demand.expected, reach=reach, units=units, busy=busy)
            posts = choose(question, np.random.default_rng(0))
            done[busy] = simulate(city, places_m, posts, minutes, drive=drive)
        say(f"{units} units, {drive.speed_kmh:g} km/h, calls of {minutes} minutes, both objectives")
        gain = _points(city, done[BUSY].in_time, done[0.0].in_time)
        shares = {name: _percent(done[busy].in_time) for name, busy in (("mclp", 0.0), ("mexclp", BUSY))}
        setting = {"km": round(drive.metres / 1000, 1), "units": units, "minutes_a_call": minutes}
        rows.append({**setting, "busy": round(float(done[BUSY].busy), 2), **shares, "gain": gain})
    return rows


def floors(city: CityOfCalls, say: Say) -> list[dict[str, Any]]:
    """What a floor costs, on the calls of the last 15 % of the time, for the nine parts of the grid, by objective."""
    demand, parts = city.demand, parts_of(city.grid)
    areas = with_enough(parts, demand.expected, demand.has_history, least=LEAST_PART)
    cells, rows = city.demand.cells, []
    reach, places_m = city.reach(cells), city.places_m(cells)
    at = np.floor(city.call_m / city.grid.cell_m).astype(int) @ (city.grid.cols, 1)
    for busy, floor in product((0.0, BUSY), (0.0, 0.1, 0.3)):
        question = Question(expected=demand.expected, reach=reach, units=10, busy=busy, areas=areas, floor=floor)
        posts = choose(question, np.random.default_rng(0), restarts=5)
        kept = city.kept(places_m[list(posts)], DRIVE)
        of_parts = {name: float(kept[np.isin(at, parts[name])].mean()) for name in areas}
        worst = min(of_parts, key=lambda name: of_parts[name])
        nearest = np.min([np.hypot(*(city.call_m - post).T) for post in places_m[list(posts)]], axis=0)
        rows.append(
            {
                "busy": busy,
                "floor": floor,
                "is_kept": question.lacking(posts) == 0,
                "promised": round(100 * question.within(posts), 1),
                "kept": _percent(kept),
                "worst": f"{worst} {100 * of_parts[worst]:.0f} %",
                "worst_kept": round(100 * of_parts[worst], 1),
                "mean_km": round(float(nearest.mean()) / 1000, 2),
            }
        )
        say(f"a floor of {floor:.0%}, each unit away for {busy:.0%} of the time")
    return rows


def promises(city: CityOfCalls, say: Say) -> list[dict[str, Any]]:
    """Promised and kept, by how far a unit gets: with points in each cell, and with its middle alone."""
    cells, rows = city.demand.cells, []
    places_m = city.places_m(cells)
    for km in (2, 3, 5):
        drive = Drive.of_km(km)
        reach = city.reach(cells, drive)
        for units in (5, 10, 20):
            question = Question(expected=city.demand.expected, reach=reach, units=units, busy=0.0)
            posts = choose(question, np.random.default_rng(0), restarts=3)
            promised, kept = question.within(posts), float(city.kept(places_m[list(posts)], drive).mean())
            shares = {"promised": promised, "kept": kept, "difference": promised - kept}
            rows.append({"km": km, "units": units, **{name: round(100 * each, 1) for name, each in shares.items()}})
        say(f"promised and kept at {km} km")
    return rows


def against_proof(city: CityOfCalls, name: str, say: Say) -> list[dict[str, Any]]:
    """Posts at 60 stations, drawn where calls are, against the bound that HiGHS proves."""
    random, rows = np.random.default_rng(1), []
    weight = city.demand.expected[city.demand.cells]
    stations = random.choice(city.demand.cells, 60, replace=False, p=weight / weight.sum())
    reach = city.reach(np.sort(stations))
    for units in (5, 10, 20):
        question = Question(expected=city.demand.expected, reach=reach, units=units)
        began = time.process_time()
        posts = choose(question, np.random.default_rng(0))
        chosen_s = time.process_time() - began
        proved = solve(question, seconds=60)
        proved_s = time.process_time() - began - chosen_s
        below = round(max(0.0, 100 * (1 - question.served(posts) / proved.bound)), 2)
        times = {"choose_s": round(chosen_s, 2), "highs_s": round(proved_s, 2)}
        rows.append({"city": name, "units": units, "below_percent": below, "proved": proved.is_best, **times})
        say(f"{name}: {units} units at 60 stations, against HiGHS")
    return rows


def cost(say: Say) -> list[dict[str, Any]]:
    """Seconds of a core at 2,304 cells and 16 points in each, 20 units, a made-up city."""
    grid = Grid(south_deg=41.0, west_deg=-88.0, cell_m=1000.0, rows=48, cols=48)
    random, rows = np.random.default_rng(2), []
    expected, every = random.gamma(0.3, 1.0, grid.cells), np.arange(grid.cells)
    lat, lon = grid.centres()
    drive = Drive(minutes=4, speed_kmh=39)  # 2 km: 16 points a cell
    for name, cells in (("60 stations", np.sort(random.choice(every, 60, replace=False))), ("any cell", every)):
        began = time.process_time()
        reach = by_straight_line(grid, metres_of(grid, lat[cells], lon[cells]), drive)
        reach_s = time.process_time() - began
        question = Question(expected=expected, reach=reach, units=20)
        for restarts in (0, 20) if len(cells) < 100 else (0, 3):
            began = time.process_time()
            posts = choose(question, np.random.default_rng(0), restarts=restarts)
            seconds = {"reach_s": round(reach_s, 3), "choose_s": round(time.process_time() - began, 3)}
            row = {"places": name, "restarts": restarts, **seconds}
            rows.append({**row, "points": reach.per_cell, "served": round(question.served(posts), 4)})
        say(f"cost of {name}")
    return rows


def _points(city: CityOfCalls, one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> list[float]:
    """How many points more of the calls, and the 95 % interval by blocks of days."""
    _, block = np.unique(city.at_s // (BLOCK_DAYS * DAY_S), return_inverse=True)
    more = difference_of((one.astype(np.float64) - other)[None], block, np.random.default_rng(0))
    return [round(100 * float(part), 2) for part in (more.mean, more.low, more.high)]


def _percent(hits: npt.NDArray[np.bool_]) -> float:
    return round(100 * float(hits.mean()), 1)


def table_of(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        shown = (
            "{:+.1f} ({:+.1f}, {:+.1f})".format(*value) if isinstance(value, list) else value for value in row.values()
        )
        table.add_row(*map(str, shown))
    return table


def measure(say: Say, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """The tables by their titles; of the cities whose files are here."""
    tables = {"cost at 2,304 cells, seconds of CPU": cost(say)}
    proofs: list[dict[str, Any]] = []
    for name in CITIES if not quick else ("montgomery",):
        try:
            city = city_of(name)
        except DataError as error:
            say(f"{name} is left out: {error}")
            continue
        if quick:
            city = replace(city, at_s=city.at_s[:500], call_m=city.call_m[:500])
        proofs += against_proof(city, name, say)
        if name == "montgomery":
            tables |= {
                OBJECTIVES: objectives(city, say),
                FLOORS: floors(city, say),
                PROMISES: promises(city, say),
            }
    tables |= {PROOFS: proofs} if proofs else {}
    return tables | ({"what is to hold": list(goals(tables))} if OBJECTIVES in tables else {})


def goals(tables: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The figures that these tables are to reach. Of several rows the worst; of the objectives that in which units are
    away for about the share that is assumed, and 20 of them reach nearly all."""
    wanted = {"km": 5.0, "units": 20, "minutes_a_call": 40}
    gain = next(row["gain"][0] for row in tables[OBJECTIVES] if wanted.items() <= row.items())
    without, with_floor = (row for row in tables[FLOORS] if row["busy"] == 0 and row["floor"] < 0.2)
    yield _goal("MEXCLP over MCLP, 20 units, 5 km, calls of 40 minutes, points", gain, least=8)
    yield _goal("a floor of 10 % costs, points", round(without["kept"] - with_floor["kept"], 1), most=2)
    yield _goal("and the worst part keeps, %", with_floor["worst_kept"], least=30)
    yield _goal("promised less kept, points", max(abs(row["difference"]) for row in tables[PROMISES]), most=2.5)
    yield _goal("below HiGHS' bound, %", max(row["below_percent"] for row in tables[PROOFS]), most=0.5)


def _goal(figure: str, measured: float, *, least: float = -np.inf, most: float = np.inf) -> dict[str, Any]:
    goal = f"at most {most:g}" if np.isinf(least) else f"at least {least:g}"
    return {"figure": figure, "goal": goal, "measured": measured, "held": bool(least <= measured <= most)}
