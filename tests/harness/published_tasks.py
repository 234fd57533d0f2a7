"""The tasks whose figures others have published: two files used for development, in days and in hours.

chicago-3km-daily is the published benchmark, rebuilt from the csv. Source: the ST-HSL task (Li et al., ICDE 2022). Its
script skips a header that the file does not have, and measures degrees as 111 km north and 84 km east, so its cells are
no squares and no grid of `schemas.grid` has the same ones.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.evaluation.tasks import Task, blocks_of, count, steps_of
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS, COLS, DAYS = 14, 12, 731
VALIDATION_DAYS, TEST_DAYS = 30, 92  # the last ones; the first 609 are for training
_CELL_KM, _KM_NORTH, _KM_EAST = 3, 111, 84
KM_PER_DEGREE = 111.2  # of latitude; the grids of the hourly tasks start at the smallest coordinates
MONTGOMERY_BOX = (39.9, 40.5, -75.9, -74.9)  # south, north, west, east: 99,473 calls lie inside


def chicago_3km_daily(path):
    """The published benchmark: 731 days, 14 x 12 cells, four categories, the last 92 days judged; all cells."""
    return published_chicago(read_incidents(path, LAYOUTS["chicago"]))


def published_chicago(table):
    """The benchmark from the whole Chicago file, layout `chicago`. Raises DataError for another file."""
    incidents = table.select(table.row != 1)
    cell, grid = _in_squares(incidents, _CELL_KM, _KM_NORTH, _KM_EAST)
    starts_s = steps_of(incidents, DAY_S)
    size = (grid.rows, grid.cols, len(starts_s) - 1)
    if size != (ROWS, COLS, DAYS):
        raise DataError(f"{size} rows, columns and days, not {(ROWS, COLS, DAYS)}", "give the whole Chicago file")
    return Task(
        name="chicago-3km-daily",
        title="Chicago 2016-2017, 3 km, one day, 4 categories, all 168 cells",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=count(incidents, cell, starts_s, grid),
        validation=DAYS - TEST_DAYS - VALIDATION_DAYS,
        test=DAYS - TEST_DAYS,
        scored=np.ones(ROWS * COLS, np.bool_),
    )


def chicago_1km_hourly(path):
    """All categories together, cells with any incident in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["chicago"])
    return hourly("chicago-1km-hourly", "Chicago 2016-2017, 1 km, one hour, all categories", table, cell_km=1.0)


def montgomery_2km_hourly(path):
    """Raw calls of all classes together, cells with any call in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["montgomery"])
    south, north, west, east = MONTGOMERY_BOX
    inside = (table.lat_deg > south) & (table.lat_deg < north) & (table.lon_deg > west) & (table.lon_deg < east)
    title = "Montgomery County 911 2015-2016, 2 km, one hour, raw calls"
    return hourly("montgomery-2km-hourly", title, table.select(inside), cell_km=2.0)


def hourly(name, title, table, *, cell_km):
    """Hours of all categories together, in cells of which those with any incident are judged."""
    incidents = replace(table, category=np.zeros_like(table.category), categories=("incident",))
    km_east = KM_PER_DEGREE * np.cos(np.radians(incidents.lat_deg.mean()))
    cell, grid = _in_squares(incidents, cell_km, KM_PER_DEGREE, km_east)
    cube = count(incidents, cell, steps_of(incidents, HOUR_S), grid)
    validation, test = blocks_of(len(cube))
    scored = cube.counts.sum(axis=(0, 2)) > 0
    return Task(
        name=name,
        title=f"{title}, {int(scored.sum())} cells with any",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=cube,
        validation=validation,
        test=test,
        scored=scored,
    )


def _in_squares(incidents, cell_km, km_north, km_east):
    """(n,) the cell of each incident, and the grid, of which rows and columns count. km: of a degree."""
    south, west = float(incidents.lat_deg.min()), float(incidents.lon_deg.min())
    row = np.floor((incidents.lat_deg - south) * km_north / cell_km).astype(np.int32)
    col = np.floor((incidents.lon_deg - west) * km_east / cell_km).astype(np.int32)
    rows, cols = int(row.max()) + 1, int(col.max()) + 1
    return row * cols + col, Grid(south_deg=south, west_deg=west, cell_m=1000.0 * cell_km, rows=rows, cols=cols)


TASKS = {
    "chicago-3km-daily": (chicago_3km_daily, DATA / "chicago_2016_2017.zip"),
    "chicago-1km-hourly": (chicago_1km_hourly, DATA / "chicago_2016_2017.zip"),
    "montgomery-2km-hourly": (montgomery_2km_hourly, DATA / "montgomery_911_2015_2016.zip"),
}
