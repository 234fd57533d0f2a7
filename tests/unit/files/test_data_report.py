"""What is said of an incident file before it is learned from: its rows, its places, its times, and where it ends."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from models.files.data_report import data_warnings, place_warnings, read_past, refuse_one_cell, row_counts
from models.files.incident_files import cutoff_of
from models.files.layouts import parse_layout
from models.training.region_tasks import RegionTask
from models.training.train_region import spec_for
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S
from tests.harness.toy import toy_table

GRID = Grid(south_deg=41.0, west_deg=-88.0, cell_m=1000, rows=3, cols=3)


def table_of(lat, category=None, **counts):
    """One incident an hour."""
    n = len(lat)
    return toy_table(
        np.arange(n) * 3600 + 60,
        lat_deg=np.array(lat, np.float64),
        lon_deg=np.full(n, -87.999),
        category=np.zeros(n, np.int16) if category is None else np.array(category, np.int16),
        categories=("ems", "fire", "traffic"),
        **counts,
    )


def even_table(**changes):
    """As many of each category: nothing is thin."""
    return replace(table_of(np.full(300, 41.001), [0, 1, 2] * 100), **changes)


def test_every_row_of_the_file_is_accounted_for():
    table = table_of(
        [41.001, 41.001, 45.0],
        skipped={"null_island": 4, "bad_time": 2},
        repeated_calls=5,
        exact_duplicates=1,
        midnights=1,
    )
    counts = {line.what: (line.rows, line.decision) for line in row_counts(table, GRID)}
    assert counts == {
        "rows in the file": (14, "read"),
        "bad time": (2, "left out"),
        "null island": (4, "left out"),
        "repeated calls": (5, "left out"),
        "outside the grid": (1, "left out"),
        "to be counted": (2, "kept"),
        "exact duplicates": (1, "kept"),
        "times at midnight": (1, "kept"),
    }


@pytest.fixture
def file_of(tmp_path):
    """file_of(dates): a CSV with one incident on each."""

    def write(*dates):
        path = tmp_path / "town.csv"
        path.write_text("when,lat,lon,kind\n" + "".join(f"{date}T12:00,41,-87.999,ems\n" for date in dates))
        return path

    return write


LAYOUT = parse_layout("time=when,lat=lat,lon=lon,category=kind,timezone=UTC")
NOW_S = 1_767_225_600  # 2026-01-01


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        (["2025-03-01", "1985-03-02", "2025-03-03"], "from 1985-03-02 to 2025-03-01; 1 of 3 stand apart (row 2)"),
        (["2020-01-01", "2025-03-02", "2025-03-03", "2020-01-02", "2025-03-01"], "2 of 5 stand apart (row 1, 4)"),
        (["2023-01-01", "2024-02-06"], "1 of 2 stand apart (row 1)"),  # 401 days
    ],
)
def test_incidents_that_stand_years_apart_are_named_and_refused(file_of, dates, said):
    with pytest.raises(DataError, match=re.escape(said)):
        read_past(file_of(*dates), LAYOUT, now_s=NOW_S)


def test_a_gap_of_four_hundred_days_is_no_fault_and_the_future_is_left_out(file_of):
    table = read_past(file_of("2023-01-01", "2024-02-05", "2090-01-01", "2026-01-01"), LAYOUT, now_s=NOW_S)
    assert len(table) == 2
    assert table.skipped == {"in_the_future": 2}


def test_incidents_of_one_cell_are_refused_whatever_comes_later():
    table = table_of([41.001, 41.001, 41.001, 41.02])
    with pytest.raises(DataError, match="all 3 incidents to train on lie in one cell of 1000 m"):
        refuse_one_cell(table, GRID, until_s=3 * 3600)
    refuse_one_cell(table, GRID, until_s=4 * 3600)
    with pytest.raises(DataError, match="all 0 incidents"):
        refuse_one_cell(table_of([50.0]), GRID, until_s=3600)


def test_categories_that_are_too_thin_in_training_are_named():
    table = table_of(np.full(301, 41.001), [0] * 100 + [1] * 99 + [2] * 102)
    (warning,) = data_warnings(table, 298 * 3600, step_s=3600)
    assert "fire (99), traffic (99)" in warning
    assert "ems" not in warning
    (warning,) = data_warnings(table, 301 * 3600, step_s=3600)
    assert warning.startswith("fewer than 100 incidents to train on: fire (99);")
    assert data_warnings(even_table(), 300 * 3600, step_s=3600) == ()


@pytest.mark.parametrize(("midnights", "step_s", "is_told"), [(61, 3600, True), (60, 3600, False), (300, DAY_S, False)])
def test_a_file_that_has_dates_only_is_doubted_for_hours(midnights, step_s, is_told):
    local_s = np.arange(300) * DAY_S + np.where(np.arange(300) < midnights, 0, 12 * 3600 + 60)
    table = even_table(timezone="America/Phoenix", occurred_s=local_s + 7 * 3600, midnights=9999)  # most are elsewhere
    warnings = data_warnings(table, 301 * DAY_S, step_s=step_s)
    assert [warning.partition(" are ")[0] for warning in warnings] == [f"{midnights} of 300 times"] * is_told


def test_dates_that_are_intervals_of_a_day_are_not_doubted(tmp_path):
    path = tmp_path / "days.csv"
    dates = [f"2025-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29)]
    path.write_text(
        "from,to,lat,lon,kind\n" + "".join(f"{day} 00:00:00,{day} 23:59:59,41.001,-87.999,ems\n" for day in dates)
    )
    layout = parse_layout("start=from,end=to,lat=lat,lon=lon,category=kind,timezone=America/Chicago")
    table = read_past(path, layout, now_s=NOW_S)
    assert table.midnights == len(dates)
    assert data_warnings(table, int(table.occurred_s[-1]), step_s=3600) == ()


def test_times_that_nearly_all_stand_on_the_full_hour_are_said():
    table = even_table(occurred_s=np.arange(300) * 3600)
    (warning,) = data_warnings(table, 300 * 3600, step_s=3600)
    assert warning.startswith("300 of 300 times stand on the full hour")
    assert data_warnings(table, 300 * 3600, step_s=DAY_S) == ()
    assert data_warnings(replace(table, is_of_counts=True), 300 * 3600, step_s=3600) == ()
    some = replace(table, occurred_s=table.occurred_s + np.arange(300) % 5 // 4 * 60)
    assert data_warnings(some, 300 * 3600, step_s=3600) == ()


def town(wrong=0, lat=40.3, lon=-87.7):
    """A town of 40 x 40 km for 100 days; so many of its incidents stand at one other place."""
    random, n = np.random.default_rng(4), 20_000
    lat_deg, lon_deg = 41.6 + 0.4 * random.random(n), -87.9 + 0.4 * random.random(n)
    lat_deg[:wrong], lon_deg[:wrong] = lat, lon
    order = random.permutation(n)
    return toy_table(
        np.arange(n) * (100 * DAY_S // n),
        lat_deg=lat_deg[order],
        lon_deg=lon_deg[order],
        category=np.zeros(n, np.int16),
        categories=("ems",),
    )


def grid_of(table):
    return Grid.around(table.lat_deg, table.lon_deg, cell_m=1000)


def test_a_town_without_wrong_places_is_not_warned_of():
    for table in (town(), town(5)):  # 0.025 % are left out by the trim
        assert place_warnings(table, grid_of(table)) == ()


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_two_in_a_thousand_at_one_place_are_said_with_the_empty_band_that_they_make(axis):
    lat, lon = (40.3, -87.7) if axis == "rows" else (41.8, -86.0)
    table = town(40, lat, lon)
    grid = grid_of(table)
    assert grid.cells > 3 * grid_of(town()).cells
    band, place = place_warnings(table, grid)
    assert re.match(rf"1\d\d of the grid's {getattr(grid, 'rows' if axis == 'rows' else 'cols')} {axis} lie", band)
    assert place.startswith(f"40 of 20,000 incidents are at one place far from the others, {lat:.5f}, {lon:.5f}")
    assert all("--bounds" in warning for warning in (band, place))


def test_far_places_that_hold_few_incidents_each_are_no_default_of_a_geocoder():
    table = town(40)
    table = replace(table, lon_deg=table.lon_deg + np.where(table.lat_deg < 41, np.arange(20_000) * 1e-5, 0))
    (band,) = place_warnings(table, grid_of(table))
    assert "rows" in band


def test_bounds_leave_wrong_places_out_of_the_grid():
    task = RegionTask(data="a.csv", region="made", bounds="41.5,-88,42.1,-87.4")
    specs = [
        spec_for(table, region="made", cell_m=1000, cutoff_s=99 * DAY_S, bounds=task.edges)
        for table in (town(), town(40))
    ]
    assert abs(specs[1].grid.rows - specs[0].grid.rows) <= 1
    assert place_warnings(town(40), specs[1].grid) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(({"bounds": bounds}, "hold no place") for bounds in ("41", "41,-87,40,-86", "a,b,c,d", "nan,nan,nan,nan")),
        *(
            ({"bounds": "41,-88,42,-87", **kept}, "leave out one of the two")
            for kept in ({"like": "folder"}, {"data": "archive:days"})
        ),
    ],
)
def test_bounds_that_hold_no_place_or_stand_beside_a_grid_that_is_kept_are_refused(given, said):
    with pytest.raises(DataError, match=said):
        RegionTask(**{"data": "a.csv", "region": "made", **given})


FIRST_S = int(datetime(2025, 1, 1, 5, tzinfo=UTC).timestamp())  # midnight in New York


def incidents(*, days, gap_s):
    at_s = np.arange(FIRST_S, FIRST_S + days * DAY_S, gap_s)
    return toy_table(at_s, timezone="America/New_York", categories=("fire",))


def test_a_date_is_local_midnight_and_none_the_end_of_the_file():
    table = incidents(days=60, gap_s=3600)
    assert cutoff_of("2025-02-01", table) == FIRST_S + 31 * DAY_S
    assert cutoff_of("none", table) == FIRST_S + 60 * DAY_S - 3600 + 1
    with pytest.raises(DataError, match=r"--until 1\.2\.25: give a date as YYYY-MM-DD, or none"):
        cutoff_of("1.2.25", table)


@pytest.mark.parametrize(
    ("gap_s", "until", "is_taken"),
    [
        (3600, "2025-03-02", True),  # the midnight at which the file ends
        (3600, "2025-03-03", False),
        (3600, "2030-01-01", False),
        (DAY_S, "2025-03-10", True),  # a quiet place may be silent for longer
        (DAY_S, "2025-03-13", False),
    ],
)
def test_a_date_after_the_files_end_is_refused_since_silence_would_count(gap_s, until, is_taken):
    table = incidents(days=60, gap_s=gap_s)
    if is_taken:
        assert cutoff_of(until, table) > table.occurred_s[-1]
    else:
        with pytest.raises(DataError, match=f"--until {until} lies .* days after the file's last incident, 2025-03-01"):
            cutoff_of(until, table)
