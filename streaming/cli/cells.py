"""The `cells` command: writes what Grafana's map needs, the outlines of the cells and the place where it opens."""

import hashlib
import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from schemas.errors import ArtifactError, SettingsError
from schemas.grid import Grid
from schemas.spec import Spec
from streaming.files import read_json, replace_file, write_errors
from streaming.settings import Settings

ALL_REGIONS = "_all.geojson"  # no region can have this name
DASHBOARDS = "dashboards"
_LONGEST_UID = 40  # that Grafana accepts
_WHICH_MAP = "name the dashboard of the live map, a JSON file in grafana-provisioning/"
_WORLD_PX = 256  # the whole world's width at zoom 0, pixels
_MAP_PX = (800, 640)  # width and height of the map's panel on a small screen


def cells(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the GeoJSON files")],
    artifacts: Annotated[Path | None, typer.Option(help="Folder of artifacts; default: RISK_ARTIFACTS")] = None,
    live_map: Annotated[
        Path | None,
        typer.Option(help="Dashboard file of the live map: a copy that opens at the cells goes to OUT/dashboards"),
    ] = None,
) -> None:
    """Write the cells of each region as REGION.geojson (by cell id), and all regions as _all.geojson (by geohash)."""
    from models.artifact.artifact import newest_artifacts, read_spec  # torch: seconds that other commands save

    settings: Settings = context.obj
    folder = artifacts or settings.artifacts
    newest = newest_artifacts(folder)
    if not newest:
        raise ArtifactError(f"no artifact in {folder}", "train a model, or name the folder with --artifacts")
    specs = [read_spec(folders[0]) for _, folders in sorted(newest.items())]
    for name, collection in geojson_files(specs).items():
        _write(out / name, collection)
        typer.echo(f"{out / name}: {len(collection['features']):,} cells")
    if live_map:
        page = read_json(live_map, dict[str, Any], SettingsError, remedy=_WHICH_MAP)
        if page is None:
            raise SettingsError(f"--live-map {live_map} does not exist", _WHICH_MAP)
        pages = {live_map.name: opened_at(page, specs[0].grid) if len(specs) == 1 else page}
        if len(specs) > 1:
            pages |= {f"{live_map.stem}-{spec.region}.json": page_of(page, spec) for spec in specs}
        for old in (out / DASHBOARDS).glob(f"{live_map.stem}-*.json"):
            if old.name not in pages:  # of a region that no longer exists
                old.unlink()
        for name, content in pages.items():
            _write(out / DASHBOARDS / name, content)
            typer.echo(f"{out / DASHBOARDS / name}: {content['title']}")


def _write(path: Path, content: Any) -> None:
    with write_errors(SettingsError, path, remedy="choose another --out"):
        replace_file(path, msgspec.json.encode(content))


def geojson_files(specs: list[Spec]) -> dict[str, dict[str, Any]]:
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
    return {**files, ALL_REGIONS: {"type": "FeatureCollection", "features": together}}


def page_of(dashboard: dict[str, Any], spec: Spec) -> dict[str, Any]:
    """The dashboard for one of several regions: its map keeps the view, and loads only that region's cells."""
    region, uid = spec.region, f"{dashboard['uid']}-{spec.region}"
    if len(uid) > _LONGEST_UID:
        uid = f"{dashboard['uid']}-{hashlib.sha256(region.encode()).hexdigest()[:16]}"
    cells = {"src": f"public/cells/{region}.geojson", "idField": "cell"}
    page = opened_at(dashboard, spec.grid, cells) | {"uid": uid, "title": f"{dashboard['title']}: {region}"}
    variables = page["templating"]["list"]
    for place, variable in enumerate(variables):
        if variable["name"] == "region":
            kept = {name: variable[name] for name in ("name", "label", "description")}
            only = {"type": "custom", "hide": 2, "query": region, "current": {"text": region, "value": region}}
            variables[place] = kept | only | {"multi": False, "includeAll": False}
    return page


def opened_at(dashboard: dict[str, Any], grid: Grid, cells: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The dashboard with its maps opened at the cells, so that a refresh keeps the view to which a person moved.

    Not for a page on which the region is chosen: its maps must fit themselves to the data. cells: settings of the layer
    that is coloured by data.
    """
    page = deepcopy(dashboard)
    for panel in page["panels"]:
        if panel["type"] == "geomap":
            panel["options"]["view"] |= view_of(grid)
            for layer in panel["options"]["layers"]:
                if layer["type"] == "dynamic-geojson":
                    layer["config"] |= cells or {}
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
