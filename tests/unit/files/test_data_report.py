import re
from dataclasses import replace

import numpy as np
import pytest

from models.files.data_report import data_warnings, read_past, refuse_one_cell, row_counts
from models.files.layouts import parse_layout
from schemas.errors import DataError
from schemas.grid import Grid
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


def test_a_grid_without_any_incident_is_refused():
    with pytest.raises(DataError, match="all 0 incidents"):
        refuse_one_cell(table_of([50.0]), GRID, until_s=3600)


def test_categories_that_are_too_thin_in_training_are_named():
    table = table_of(np.full(301, 41.001), [0] * 100 + [1] * 99 + [2] * 102)
    (warning,) = data_warnings(table, 298 * 3600, step_s=3600)
    assert "fire (99), traffic (99)" in warning
    assert "ems" not in warning
    (warning,) = data_warnings(table, 301 * 3600, step_s=3600)
    assert warning.startswith("fewer than 100 incidents to train on: fire (99);")


def test_enough_of_every_category_gives_no_warning():
    assert data_warnings(table_of(np.full(300, 41.001), [0, 1, 2] * 100), 300 * 3600, step_s=3600) == ()


@pytest.mark.parametrize(
    ("midnights", "step_s", "is_told"), [(61, 3600, True), (60, 3600, False), (300, 86_400, False)]
)
def test_a_file_that_has_dates_only_is_doubted_for_hours(midnights, step_s, is_told):
    local_s = np.arange(300) * 86_400 + np.where(np.arange(300) < midnights, 0, 12 * 3600 + 60)
    table = table_of(np.full(300, 41.001), [0, 1, 2] * 100, midnights=9999)  # of the whole file, most of it elsewhere
    table = replace(table, timezone="America/Phoenix", occurred_s=local_s + 7 * 3600)
    warnings = data_warnings(table, 301 * 86_400, step_s=step_s)
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
    table = replace(table_of(np.full(300, 41.001), [0, 1, 2] * 100), occurred_s=np.arange(300) * 3600)
    (warning,) = data_warnings(table, 300 * 3600, step_s=3600)
    assert warning.startswith("300 of 300 times stand on the full hour")
    assert data_warnings(table, 300 * 3600, step_s=86_400) == ()
    assert data_warnings(replace(table, is_of_counts=True), 300 * 3600, step_s=3600) == ()
    some = replace(table, occurred_s=table.occurred_s + np.arange(300) % 5 // 4 * 60)
    assert data_warnings(some, 300 * 3600, step_s=3600) == ()
