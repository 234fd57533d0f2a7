"""The cells as OGC API Features, Core and GeoJSON: a collection for each region, category and horizon, for a GIS."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.errors import DataError
from schemas.grid import CELL_ID, Cells, Grid
from schemas.spec import SLUG
from service.answers.contract import geojson_schema
from service.answers.scores import chosen_view
from service.answers.written import MEDIA_TYPES, Chosen, as_geojson
from service.frames import categories_of
from service.problems import problems_of
from service.service import Now, Service, TheCaller, TheService, json_answer, json_bytes, now_seen_by, seen_by
from service.tokens import Caller

MOST_FEATURES = 10_000
CONFORMS = [f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "geojson")]
_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_GREGORIAN = "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian"
_OPENAPI = "application/vnd.oai.openapi+json;version=3.1"
router = APIRouter(prefix="/ogc", tags=["OGC API Features"], responses=problems_of(400))
_SLUG = SLUG.strip("^$")
CollectionId = Annotated[
    str, Path(pattern=rf"^{_SLUG}\.{_SLUG}\.\d{{1,3}}h$", description="REGION.CATEGORY.HORIZON, as chicago.all.1h")
]


_NUMBER = r"-?\d{1,5}(\.\d{1,20})?(e-?\d{1,2})?"
_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)"
_FEATURES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPES["geojson"]: {"schema": geojson_schema()}}}}


class Which(BaseModel):
    """Which features: paging, a box, a time."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        int,
        Field(ge=1, json_schema_extra={"maximum": MOST_FEATURES}, description="More than the maximum is the maximum"),
        AfterValidator(lambda limit: min(limit, MOST_FEATURES)),
    ] = 1_000
    offset: int = Field(0, ge=0, le=10_000_000)
    bbox: str | None = Field(
        None,
        pattern=rf"^{_NUMBER}(,{_NUMBER}){{3}}((,{_NUMBER}){{2}})?$",
        description="west,south,east,north in degrees, or west,south,lowest,east,north,highest: heights are ignored",
    )
    frame: str | None = Field(
        None,
        pattern="^[0-9a-f]{16}$",
        description="Digest of the frame that the pages before are of, as links have it; 410 when it is gone",
    )
    datetime: str | None = Field(
        None,
        pattern=rf"^({_INSTANT}|(\.\.|{_INSTANT})?/(\.\.|{_INSTANT})?)$",
        description="An instant or an interval, as RFC 3339; features are of one instant, `as_of`",
    )


@router.get("")
async def landing(request: Request, caller: TheCaller) -> Response:
    links = [
        _link(request, "/ogc", "self", "this page"),
        _link(request, "/openapi.json", "service-desc", "OpenAPI document", _OPENAPI),
        _link(request, "/ogc/conformance", "conformance", "what this conforms to"),
        _link(request, "/ogc/collections", "data", "the collections"),
    ]
    said = "Expected incidents per cell. It says nothing about any person."
    return json_answer({"title": "Incident risk", "description": said, "links": links})


@router.get("/conformance")
async def conformance(caller: TheCaller) -> Response:
    return json_answer({"conformsTo": CONFORMS})


@router.get("/collections")
async def collections(request: Request, service: TheService, caller: TheCaller) -> Response:
    described = [
        _collection(request, service.now_of(frames), category, horizon)
        for frames in seen_by(service, caller)
        for category in categories_of(frames.by_category.spec)
        for horizon in frames.by_category.spec.horizon_names
    ]
    return json_answer({"links": [_link(request, "/ogc/collections", "self", "this page")], "collections": described})


@router.get("/collections/{collection}")
async def collection(request: Request, service: TheService, caller: TheCaller, collection: CollectionId) -> Response:
    now, category, horizon = _named(service, caller, collection)
    return json_answer(_collection(request, now, category, horizon))


@router.get("/collections/{collection}/items", responses={**_FEATURES, **problems_of(410)}, response_class=Response)
async def items(
    request: Request,
    service: TheService,
    caller: TheCaller,
    collection: CollectionId,
    which: Annotated[Which, Query()],
) -> Response:
    """The cells, with their scores as properties: first those with history, by which clients learn the types."""
    now, category, horizon = _named(service, caller, collection)
    if which.frame is not None:
        now = _of_digest(service, now, which.frame)
    frame = now.frames.by_category
    view, place, ahead = chosen_view(now, category, horizon)
    matched = _in_box(frame.spec.grid, which.bbox) if _is_at(which.datetime, frame.as_of_s) else _NONE
    matched = matched[np.argsort(view.support[matched, place] == 0, kind="stable")]
    page = matched[which.offset : which.offset + which.limit]
    if len(page) < len(matched):
        service.frames.keep(now.frames)
    head = {
        **now.facts(),
        "category": category,
        "horizon": horizon,
        "numberMatched": len(matched),
        "numberReturned": len(page),
        "links": list(_paging(request, collection, now, which, len(matched))),
    }
    body = as_geojson(head, Chosen(view, place, ahead, page))
    return Response(body, headers=now.headers(), media_type=MEDIA_TYPES["geojson"])


