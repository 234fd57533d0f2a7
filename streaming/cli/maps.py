"""What Grafana's map needs beside the store: outlines of cells, areas and streets as GeoJSON, its page; `cells`."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import numpy as np
import typer

from schemas.areas import Area, PlaceNames, cells_of_areas, cells_pattern, read_areas
from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_json, replace_file, write_errors
from schemas.grid import Cells, Grid
from schemas.spec import Spec
from streaming.settings import Settings

Collection = dict[str, Any]
Places = list[Annotated[list[float], msgspec.Meta(min_length=2)]]  # longitude, latitude
ALL_REGIONS = "_all.geojson"  # no region can have a name like these
STREETS = "_streets.geojson"
GROUND = "_ground.svg"
# A tile without anything on it: the ground is the panel's, in either theme.
GROUND_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"></svg>'
_AROUND = 0.1  # how far beyond the cells streets are kept, as a share of the region's width and height
EXPORT_STREETS = (
    "export the streets as GeoJSON in degrees (WGS 84): a FeatureCollection of LineString, MultiLineString, for places "
    "with a `name` Point, and for water and parks (`kind`) Polygon"
)
Page = dict[str, Any]
WHICH_MAP = "name the dashboard of the live map, live-map.json of the folder that grafana-provisioning/generator writes"
DASHBOARDS = "dashboards"
_LONGEST_UID = 40  # that Grafana accepts
_WORLD_PX = 256  # the whole world's width at zoom 0, pixels
_MAP_PX = (800, 450)  # width and height of the map's panel on a small screen


class _Line(msgspec.Struct, tag_field="type", tag="LineString"):
    coordinates: Places


class _MultiLine(msgspec.Struct, tag_field="type", tag="MultiLineString"):
    coordinates: list[Places]


class _Polygon(msgspec.Struct, tag_field="type", tag="Polygon"):
    coordinates: list[Places]


class _Point(msgspec.Struct, tag_field="type", tag="Point"):
    coordinates: Annotated[list[float], msgspec.Meta(min_length=2)]


class _Named(msgspec.Struct):
    name: object = None
    kind: object = None


class _Street(msgspec.Struct, tag_field="type", tag="Feature"):
    geometry: _Line | _MultiLine | _Polygon | _Point
    properties: _Named | None = None


class _Streets(msgspec.Struct, tag_field="type", tag="FeatureCollection"):
    features: list[_Street]
    attribution: str = ""


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
    """The streets of a GeoJSON file, and its places with a name, that have a point at or near the cells.

    `attribution`: whose data they are; empty where the file does not say it. Raises SettingsError for a file that is
    no such.
    """
    streets = read_json(path, _Streets, SettingsError, remedy=EXPORT_STREETS)
    if streets is None:
        raise SettingsError(f"{path} does not exist", "name the GeoJSON file of streets with --streets")
    if not streets.features:
        raise SettingsError(f"{path} has no feature", EXPORT_STREETS)
    for lon, lat in (position[:2] for street in streets.features for line in _lines_of(street) for position in line):
        if not (abs(lon) <= 180 and abs(lat) <= 90):
            raise SettingsError(f"{path}: {lon:.12g}, {lat:.12g} is no longitude and latitude", EXPORT_STREETS)
    near = (_shown(feature, grids) for feature in streets.features)
    return {**_collection(filter(None, near)), "attribution": streets.attribution}


def _shown(street: _Street, grids: Sequence[Grid]) -> dict[str, Any] | None:
    """The street's lines, or the named place, at these grids; None for none."""
    name, shape = street.properties.name if street.properties else None, street.geometry
    properties = {"name": name} if isinstance(name, str) and name else {}
    if isinstance(shape, _Polygon):
        kind = "park" if street.properties and street.properties.kind == "park" else "water"
        if not any(_is_near(grid, shape.coordinates[0]) for grid in grids):
            return None
        surface = {"type": "Polygon", "coordinates": shape.coordinates}
        return {"type": "Feature", "properties": {**properties, "kind": kind}, "geometry": surface}
    if isinstance(shape, _Point) and not properties:
        return None
    near = [line for line in _lines_of(street) if any(_is_near(grid, line) for grid in grids)]
    if not near:
        return None
    feature = _lines(near, properties)
    if isinstance(shape, _Point):
        feature["geometry"] = {"type": "Point", "coordinates": feature["geometry"]["coordinates"][0][0]}
    return feature


def _lines_of(street: _Street) -> list[Places]:
    match street.geometry:
        case _Point(place):
            return [[place]]
        case _Line(line):
            return [line]
        case _MultiLine(lines) | _Polygon(lines):
            return lines


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


