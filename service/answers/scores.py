"""The routes under /v1: regions, scores, one cell, areas."""

from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.errors import DataError
from schemas.frame import ATTRIBUTION_GROUPS, SUPPORT, riskiest
from schemas.grid import CELL_ID, Cells, geohash
from schemas.limits import OLDEST_SCORES_S
from service.answers import contract
from service.answers.written import MEDIA_TYPES, NUMBERS, WRITERS, Chosen, format_of, number
from service.frames import categories_of, view_of
from service.problems import problems_of
from service.service import Now, TheCaller, TheRegion, TheService, json_answer, must_be_current, seen_by

ASSUMES = (
    "The counts of the cells, and of the categories in `all`, are independent, given the forecast: expected adds up, "
    "and risk is one minus the product of no incident in each cell. Where they rise and fall together, risk is lower."
)
router = APIRouter(prefix="/v1", tags=["scores"])
_WRITTEN: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPES["geojson"]: {"schema": contract.geojson_schema()},
            "text/csv": {"schema": {"type": "string"}},
        }
    }
}


@router.get("/regions", response_model=contract.Regions)
async def regions(service: TheService, caller: TheCaller) -> Response:
    """The regions that the token opens: their grid, categories, horizons and areas, and how old their scores are."""
    described = [
        _region(service.now_of(frames), list(service.cells_of(frames.by_category.spec.grid)))
        for frames in seen_by(service, caller)
    ]
    return json_answer({"regions": described, "withheld": service.frames.withheld or None})


@router.get(
    "/regions/{region}/scores", response_model=contract.RegionScores, responses={**_WRITTEN, **problems_of(406)}
)
async def scores(
    request: Request, service: TheService, now: TheRegion, asked: Annotated[contract.ScoresView, Query()]
) -> Response:
    """The scores of every cell, or of an area's, for one category and horizon."""
    must_be_current(now, asked.require, asked.category)
    as_what = format_of(asked.format, request.headers.get("accept"))
    headers = {**now.headers(), "Vary": "Accept, Authorization, Cookie"}
    chosen = Chosen(*chosen_view(now, asked.category, asked.horizon), area_cells(service, now, asked.area))
    key = (now.facts()["region"], now.state, as_what, asked.category, chosen.horizon, asked.area)
    head = {**_named(now, chosen), "area": asked.area}
    body = service.answers.get(key, lambda: WRITERS[as_what](head, chosen))
    return Response(body, headers=headers, media_type=MEDIA_TYPES[as_what])


@router.get("/regions/{region}/cells/{cell}", response_model=contract.Cell)
async def cell(
    now: TheRegion,
    cell: Annotated[str, Path(pattern=CELL_ID)],
    asked: Annotated[contract.CellView, Query()],
) -> Response:
    """One cell's scores of every category and horizon, and what made those of the riskiest cells."""
    must_be_current(now, asked.require)
    grid = now.frames.by_category.spec.grid
    try:
        place = grid.index_of(cell)
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    (row, col), (lat, lon) = divmod(place, grid.cols), (float(degrees[place]) for degrees in grid.centres())
    at = {"cell": f"r{row:03d}c{col:03d}", "lat": round(lat, 5), "lon": round(lon, 5), "geohash": geohash(lat, lon, 8)}
    rows = [
        _cell_score(now, category, horizon, place)
        for category in categories_of(now.frames.by_category.spec)
        for horizon in range(len(now.frames.by_category.spec.horizons_s))
    ]
    return json_answer({**now.facts(), **at, "scores": rows}, now)


@router.get("/regions/{region}/areas", response_model=contract.AreaScores)
async def areas(service: TheService, now: TheRegion, asked: Annotated[contract.View, Query()]) -> Response:
    """What to expect in each area of the file that the service was given."""
    must_be_current(now, asked.require, asked.category)
    view = chosen_view(now, asked.category, asked.horizon)
    of_region = service.cells_of(now.frames.by_category.spec.grid)
    rows = [{"area": name, **_together(Chosen(*view, cells))} for name, cells in of_region.items()]
    named = _named(now, Chosen(*view, np.zeros(0, np.int32)))
    return json_answer({**named, "areas": rows, "assumes": ASSUMES}, now)


