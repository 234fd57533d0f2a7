"""Whether the places of a file make a grid that is larger than its region."""

from collections.abc import Iterator

import numpy as np

from models.files.incident_files import IncidentTable
from schemas.grid import Cells, Floats, Grid

_LEAST_BAND = 0.1  # of the grid's side, and at least:
_LEAST_CELLS = 5
_FAR = 3.0  # interquartile ranges beyond the quartiles
_MANY = 0.001  # of the incidents
_REMEDY = "if places are wrong, correct them, or give --bounds (`bounds` in a file of tasks)"


def place_warnings(table: IncidentTable, grid: Grid) -> tuple[str, ...]:
    """Warnings of bands of the grid that are empty, and of one place far from the others with many of its incidents."""
    cell, inside = grid.locate(table.lat_deg, table.lon_deg)
    row, col = np.divmod(cell[inside], grid.cols)
    bands = [
        *_empty_bands("rows", row, grid.corners()[0], "latitude"),
        *_empty_bands("columns", col, grid.corners()[1], "longitude"),
    ]
    return (*bands, *_far_place(table.lat_deg[inside], table.lon_deg[inside]))


def _empty_bands(what: str, place: Cells, edges: Floats, degrees: str) -> Iterator[str]:
    """place: (n,) rows or columns of the incidents. edges: (rows or columns + 1,) degrees."""
    size = len(edges) - 1
    used = np.unique(place)
    empty = np.diff(used) - 1
    widest = int(empty.argmax()) if len(empty) else 0
    if len(empty) and empty[widest] >= max(_LEAST_CELLS, _LEAST_BAND * size):
        first, last = edges[used[widest] + 1], edges[used[widest + 1]]
        yield (
            f"{empty[widest]:,} of the grid's {size:,} {what} lie side by side without any incident, {degrees} "
            f"{first:.3f} to {last:.3f}: {_REMEDY}"
        )


def _far_place(lat_deg: Floats, lon_deg: Floats) -> Iterator[str]:
    """lat_deg, lon_deg: (n,) of the incidents in the grid."""
    places = np.stack([lat_deg, lon_deg], axis=1)
    low, high = np.quantile(places, [0.25, 0.75], axis=0)
    reach = _FAR * (high - low)
    is_far = ((places < low - reach) | (places > high + reach)).any(axis=1)
    if is_far.any():
        far, incidents = np.unique(places[is_far].round(5), axis=0, return_counts=True)
        most = int(incidents.argmax())
        if incidents[most] > _MANY * len(places):
            yield (
                f"{incidents[most]:,} of {len(places):,} incidents are at one place far from the others, "
                f"{far[most, 0]:.5f}, {far[most, 1]:.5f}, as where a geocoder does not know an address: {_REMEDY}"
            )
