"""The published benchmark of Chicago's crimes: 3 km cells, days, four categories. Rebuilt from the csv.

Source: the ST-HSL task (Li et al., ICDE 2022). Its script skips a header that the file does not have, and measures
degrees as 111 km north and 84 km east, so its cells are no squares and no grid of `schemas.grid` has the same ones.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.counted_cube import count
from models.files.incident_files import IncidentTable
from models.local_time import local_from_utc, utc_from_local
from models.measures.cube import Cube
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S

ROWS, COLS, DAYS = 14, 12, 731
VALIDATION_DAYS, TEST_DAYS = 30, 92  # the last ones; the first 609 are for training
_CELL_KM, _KM_NORTH, _KM_EAST = 3, 111, 84


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBenchmark:
    """The benchmark as counts, and as incidents for those who count by themselves."""

    cube: Cube  # (731, 168, 4)
    incidents: IncidentTable  # in the order of time, without the file's first row
    cell: npt.NDArray[np.int32]  # (n,) cell of each incident, row * 12 + col
    grid: Grid  # its rows and columns count, its squares are not quite those of the benchmark


def published_chicago(table: IncidentTable) -> PublishedBenchmark:
    """The benchmark from the whole Chicago file, layout `chicago`. Raises DataError for another file."""
    incidents = table.select(table.row != 1)
    north, east = (degrees - degrees.min() for degrees in (incidents.lat_deg, incidents.lon_deg))
    row = np.floor(north * _KM_NORTH / _CELL_KM).astype(np.int32)
    col = np.floor(east * _KM_EAST / _CELL_KM).astype(np.int32)
    day = local_from_utc(incidents.occurred_s[[0, -1]], incidents.timezone) // DAY_S
    days = np.arange(day[0], day[1] + 2)
    size = (int(row.max()) + 1, int(col.max()) + 1, len(days) - 1)
    if size != (ROWS, COLS, DAYS):
        raise DataError(f"{size} rows, columns and days, not {(ROWS, COLS, DAYS)}", "give the whole Chicago file")
    cell = row * COLS + col
    starts_s, _ = utc_from_local(days * DAY_S, incidents.timezone)
    grid = nominal_grid(incidents, ROWS, COLS, 1000.0 * _CELL_KM)
    return PublishedBenchmark(cube=count(incidents, cell, starts_s, grid), incidents=incidents, cell=cell, grid=grid)


def nominal_grid(incidents: IncidentTable, rows: int, cols: int, cell_m: float) -> Grid:
    south, west = float(incidents.lat_deg.min()), float(incidents.lon_deg.min())
    return Grid(south_deg=south, west_deg=west, cell_m=cell_m, rows=rows, cols=cols)