def page_of(dashboard: Page, spec: Spec, areas: Mapping[str, str], *, is_alone: bool) -> Page:
    """The dashboard for one region: its maps open at the cells, so that a refresh keeps the view to which one moved.

    areas: to choose from, for each name the regular expression of its cells. A page's address holds only the names:
    Grafana looks up what belongs to a name among the options.
    is_alone: there is no other region. Else the page gets an address of its own, and loads only this region's cells;
    the page on which the region is chosen stays as it is, because its maps must fit themselves to the data.
    """
    page, region = deepcopy(dashboard), spec.region
    variables = page["templating"]["list"]
    for panel in page["panels"]:
        if panel["type"] == "geomap":
            panel["options"]["view"] |= view_of(spec.grid)
            for layer in panel["options"]["layers"]:
                if layer["type"] == "dynamic-geojson" and not is_alone:
                    layer["config"] |= {"src": f"public/cells/{region}.geojson", "idField": "cell"}
    for variable in variables:
        if variable["name"] == "area" and areas:
            options = [{"text": name, "value": name, "cells": pattern} for name, pattern in areas.items()]
            variable |= {"query": json.dumps(options), "hide": 0, "skipUrlSync": False}
    if is_alone:
        return page
    uid = f"{dashboard['uid']}-{region}"
    if len(uid) > _LONGEST_UID:
        uid = f"{dashboard['uid']}-{hashlib.sha256(region.encode()).hexdigest()[:16]}"
    for place, variable in enumerate(variables):
        if variable["name"] == "region":
            described = {name: variable[name] for name in ("name", "label", "description")}
            only = {"type": "custom", "hide": 2, "query": region, "current": {"text": region, "value": region}}
            variables[place] = described | only | {"multi": False, "includeAll": False}
    return page | {"uid": uid, "title": f"{dashboard['title']}: {region}"}


def with_streets(dashboard: Page, credit: str) -> Page:
    """The dashboard whose maps draw the file of streets above the cells, and ask nobody for tiles.

    credit: whose data it is, as the map shows it; empty where nobody says it.
    """
    page = deepcopy(dashboard)
    style = {"color": {"fixed": "#8A929C"}, "opacity": 1, "lineWidth": 1}
    config = {"src": f"public/cells/{STREETS}", "rules": [], "style": style}
    streets = {"type": "geojson", "name": "Streets", "tooltip": False, "opacity": 0.5, "config": config}
    for panel in page["panels"]:
        if panel["type"] == "geomap":
            options = panel["options"]
            options["basemap"]["config"]["attribution"] = credit or "Streets: source not named"
            options["layers"] = [*(layer for layer in options["layers"] if layer["type"] != "carto"), streets]
    return page


def cells_by_name(grid: Grid, streets: Collection | None, areas: Mapping[str, Cells]) -> dict[str, list[str]]:
    """Ids of the cells by the words for where they are: their area, else the nearest named place within 5 km."""
    names = PlaceNames(streets, grid).nearest(range(grid.cells)) if streets else [""] * grid.cells
    for name, inside in areas.items():
        for cell in inside.tolist():
            names[cell] = name
    by_name: dict[str, list[str]] = {}
    for name, cell in zip(names, grid.cell_ids(), strict=True):
        if name:
            by_name.setdefault(name, []).append(cell)
    return by_name


def with_names(dashboard: Page, cells: Mapping[str, Sequence[str]]) -> Page:
    """The dashboard of one region that calls its cells `Norristown · r012c013`; links keep the cell's id.

    In a sentence about a place, that is its first cell. In the page alone, by one pattern a name: the store has no name
    in its points.
    """
    page = deepcopy(dashboard)

    def named(before: str, after: str) -> list[dict[str, Any]]:
        """For texts with the id of a cell between these two patterns."""
        return [
            {
                "type": "regex",
                "options": {
                    "pattern": f"/^({before})({'|'.join(ids)}){after}/",
                    "result": {"index": place, "text": f"$1{name.replace('$', '$$')} · $2"},
                },
            }
            for place, (name, ids) in enumerate(cells.items(), start=2)  # behind the word for an empty text
        ]

    mappings = {"cell": named("", "$"), "says": named(".* at ", "\\b")}
    for panel in page["panels"] if cells else ():
        config = panel.get("fieldConfig", {})
        for override in config.get("overrides", ()):
            field = override["matcher"].get("options")
            if override["matcher"]["id"] == "byName" and field in mappings:
                override["properties"].append({"id": "mappings", "value": mappings[field]})
        if panel["type"] == "stat" and any('"says"' in each.get("query", "") for each in panel["targets"]):
            config["defaults"]["mappings"] += mappings["says"]
    return page


