"""The cube of a file's incidents."""

import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable
from models.local_time import hour_of_week
from models.measures.cube import Cube, type_for
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.limits import MAX_CUBE_BYTES


def count(incidents: IncidentTable, cell: npt.NDArray[np.int32], starts_s: npt.NDArray[np.int64], grid: Grid) -> Cube:
    """The cube of incidents that all lie in the grid and the steps. cell: (n,); starts_s: (steps + 1,).

    Raises DataError for one that would take more memory than an evaluation may.
    """
    steps, categories = len(starts_s) - 1, len(incidents.categories)
    step = np.searchsorted(starts_s, incidents.occurred_s, side="right") - 1
    place, number = np.unique((step * grid.cells + cell) * categories + incidents.category, return_counts=True)
    kind = type_for(int(number.max(initial=0)))
    size = steps * grid.cells * categories
    if size * kind.itemsize > MAX_CUBE_BYTES:
        raise DataError(
            f"{steps:,} steps x {grid.cells:,} cells x {categories} categories are {size:,} counts, at most "
            f"{MAX_CUBE_BYTES // kind.itemsize:,} of up to {number.max():,} incidents are judged at once",
            remedy="take a longer --step, larger cells, fewer categories, or a part of the file's time",
        )
    counts = np.zeros(size, kind)
    counts[place] = number
    return Cube(
        counts=counts.reshape(steps, grid.cells, categories),
        starts_s=starts_s,
        hour_of_week=hour_of_week(starts_s[:-1], incidents.timezone).astype(np.int16),
        rows=grid.rows,
        cols=grid.cols,
        cell_m=grid.cell_m,
        categories=incidents.categories,
    )
