"""`posts` on a town of two villages: what it prints, what it writes, and what it refuses."""

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.optimize import milp
from typer.testing import CliRunner

from incident_risk import app
from models import posts_plan
from models.artifact import champion_of
from models.posts_plan import hours_of, plans_of, usual_week
from models.training.replay import IncidentHistory, Replay
from schemas.errors import ArtifactError, DataError, SettingsError
from schemas.spec import DAY_S
from tests.harness.small_town import LAYOUT
from tests.harness.toy import (
    iso,
    publish_artifact,
    toy_artifact,
    toy_constants,
    toy_grid,
    toy_network,
    toy_spec,
    toy_table,
)

GRID = toy_grid(4, 12)
START_S, DAYS, LATER = 1_600_000_000 // DAY_S * DAY_S, 60, 60  # LATER: days that the artifact does not know
CUTOFF_S = START_S + DAYS * DAY_S


def middle(cell):
    lat, lon = GRID.centres()
    return float(lat[cell]), float(lon[cell])


def table_of(random):
    """30 calls a day in the west, 10 in the east, none between; as many thefts in the middle."""
    count = 60 * (DAYS + LATER)
    lat_deg, lon_deg = GRID.corners()
    west = random.random(count) < 0.75
    cols = np.where(west, random.uniform(0.05, 1.95, count), random.uniform(10.05, 11.95, count))
    kind = np.where(random.random(count) < 2 / 3, 0, 1)
    cols = np.where(kind == 1, random.uniform(5, 6, count), cols)
    return toy_table(
        np.sort(random.integers(START_S, START_S + (DAYS + LATER) * DAY_S, count)),
        category=kind.astype(np.int16),
        lat_deg=np.interp(random.uniform(0.05, 3.95, count), np.arange(5), lat_deg),
        lon_deg=np.interp(cols, np.arange(13), lon_deg),
        categories=("ems", "theft"),
    )


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A folder with an artifact that knows 60 days, and the calls of 120 days."""
    folder = tmp_path_factory.mktemp("town")
    spec = toy_spec(grid=GRID, region="town", categories=("ems", "theft"), answered_by=("ems",))
    table = table_of(np.random.default_rng(1))
    history = Replay(IncidentHistory.of(table, spec, CUTOFF_S)).lead_to(CUTOFF_S)
    day = {"first_day": np.array(START_S // DAY_S, float), "shrink_days": np.full(2, 0.1)}
    constants = toy_constants(spec, **day)
    publish_artifact(folder, spec=spec, constants=constants, network=toy_network(spec), history=history)
    toy_artifact(folder, toy_spec(grid=GRID, region="bare"))
    toy_artifact(folder, toy_spec(grid=GRID, region="new", answered_by=("ems",)))
    with (folder / "calls.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["when", "lat", "lon", "kind"])
        for at_s, lat, lon, kind in zip(table.occurred_s, table.lat_deg, table.lon_deg, table.category, strict=True):
            rows.writerow([iso(int(at_s)), lat, lon, table.categories[kind]])
    lines = (folder / "calls.csv").read_text().splitlines()
    known = [line for line in lines if line.startswith("when") or line < iso(CUTOFF_S)]
    (folder / "known.csv").write_text("\n".join(known), encoding="utf-8")
    write(folder, "stations.csv", "place,lat,lon,units", ("West", 12, 3), ("Centre", 18, 1), ("East", 22, 0))
    return folder


STATIONS = ("--stations", "TOWN/stations.csv")
CALLS = ("--calls", "TOWN/calls.csv", "--layout", LAYOUT)


def write(folder, name, head, *places):
    rows = [",".join(map(str, (place, *middle(cell), *more))) for place, cell, *more in places]
    (folder / name).write_text("\n".join((head, *rows)), encoding="utf-8")
    return folder / name


def run(town, *words, region="town", units=4, minutes=4):
    options = ["--region", region, "--artifacts", town, "--units", units, "--reach-minutes", minutes, *words]
    words = [str(word).replace("TOWN", str(town)) for word in ("posts", *options)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


def told(ran):
    assert ran.exit_code == 0, ran.exception or ran.output
    return ran.output


def facts(town, tmp_path, *words, **asked):
    told(run(town, *words, "--out", tmp_path, **asked))
    return json.loads((tmp_path / "posts.geojson").read_bytes())


def units_of(said, plan):
    of_plan = (place["properties"] for place in said["features"] if place["properties"]["plan"] == plan["plan"])
    return {each["place"]: each["units"] for each in of_plan}


def within(plan, area):
    return next(each["within"] for each in plan["reached"]["areas"] if each["area"] == area)


def test_it_puts_a_unit_where_the_present_stations_leave_a_village_out(town, tmp_path):
    said = facts(town, tmp_path, *STATIONS)
    now, best, anywhere = said["plans"]
    assert (now["plan"], best["plan"], anywhere["plan"]) == ("as now", "best of 3 stations", "best of any cell")
    assert within(now, "east") < 0.01
    assert units_of(said, best).keys() >= {"West", "East"}
    assert best["reached"]["within"] > now["reached"]["within"]
    assert anywhere["reached"]["by_a_free_unit"] >= best["reached"]["by_a_free_unit"] - 1e-4
    assert (best["proved_best"], now["proved_best"]) == (True, False)
    assert now["reached"]["expected"] == pytest.approx(280, rel=0.1)


def test_what_is_promised_is_kept_on_calls_that_the_model_does_not_know(town, tmp_path):
    said = facts(town, tmp_path, *STATIONS, *CALLS)
    assert "which the model does not know" in said["kept"]
    for plan in said["plans"]:
        assert plan["kept"]["within"] == pytest.approx(plan["reached"]["within"], abs=0.04)
        assert plan["kept"]["by_a_free_unit"] == pytest.approx(plan["reached"]["by_a_free_unit"], abs=0.04)
    assert "kept: within reach" in told(run(town, *STATIONS, *CALLS))


def test_it_says_first_what_the_shares_are_of_and_last_what_it_does_not_know(town):
    output = told(run(town))
    assert "calls of ems a week" in output.splitlines()[0]
    assert "8 minutes" not in output
    assert "4 minutes at 40 km/h over 1.3 x the straight line: 2.1 km" in output
    assert "units: 4, each away for 30% of the time" in output
    assert "floor: 10% of the calls of each area within reach" in output
    assert "worst area" in output
    assert output.splitlines()[-1].endswith("Places where people report less seem to need less.")
    without = told(run(town, "--floor", 0))
    assert "floor: none, as --floor 0 asks" in without
    assert "worst area" in without


def test_its_files_are_places_with_units_and_a_picture(town, tmp_path):
    places = facts(town, tmp_path, *STATIONS)["features"]
    assert sum(place["properties"]["units"] for place in places) == 3 * 4
    assert {place["geometry"]["type"] for place in places} == {"Point"}
    assert (tmp_path / "posts.png").read_bytes().startswith(b"\x89PNG")
    assert not any(word in (tmp_path / "posts.geojson").read_text() for word in ("crew", "name"))


def test_posts_that_are_now_of_another_number_of_units_say_so_and_what_lacks_its_floor_is_marked(town):
    output = told(run(town, *STATIONS, units=3))
    assert "as now, 4 units" in output
    (east,) = (line for line in output.splitlines() if line.startswith("east:"))
    assert east.count("< floor") == 1  # as now; the best posts keep it
    assert "worst area" in told(run(town, "--floor", 0))


def test_no_unit_moves_for_nothing(town, tmp_path):
    """A second unit at a place adds nothing where none is ever away: it may as well stay in the middle."""
    stations = write(tmp_path, "s.csv", "place,lat,lon,units", ("West", 12, 1), ("Centre", 18, 3), ("East", 22, 0))
    words = ("--stations", stations, "--busy", 0)
    said = facts(town, tmp_path / "out", *words)
    _, best, _ = said["plans"]
    assert units_of(said, best) == {"West": 1, "Centre": 2, "East": 1}
    assert best["proved_best"]
    (row,) = (line for line in told(run(town, *words)).splitlines() if line.startswith("units that move"))
    assert row.split()[3:5] == ["0", "1"]


@pytest.mark.parametrize("found", ["none", "some"])
def test_posts_are_not_called_proved_when_the_solver_ran_out_of_time(town, tmp_path, monkeypatch, found):
    """HiGHS then has no posts, or some, which may be the best, with a bound that nobody is known to reach."""

    def out_of_time(*asked, options, **more):
        if found == "none":
            return milp(*asked, options=options | {"time_limit": 0}, **more)
        solution = milp(*asked, options=options, **more)
        solution.update(status=1, mip_dual_bound=solution.fun - 0.01)
        return solution

    monkeypatch.setattr("models.posts_plan.milp", out_of_time)
    said = facts(town, tmp_path, *STATIONS)
    assert [plan["proved_best"] for plan in said["plans"]] == [False, False, False]
    assert "proved" not in told(run(town, *STATIONS))


def test_stations_that_keep_the_floor_are_shown_where_no_cells_were_found_that_do(town, monkeypatch):
    def plans(choice, asked):
        if choice.name == "best of any cell":
            raise DataError("no posts found", "give --floor 0.1")
        return plans_of(choice, asked)

    monkeypatch.setattr(posts_plan, "plans_of", plans)
    output = told(run(town, *STATIONS))
    assert "best of any cell: no posts found" in output
    assert "best of 3 stations: " in output
    assert isinstance(run(town).exception, DataError)


def test_units_without_a_number_are_spread_evenly_and_fixed_ones_stay(town, tmp_path):
    stations = write(tmp_path, "s.csv", "place,lat,lon", ("West", 12), ("East", 22))
    fixed = write(tmp_path, "f.csv", "place,lat,lon,units", ("Depot", 18, 2))
    said = facts(town, tmp_path / "out", "--stations", stations, "--fixed", fixed, units=5)
    units = [units_of(said, plan) for plan in said["plans"]]
    assert said["plans"][0]["plan"] == "spread evenly"
    assert units[0] == {"West": 2, "East": 1, "Depot": 2}
    assert all(each["Depot"] >= 2 for each in units)


def test_one_more_unit_beside_all_that_are_fixed_goes_to_the_village_without_any(town, tmp_path):
    fixed = write(tmp_path, "f.csv", "place,lat,lon,units", ("West", 12, 3), ("Centre", 18, 1))
    (now,) = facts(town, tmp_path / "4", "--fixed", fixed, "--floor", 0, units=4)["plans"]
    said = facts(town, tmp_path / "5", "--fixed", fixed, "--floor", 0, units=5)
    (more,) = said["plans"]
    assert units_of(said, more).items() >= {"West": 3, "Centre": 1}.items()
    assert within(now, "east") < 0.01
    assert within(more, "east") > 0.9
    assert more["reached"]["by_a_free_unit"] > now["reached"]["by_a_free_unit"] + 0.05


def test_driving_times_take_the_place_of_the_straight_line(town, tmp_path):
    stations = write(tmp_path, "s.csv", "place,lat,lon", ("West", 12), ("East", 22))
    spec = champion_of(town, "town").spec
    rows = [f"West,{cell},{minutes}" for cell, minutes in zip(spec.grid.cell_ids(), [1] * 48, strict=True)]
    rows += [f"East,{cell},{30}" for cell in spec.grid.cell_ids()[:-1]] + [f"East,{spec.grid.cell_ids()[-1]},1"]
    (tmp_path / "t.csv").write_text("\n".join(("place,cell,minutes", *rows)), encoding="utf-8")
    said = facts(town, tmp_path / "out", "--stations", stations, "--travel", tmp_path / "t.csv", units=1)
    assert [plan["plan"] for plan in said["plans"]] == ["spread evenly", "best of 2 stations"]
    assert said["plans"][1]["reached"]["within"] == pytest.approx(1)
    assert re.fullmatch("4 minutes of driving by the table of sha256 [0-9a-f]{64}", said["reach"])


def test_the_week_is_that_of_the_counts(town):
    artifact = champion_of(town, "town")
    week = usual_week(artifact.spec, artifact.constants, artifact.history())
    assert week.expected.sum() == pytest.approx(7 * 40, rel=0.1)
    west = GRID.locate(*np.array([middle(cell) for cell in (0, 1, 12, 13, 24, 25, 36, 37)]).T)[0]
    assert week.expected[west].sum() / week.expected.sum() == pytest.approx(0.75, abs=0.06)


def test_a_shift_has_its_hours_of_the_local_day_alone(town):
    artifact = champion_of(town, "town")
    by_hour = np.random.default_rng(4).uniform(0.2, 3, (2, 168))
    constants = replace(artifact.constants, profile=by_hour / by_hour.mean(axis=1, keepdims=True))

    def expected(words):
        return usual_week(artifact.spec, constants, artifact.history(), hours_of(words)).expected

    night = [hour for hour in range(168) if hour % 24 >= 19 or hour % 24 < 7]
    share = by_hour[0, night].sum() / by_hour[0].sum()
    assert expected("19-07").sum() / expected("00-24").sum() == pytest.approx(share)
    assert expected("19-07") + expected("07-19") == pytest.approx(expected("00-24"))


def test_of_a_shift_the_calls_of_its_hours_are_kept(town, tmp_path):
    said = facts(town, tmp_path, "--shift", "22-06", *CALLS)
    later = table_of(np.random.default_rng(1))
    later = later.select((later.category == 0) & (later.occurred_s >= CUTOFF_S))
    count = sum(datetime.fromtimestamp(at_s, UTC).hour in (22, 23, *range(6)) for at_s in later.occurred_s.tolist())
    assert said["kept"].startswith(f"of {count} calls")
    assert said["region"].endswith("calls of ems a week, from 22 to 06 h")


@pytest.mark.parametrize(
    ("words", "asked", "kind", "said"),
    [
        ((), {"region": "bare"}, ArtifactError, "bare has no posts: its spec names no category that standing units"),
        ((), {"region": "new"}, DataError, "no call is on record"),
        ((), {"units": 201}, DataError, "201 units: ask for 1 to 200"),
        (("--busy", 1.2), {}, DataError, "a busy share of 1.2"),
        ((), {"minutes": 0.5}, DataError, "less than half a cell of 1000 m: give more minutes"),
        (("--shift", "07-07"), {}, SettingsError, "--shift 07-07 is no part of a day"),
        (("--shift", "7 to 19"), {}, SettingsError, "--shift 7 to 19 is no part of a day"),
        (("--shift", "24-07"), {}, SettingsError, "--shift 24-07 is no part of a day"),
        (("--travel", "t.csv"), {}, SettingsError, "--travel without --stations"),
        (("--floor", 0.9), {"units": 1}, DataError, "where 1 unit has 90% of the calls of each area within reach"),
        ((*STATIONS, "--floor", 0.6), {}, DataError, "no place reaches so much of north-west.*--areas without"),
        (("--calls", "TOWN/known.csv", "--layout", LAYOUT), {}, DataError, "no call of ems after"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_remedy(town, words, asked, kind, said):
    ran = run(town, *words, **asked)
    assert isinstance(ran.exception, kind), ran.output
    assert re.search(said, str(ran.exception))
    assert ran.exception.remedy


def test_a_floor_that_cannot_be_kept_is_refused_with_the_best_that_can(town):
    ran = run(town, "--floor", 0.8, units=2, minutes=3)
    assert isinstance(ran.exception, DataError)
    best = float(ran.exception.remedy.split()[2].strip(","))
    assert 0 < best < 0.8
    told(run(town, "--floor", best, units=2, minutes=3))
    assert isinstance(run(town, "--floor", best + 0.01, units=2, minutes=3).exception, DataError)