def view_of(grid: Grid) -> dict[str, str | float]:
    """Grafana's view of a map that shows the whole grid: its middle in degrees, and the zoom of web tiles.

    Source: the spherical Mercator projection; at zoom z the world is 256 * 2**z pixels wide.
    """
    lat_deg, lon_deg = grid.corners()
    south, north = (math.asinh(math.tan(math.radians(edge))) for edge in (lat_deg[0], lat_deg[-1]))
    turns = (math.radians(lon_deg[-1] - lon_deg[0]) / math.tau, (north - south) / math.tau)
    zoom = min(math.log2(pixels / _WORLD_PX / share) for pixels, share in zip(_MAP_PX, turns, strict=True))
    return {
        "id": "coords",
        "lat": round(math.degrees(math.atan(math.sinh((south + north) / 2))), 5),
        "lon": round(float(lon_deg[0] + lon_deg[-1]) / 2, 5),
        "zoom": math.floor(10 * zoom) / 10,
    }


def cells(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the files")],
    live_map: Annotated[
        Path | None,
        typer.Option(help="Dashboard file of the live map: a copy that opens at the cells goes to OUT/dashboards"),
    ] = None,
    areas: Annotated[
        Path | None, typer.Option(help="GeoJSON file of polygons, such as districts, to choose from on the map")
    ] = None,
    area_name: Annotated[str, typer.Option(help="Property of the polygons that holds their names")] = "name",
    streets: Annotated[
        Path | None, typer.Option(help="GeoJSON file of streets, drawn in place of tiles from the internet")
    ] = None,
) -> None:
    """Write the cells of each region as REGION.geojson (by cell id), and all regions as _all.geojson (by geohash)."""
    settings: Settings = context.obj()
    specs = _served_specs(settings.artifacts)
    outlines = geojson_files(specs)
    named = read_areas(areas, area_name) if areas else []
    patterns: dict[str, dict[str, str]] = {}
    ground = read_streets(streets, [spec.grid for spec in specs]) if streets else None
    names: dict[str, dict[str, list[str]]] = {}
    for spec, here in zip(specs, cells_of_areas(named, [spec.grid for spec in specs]), strict=True):
        outlines[lines_name(spec.region)] = border_and_areas(spec.grid, [area for area in named if area.name in here])
        patterns[spec.region] = {name: cells_pattern(spec.grid, inside) for name, inside in here.items()}
        names[spec.region] = cells_by_name(spec.grid, ground, here)
    if ground:
        lines = [shape for shape in ground["features"] if shape["geometry"]["type"].endswith("LineString")]
        if not lines:
            raise SettingsError(f"{streets} has no line at the cells", EXPORT_STREETS)
        outlines[STREETS] = ground | {"features": lines}  # without the names of places
    for name, collection in outlines.items():
        _write(out / name, msgspec.json.encode(collection))
        typer.echo(f"{out / name}: {len(collection['features']):,} shapes")
    _write(out / GROUND, GROUND_SVG)
    if live_map:
        page = read_json(live_map, Page, SettingsError, remedy=WHICH_MAP)
        if page is None:
            raise SettingsError(f"--live-map {live_map} does not exist", WHICH_MAP)
        page = with_streets(page, outlines[STREETS]["attribution"]) if streets else page
        # Areas and names are of one region, because all regions have the same cell ids.
        pages = {"": page}  # end of the file's name -> page
        for spec in specs:
            is_alone = len(specs) == 1
            of_region = page_of(page, spec, patterns[spec.region], is_alone=is_alone)
            pages["" if is_alone else f"-{spec.region}"] = with_names(of_region, names[spec.region])
        folder = out / DASHBOARDS
        for old in folder.glob(f"{live_map.stem}-*.json"):
            if old.stem.removeprefix(live_map.stem) not in pages:  # of a region that no longer exists
                old.unlink()
        for end, made in pages.items():
            path = folder / f"{live_map.stem}{end}.json"
            _write(path, msgspec.json.encode(made))
            typer.echo(f"{path}: {made['title']}")
        for region, areas_of_region in patterns.items():
            for name in areas_of_region:
                typer.echo(f"{region}, only {name}: add ?var-area={quote(name)} to the address of its map")


def _served_specs(folder: Path) -> list[Spec]:
    """The spec of each region's best readable artifact: a damaged one must not keep the map from the other regions."""
    from models.artifact import candidates_by_region, read_spec  # torch: seconds that other commands save

    specs: list[Spec] = []
    unread: list[ArtifactError] = []
    for _, choice in sorted(candidates_by_region(folder).items()):
        unread += [choice.fault] if choice.fault else []
        for artifact in choice.folders:
            try:
                specs.append(read_spec(artifact))
                break
            except ArtifactError as error:
                unread.append(error)
    if not specs:
        nothing = ArtifactError(f"no artifact in {folder}", "train a model, or set RISK_ARTIFACTS to another folder")
        raise unread[0] if unread else nothing
    for unusable in unread:
        typer.echo(f"left out: {unusable}", err=True)
    return specs


def _write(path: Path, content: bytes) -> None:
    with write_errors(SettingsError, path, remedy="choose another --out"):
        replace_file(path, content)
