"""The page of the live map, made for the regions that there are: its view, its areas and its ground."""

import hashlib
import json
import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from schemas.grid import Grid
from schemas.spec import Spec
from streaming.maps.outlines import STREETS

Page = dict[str, Any]
WHICH_MAP = "name the dashboard of the live map, live-map.json of the folder that grafana-provisioning/generator writes"
_LONGEST_UID = 40  # that Grafana accepts
_WORLD_PX = 256  # the whole world's width at zoom 0, pixels
_MAP_PX = (800, 450)  # width and height of the map's panel on a small screen


def page_of(dashboard: Page, spec: Spec) -> Page:
    """The dashboard for one of several regions: its map keeps the view, and loads only that region's cells."""
    region, uid = spec.region, f"{dashboard['uid']}-{spec.region}"
    if len(uid) > _LONGEST_UID:
        uid = f"{dashboard['uid']}-{hashlib.sha256(region.encode()).hexdigest()[:16]}"
    cells = {"src": f"public/cells/{region}.geojson", "idField": "cell"}
    page = opened_at(dashboard, spec.grid, cells) | {"uid": uid, "title": f"{dashboard['title']}: {region}"}
    variables = page["templating"]["list"]
    for place, variable in enumerate(variables):
        if variable["name"] == "region":
            described = {name: variable[name] for name in ("name", "label", "description")}
            only = {"type": "custom", "hide": 2, "query": region, "current": {"text": region, "value": region}}
            variables[place] = described | only | {"multi": False, "includeAll": False}
    return page


def opened_at(dashboard: Page, grid: Grid, cells: Mapping[str, str] | None = None) -> Page:
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


def with_areas(dashboard: Page, patterns: Mapping[str, str]) -> Page:
    """The dashboard with areas to choose from. patterns: for each area's name, the regular expression of its cells.

    A page's address holds only the names: Grafana looks up what belongs to a name among the options.
    """
    page = deepcopy(dashboard)
    for variable in page["templating"]["list"]:
        if variable["name"] == "area" and patterns:
            options = [{"text": name, "value": name, "cells": pattern} for name, pattern in patterns.items()]
            variable |= {"query": json.dumps(options), "hide": 0, "skipUrlSync": False}
    return page


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
