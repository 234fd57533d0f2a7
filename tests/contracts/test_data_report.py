from types import MappingProxyType

import numpy as np
import pytest

from models.data_report import refuse_one_cell, rows_seen, thin_categories
from models.incident_files import IncidentTable
from schemas.errors import DataError
from schemas.grid import Grid

GRID = Grid(south_deg=41.0, west_deg=-88.0, cell_m=1000, rows=3, cols=3)


def table_of(lat, category=None, **counts):
    """One incident an hour."""
    n = len(lat)
    fields = {"skipped": {}, "exact_duplicates": 0, "ambiguous_times": 0, "nonexistent_times": 0, **counts}
    return IncidentTable(
        layout="town",
        timezone="UTC",
        occurred_s=np.arange(n) * 3600,
        lat_deg=np.array(lat, np.float64),
        lon_deg=np.full(n, -87.999),
        category=np.zeros(n, np.int16) if category is None else np.array(category, np.int16),
        row=np.arange(1, n + 1),
        categories=("ems", "fire", "traffic"),
        **{**fields, "skipped": MappingProxyType(fields["skipped"])},
    )


def test_every_row_of_the_file_is_accounted_for():
    table = table_of(
        [41.001, 41.001, 45.0],
        skipped={"null_island": 4, "bad_time": 2},
        repeated_calls=5,
        exact_duplicates=1,
        midnights=1,
    )
    seen = {line.what: (line.rows, line.decision) for line in rows_seen(table, GRID)}
    assert seen == {
        "rows in the file": (14, "read"),
        "bad time": (2, "left out"),
        "null island": (4, "left out"),
        "repeated calls": (5, "left out"),
        "outside the grid": (1, "left out"),
        "to be counted": (2, "kept"),
        "exact duplicates": (1, "kept"),
        "midnights": (1, "kept"),
    }


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
    warning = thin_categories(table, until_s=298 * 3600)
    assert "fire (99), traffic (99)" in warning
    assert "ems" not in warning
    assert thin_categories(table, until_s=301 * 3600).startswith("fewer than 100 incidents to train on: fire (99);")


def test_enough_of_every_category_gives_no_warning():
    assert thin_categories(table_of(np.full(300, 41.001), [0, 1, 2] * 100), until_s=300 * 3600) is None
