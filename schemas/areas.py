"""Areas that people choose on the map: an agency's own polygons, and the cells that belong to each."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import SettingsError
from schemas.files import read_json
from schemas.grid import Cells, Grid
from schemas.polygons import EXPORT, Collection, FileFeature, Polygons, crossings

LONGITUDE_FIRST = "its longitude and latitude are exchanged: write each place as longitude, latitude"
_RESERVED = ("All", "$__all")  # what Grafana calls every choice at once, in a page's address too


class Area(msgspec.Struct, frozen=True, eq=False):
    """A named part of a region. It equals itself alone, as arrays have no hash."""

    name: str
    polygons: Polygons


def read_areas(path: Path, name_property: str) -> list[Area]:
    """The areas of a GeoJSON file, by name. Raises SettingsError, which says what is wrong with which area."""
    collection = read_json(path, Collection, SettingsError, remedy=EXPORT)
    if collection is None:
        raise SettingsError(f"{path} does not exist", "name the GeoJSON file of your areas with --areas")
    areas = [_area(number, feature, name_property) for number, feature in enumerate(collection.features, start=1)]
    areas.sort(key=lambda area: area.name)
    for name, same in groupby(areas, key=lambda area: area.name):
        if len(list(same)) > 1:
            remedy = "make one MultiPolygon of the parts of one area, or choose another property with --area-name"
            raise SettingsError(f"several areas of {path} are called {name!r}", remedy)
    return areas


def _area(number: int, feature: FileFeature, name_property: str) -> Area:
    properties = feature.properties or {}
    value = properties.get(name_property)
    name = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not name or name in _RESERVED:
        present = ", ".join(sorted(properties)) or "no property at all"
        raise SettingsError(
            f"area {number} has {value!r} as its name (property {name_property!r})",
            f"give each area a text or a whole number as its name, or choose the property with --area-name: {present}",
        )
    return Area(name, feature.polygons(name))


def cells_inside(area: Area, grid: Grid) -> Cells:
    """Indices of the cells whose centre lies in the area.

    Areas that share a border share no cell, so that what is counted in each adds up: a centre on the border itself
    belongs to one of them, by the half-open rule of crossings to its west.
    """
    lat, lon = grid.centres()
    rows, cols = lat[:: grid.cols], lon[: grid.cols]
    inside = np.zeros((grid.rows, grid.cols), dtype=np.bool_)
    for rings in area.polygons:
        row, lon_deg = crossings(rings, rows)
        turns = np.zeros((grid.rows, grid.cols + 1), np.int64)
        np.add.at(turns, (row, np.searchsorted(cols, lon_deg)), 1)
        inside |= turns[:, :-1].cumsum(axis=1) % 2 == 1
    return np.flatnonzero(inside).astype(np.int32)


def is_exchanged(area: Area, grids: Sequence[Grid]) -> bool:
    """Whether an area without a cell would have some if its longitudes were its latitudes."""
    turned = Area(area.name, tuple(tuple(ring[:, ::-1] for ring in rings) for rings in area.polygons))
    return any(len(cells_inside(turned, grid)) for grid in grids)


def cells_of_areas(areas: Sequence[Area], grids: Sequence[Grid]) -> list[dict[str, Cells]]:
    """For each grid, the cells of every area that has some there, by name. Raises SettingsError for one without any."""
    inside = [{area.name: cells_inside(area, grid) for area in areas} for grid in grids]
    for area in areas:
        if not any(len(of_grid[area.name]) for of_grid in inside):
            places = np.concatenate([ring for rings in area.polygons for ring in rings])
            (west, south), (east, north) = places.min(axis=0), places.max(axis=0)
            raise SettingsError(
                f"area {area.name!r} holds no centre of a cell; it goes from longitude {west:.4f} to {east:.4f}, "
                f"latitude {south:.4f} to {north:.4f}",
                LONGITUDE_FIRST
                if is_exchanged(area, grids)
                else "leave it out if it lies elsewhere, or join it with a neighbour if it is smaller than a cell",
            )
    return [{name: cells for name, cells in of_grid.items() if len(cells)} for of_grid in inside]


def cells_pattern(grid: Grid, cells: npt.ArrayLike) -> str:
    """A regular expression of the cells' ids, row by row.

    >>> grid = Grid(south_deg=42.0, west_deg=-88.0, cell_m=1000.0, rows=3, cols=4)
    >>> cells_pattern(grid, [1, 2, 7])
    'r000c(001|002)|r001c(003)'
    """
    return "|".join(_rows(grid, cells))


def _rows(grid: Grid, cells: npt.ArrayLike) -> Iterator[str]:
    parted = (grid.cell_id(cell).split("c") for cell in np.sort(np.asarray(cells)).tolist())
    for row, of_row in groupby(parted, key=lambda pair: pair[0]):
        yield f"{row}c({'|'.join(col for _, col in of_row)})"
