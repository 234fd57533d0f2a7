"""What the map draws without any score, as GeoJSON: cells, the region's border, areas and streets."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from schemas.areas import Area
from schemas.errors import SettingsError
from schemas.files import read_json
from schemas.grid import Grid
from schemas.spec import Spec

Collection = dict[str, Any]
Places = list[Annotated[list[float], msgspec.Meta(min_length=2)]]  # longitude, latitude
ALL_REGIONS = "_all.geojson"  # no region can have a name like these
STREETS = "_streets.geojson"
GROUND = "_ground.svg"
# A tile of plain land, as light as that of street tiles, for which the colours of the map are made.
GROUND_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256">'
    b'<rect width="256" height="256" fill="#F2F3F0"/></svg>'
)
_AROUND = 0.1  # how far beyond the cells streets are kept, as a share of the region's width and height
_OPENSTREETMAP = "© OpenStreetMap contributors"
EXPORT_STREETS = (
    "export the streets as GeoJSON in degrees (WGS 84): a FeatureCollection of LineString and MultiLineString"
)


class _Line(msgspec.Struct, tag_field="type", tag="LineString"):
    coordinates: Places


class _MultiLine(msgspec.Struct, tag_field="type", tag="MultiLineString"):
    coordinates: list[Places]


class _Street(msgspec.Struct, tag_field="type", tag="Feature"):
    geometry: _Line | _MultiLine


class _Streets(msgspec.Struct, tag_field="type", tag="FeatureCollection"):
    features: list[_Street]
    attribution: str = _OPENSTREETMAP


def geojson_files(specs: Sequence[Spec]) -> dict[str, Collection]:
    """File name -> FeatureCollection: one of each region, and one of all regions.

    Grafana allows no variable in the address of the layer that is coloured by data, so a map of any region needs the
    file of all. Its ids are geohashes, because the same cell ids exist in every region.
    """
    files, together = {}, []
    for spec in specs:
        files[f"{spec.region}.geojson"] = cells = spec.grid.geojson()
        together += [
            {**cell, "id": geohash, "properties": {**cell["properties"], "region": spec.region}}
            for geohash, cell in zip(spec.grid.geohashes(), cells["features"], strict=True)
        ]
    return {**files, ALL_REGIONS: _collection(together)}


def lines_name(region: str) -> str:
    return f"_lines-{region}.geojson"


def border_and_areas(grid: Grid, areas: Iterable[Area]) -> Collection:
    """Lines around the grid and around each area."""
    lat, lon = grid.corners()
    (south, north), (west, east) = lat[[0, -1]].tolist(), lon[[0, -1]].tolist()
    lines = {"": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}
    lines |= {area.name: [ring.tolist() for rings in area.polygons for ring in rings] for area in areas}
    return _collection(_lines(rings, {"area": name} if name else {}) for name, rings in lines.items())


def read_streets(path: Path, grids: Sequence[Grid]) -> Collection:
    """The lines of a GeoJSON file that have a point at or near the cells, with `attribution`: whose data they are.

    Raises SettingsError for a file that is no such.
    """
    streets = read_json(path, _Streets, SettingsError, remedy=EXPORT_STREETS)
    if streets is None:
        raise SettingsError(f"{path} does not exist", "name the GeoJSON file of streets with --streets")
    shapes = [street.geometry for street in streets.features]
    parts = ([shape.coordinates] if isinstance(shape, _Line) else shape.coordinates for shape in shapes)
    lines = [line for lines in parts for line in lines]
    near = [_lines([line], {}) for line in lines if any(_is_near(grid, line) for grid in grids)]
    return {**_collection(near), "attribution": streets.attribution}


def _is_near(grid: Grid, line: Places) -> bool:
    points = np.array([position[:2] for position in line]).reshape(-1, 2)
    ranges = [(edges[0], edges[-1]) for edges in reversed(grid.corners())]
    low, high = np.array([(a - _AROUND * (b - a), b + _AROUND * (b - a)) for a, b in ranges]).T
    return bool(((points >= low) & (points <= high)).all(axis=1).any())


def _lines(lines: Iterable[Places], properties: Mapping[str, str]) -> dict[str, Any]:
    rounded = [[[round(position[0], 5), round(position[1], 5)] for position in line] for line in lines]
    shape = {"type": "MultiLineString", "coordinates": rounded}
    return {"type": "Feature", "properties": properties, "geometry": shape}


def _collection(features: Iterable[dict[str, Any]]) -> Collection:
    return {"type": "FeatureCollection", "features": list(features)}