def _together(chosen: Chosen) -> dict[str, Any]:
    """What the chosen cells expect together."""
    support = np.bincount(chosen.values("support"), minlength=len(SUPPORT)).tolist()
    return {
        "expected": float(chosen.values("expected").sum(dtype=np.float64)),
        "usual": float(chosen.values("usual").sum(dtype=np.float64)),
        "observed_1h": int(chosen.values("observed_1h").sum()),
        "risk": float(1 - np.prod(1 - chosen.values("risk").astype(np.float64))),
        "support": dict(zip(SUPPORT, support, strict=True)),
    }


def chosen_view(now: Now, category: str, horizon: str | None) -> tuple[Any, int, int]:
    """(view, category's place, horizon's place). Raises 404 for one that the region does not have."""
    spec = now.frames.by_category.spec
    place = view_of(now.frames, category)
    if place is None:
        raise HTTPException(404, f"no category {category!r} in {spec.region}: {', '.join(categories_of(spec))}")
    names = spec.horizon_names
    if horizon is not None and horizon not in names:
        raise HTTPException(404, f"no horizon {horizon!r} in {spec.region}: {', '.join(names)}")
    return (*place, names.index(horizon) if horizon else 0)


def area_cells(service: TheService, now: Now, name: str | None) -> Cells:
    """The cells of the area; all without a name. Raises 404 for one that the region does not have."""
    grid = now.frames.by_category.spec.grid
    if name is None:
        return np.arange(grid.cells, dtype=np.int32)
    areas = service.cells_of(grid)
    if name not in areas:
        raise HTTPException(404, f"no area {name!r} in this region: {', '.join(areas) or 'none was given'}")
    return areas[name]


def _named(now: Now, chosen: Chosen) -> dict[str, Any]:
    names = {"category": chosen.view.categories[chosen.category]}
    return {**now.facts(), **names, "horizon": chosen.view.spec.horizon_names[chosen.horizon]}


def _region(now: Now, areas: list[str]) -> dict[str, Any]:
    spec = now.frames.by_category.spec
    per_lat, per_lon = spec.grid.metres_per_degree
    steps = {"cell_lat_deg": spec.grid.cell_m / per_lat, "cell_lon_deg": spec.grid.cell_m / per_lon}
    return {
        **now.facts(),
        "timezone": spec.timezone,
        "tick_s": spec.tick_s,
        "answered_by": spec.answered_by,
        "stale_after_s": max(OLDEST_SCORES_S, 3 * spec.tick_s),
        "grid": {**msgspec.structs.asdict(spec.grid), **steps},
        "categories": categories_of(spec),
        "horizons": spec.horizon_names,
        "areas": areas,
    }


def _cell_score(now: Now, category: str, horizon: int, cell: int) -> dict[str, Any]:
    view, place, _ = chosen_view(now, category, None)
    chosen = Chosen(view, place, horizon, np.array([cell], np.int32))
    ranked = riskiest(view.risk[:, place, horizon], view.expected[:, place, horizon], 10).tolist()
    rank = ranked.index(cell) + 1 if cell in ranked else None
    factors = None
    if rank is not None and rank <= len(view.attribution):
        shares = view.attribution[rank - 1, place, horizon]
        factors = [
            {"group": group, "says": says, "factor": number(share)}
            for (group, says), share in zip(ATTRIBUTION_GROUPS.items(), shares, strict=True)
        ]
    return {
        "category": category,
        "horizon": view.spec.horizon_names[horizon],
        **{name: number(chosen.values(name)[0]) for name in NUMBERS},
        "observed_1h": int(chosen.values("observed_1h")[0]),
        "support": SUPPORT[chosen.values("support")[0]],
        "rank": rank,
        "factors": factors,
    }
