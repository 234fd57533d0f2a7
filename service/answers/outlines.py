"""What a map draws beside the scores, as GeoJSON: the region's border, areas and streets."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.errors import SettingsError
from schemas.grid import Grid
from service.answers.contract import geojson_shapes_schema
from service.service import TheRegion, TheService, json_bytes
from streaming.maps.outlines import border_and_areas, read_streets

log = logging.getLogger(__name__)
_MEDIA = "application/geo+json"
_DOCUMENTED: dict[int | str, dict[str, Any]] = {200: {"content": {_MEDIA: {"schema": geojson_shapes_schema()}}}}
router = APIRouter(
    prefix="/v1/regions/{region}", tags=["scores"], responses=_DOCUMENTED, default_response_class=Response
)


@router.get("/outlines")
async def outlines(service: TheService, now: TheRegion) -> Response:
    """Lines around the region's cells, and around each area, which has the property `area`."""
    grid = now.frames.by_category.spec.grid
    here = service.cells_of(grid)
    lines = border_and_areas(grid, [area for area in service.areas if area.name in here])
    return Response(json_bytes(lines), media_type=_MEDIA)


@router.get("/streets")
async def streets(service: TheService, now: TheRegion) -> Response:
    """Streets and named places at the region, of the file that the service was given. `attribution`: whose."""
    if service.streets is None:
        return Response(json_bytes({"type": "FeatureCollection", "features": []}), media_type=_MEDIA)
    try:
        lines = _streets(service.streets, now.frames.by_category.spec.grid)
    except SettingsError as error:
        log.warning("the streets cannot be read: %s", error)
        raise HTTPException(503, "the file of streets cannot be read: the log says why") from error
    return Response(lines, media_type=_MEDIA)


@lru_cache(maxsize=16)
def _streets(path: Path, grid: Grid) -> bytes:
    streets = read_streets(path, [grid])
    if not streets["features"]:
        at = f"{grid.south_deg:g}, {grid.west_deg:g}"
        log.warning("%s has nothing at %s: are longitude and latitude exchanged?", path, at)
    return json_bytes(streets)