@router.get(
    "/collections/{collection}/items/{cell}",
    responses={200: {"content": {MEDIA_TYPES["geojson"]: {"schema": {"type": "object"}}}}},
    response_class=Response,
)
async def item(
    request: Request,
    service: TheService,
    caller: TheCaller,
    collection: CollectionId,
    cell: Annotated[str, Path(pattern=CELL_ID)],
) -> Response:
    now, category, horizon = _named(service, caller, collection)
    view, place, ahead = chosen_view(now, category, horizon)
    try:
        number = view.spec.grid.index_of(cell)
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    base = f"/ogc/collections/{collection}"
    links = [
        _link(request, f"{base}/items/{cell}", "self", "this feature", MEDIA_TYPES["geojson"]),
        _link(request, base, "collection", "its collection"),
    ]
    alone = as_geojson(now.facts(), Chosen(view, place, ahead, np.array([number], np.int32)))
    feature = {**msgspec.json.decode(alone)["features"][0], **now.facts(), "links": links}
    return Response(json_bytes(feature), headers=now.headers(), media_type=MEDIA_TYPES["geojson"])


def _named(service: Service, caller: Caller, collection: str) -> tuple[Now, str, str]:
    region, category, horizon = collection.split(".")
    now = now_seen_by(service, caller, region, listed="/ogc/collections")
    chosen_view(now, category, horizon)
    return now, category, horizon


def _of_digest(service: Service, now: Now, digest: str) -> Now:
    """Raises 410 where the region's frame of that digest is gone: pages of two frames would be mixed."""
    region = now.frames.by_category.spec.region
    frames = service.frames.of_digest(region, digest)
    if frames is None:
        raise HTTPException(410, f"frame {digest} of {region} is gone: ask for the first page again, without `frame`")
    return service.now_of(frames)


def _collection(request: Request, now: Now, category: str, horizon: str) -> dict[str, Any]:
    facts = now.facts()
    name = f"{facts['region']}.{category}.{horizon}"
    base = f"/ogc/collections/{name}"
    lat, lon = now.frames.by_category.spec.grid.corners()
    box = [float(lon[0]), float(lat[0]), float(lon[-1]), float(lat[-1])]
    links = [
        _link(request, base, "self", "this collection"),
        _link(request, f"{base}/items", "items", "its cells", MEDIA_TYPES["geojson"]),
    ]
    return {
        "id": name,
        "title": f"{facts['region']}: {category}, next {horizon}",
        "description": f"Expected incidents per cell, as of {facts['as_of']}{', STALE' if now.is_stale else ''}",
        "itemType": "feature",
        "extent": {
            "spatial": {"bbox": [box], "crs": _CRS84},
            "temporal": {"interval": [[facts["as_of"], facts["as_of"]]], "trs": _GREGORIAN},
        },
        "crs": [_CRS84],
        "links": links,
        **facts,
    }


def _in_box(grid: Grid, bbox: str | None) -> Cells:
    """The cells that the box touches, or all."""
    if bbox is None:
        return np.arange(grid.cells, dtype=np.int32)
    edges = [float(edge) for edge in bbox.split(",")]
    (west, south), (east, north) = edges[:2], edges[len(edges) // 2 :][:2]
    if not (-90 <= south <= north <= 90 and abs(west) <= 180 and abs(east) <= 180):
        raise HTTPException(400, f"bbox={bbox} is no box: give west,south,east,north in degrees")
    lat, lon = grid.corners()
    rows = (lat[1:] >= south) & (lat[:-1] <= north)
    beyond = west > east  # the box crosses longitude 180
    cols = (lon[1:] >= west) | (lon[:-1] <= east) if beyond else (lon[1:] >= west) & (lon[:-1] <= east)
    return np.flatnonzero(rows[:, None] & cols[None, :]).astype(np.int32)


def _is_at(asked: str | None, as_of_s: int) -> bool:
    """Whether the instant or interval holds the frame's time. Raises 400 for what is neither."""
    if asked is None:
        return True
    try:
        edges = [_seconds(part) for part in asked.split("/")]
    except ValueError as error:
        raise HTTPException(400, f"datetime={asked} is no instant or interval of RFC 3339 ({error})") from error
    start, end = edges[0], edges[-1]
    return (start is None or start <= as_of_s) and (end is None or as_of_s <= end)


def _seconds(text: str) -> float | None:
    if text in ("", ".."):
        return None
    return datetime.fromisoformat(text).timestamp()


def _paging(request: Request, collection: str, now: Now, which: Which, matched: int) -> Iterator[dict[str, str]]:
    base = f"/ogc/collections/{collection}"
    filters = which.model_dump(include={"bbox", "datetime", "frame"}, exclude_none=True)

    def at(offset: int, rel: str) -> dict[str, str]:
        frame = {} if rel == "self" else {"frame": now.frames.digest}
        query = urlencode({**filters, **frame, "limit": which.limit, "offset": offset})
        return _link(request, f"{base}/items?{query}", rel, f"cells from {offset}", MEDIA_TYPES["geojson"])

    yield at(which.offset, "self")
    if which.offset + which.limit < matched:
        yield at(which.offset + which.limit, "next")
    if which.offset > 0:
        yield at(max(0, which.offset - which.limit), "prev")
    yield _link(request, base, "collection", "the collection")


def _link(request: Request, path: str, rel: str, title: str, kind: str = "application/json") -> dict[str, str]:
    base = request.app.state.service.url or str(request.base_url)
    return {"href": base.rstrip("/") + path, "rel": rel, "type": kind, "title": title}


_NONE: Cells = np.empty(0, np.int32)
