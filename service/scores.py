"""The routes under /v1 that tell scores: regions, scores, one cell, areas, what is unusual, hours, lines for a map.

Scores are written by Arrow as JSON, GeoJSON or CSV, as a client accepts. A number is the shortest text that gives the
same float32 when it is read: nothing is rounded, as it is for the store.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.areas import PlaceNames, cells_in_words
from schemas.errors import DataError, SettingsError
from schemas.files import instant_text
from schemas.fine import square_edges
from schemas.frame import ATTRIBUTION_GROUPS, SUPPORT, RiskFrame, riskiest
from schemas.grid import CELL_ID, Cells, Grid, geohash
from schemas.limits import MAX_SQUARES, UNUSUAL_DAYS
from schemas.spec import ALL_CATEGORIES, HOUR_S
from service import answers
from service.callers import (
    TheCaller,
    TheRegion,
    TheService,
    json_answer,
    json_bytes,
    must_be_current,
    problems_of,
    seen_by,
)
from service.service import Now, Service, categories_of, stale_after_s
from streaming.cli.maps import border_and_areas, read_streets
from streaming.sinks.line_protocol import SMALLEST

log = logging.getLogger(__name__)
ASSUMES = (
    "The counts of the cells, and of the categories in `all`, are independent, given the forecast: expected adds up, "
    "and risk is one minus the product of no incident in each cell. Where they rise and fall together, risk is lower."
)
CHANCE_ALONE = (
    "low and high are of a Poisson distribution with the usual number as its mean: hours differ more from one another "
    "than that where calls come together"
)
_NO_SHAPES = json_bytes({"type": "FeatureCollection", "features": []})
_SPARE_S = 600  # by which two frames may differ from an hour, as where the job was restarted
Format = Literal["json", "geojson", "csv"]
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
}
_PLAIN: dict[str, Format] = {media.partition(";")[0]: name for name, media in MEDIA_TYPES.items()}
_ANY: dict[str, Format] = {"*/*": "json", "application/*": "json", "text/*": "csv"}
NUMBERS = ("expected", "usual", "risk", "low", "high")
_SUPPORT = pa.array([f'"{name}"' for name in SUPPORT])
_GEOJSON = MEDIA_TYPES["geojson"]
_SCORES: dict[int | str, dict[str, Any]] = {
    200: {"content": {_GEOJSON: {"schema": answers.SCORED_SHAPES}, "text/csv": {"schema": {"type": "string"}}}}
}
_TOO_MANY = f"A parameter is not as described, or `fine` asks for more than {MAX_SQUARES:,} squares: give an `area`"
_LINES: dict[int | str, dict[str, Any]] = {200: {"content": {_GEOJSON: {"schema": answers.SHAPES}}}}
router = APIRouter(prefix="/v1", tags=["scores"])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is told: a view's category and horizon, by their places in it, and the cells."""

    view: RiskFrame
    category: int
    horizon: int
    cells: Cells

    def values(self, name: str) -> Any:
        """(cells,) of one of the frame's arrays."""
        array = getattr(self.view, name)[self.cells, self.category]
        return array[:, self.horizon] if array.ndim > 1 else array


def chosen_view(now: Now, category: str, horizon: str | None) -> tuple[RiskFrame, int, int]:
    """(view, category's place, horizon's place). Raises 404 for one that the region does not have."""
    view = now.frames.over_all if category == ALL_CATEGORIES else now.frames.by_category
    if category not in view.categories:
        names = ", ".join(categories_of(now.spec))
        raise HTTPException(404, f"no category {category!r} in {now.spec.region}: {names}")
    horizons = now.spec.horizon_names
    if horizon is not None and horizon not in horizons:
        raise HTTPException(404, f"no horizon {horizon!r} in {now.spec.region}: {', '.join(horizons)}")
    return view, view.categories.index(category), horizons.index(horizon) if horizon else 0


def area_cells(service: Service, now: Now, name: str | None) -> Cells:
    """The cells of the area; all without a name. Raises 404 for one that the region does not have."""
    grid = now.spec.grid
    if name is None:
        return np.arange(grid.cells, dtype=np.int32)
    areas = service.cells_of(grid)
    if name not in areas:
        raise HTTPException(404, f"no area {name!r} in this region: {', '.join(areas) or 'none was given'}")
    return areas[name]


def shown_for(service: Service, now: Now, asked: answers.PastCellView, category: str = ALL_CATEGORIES) -> Now:
    """The region now, or as it was at the beginning of an hour.

    Raises 404 where that is not known, 503 where it must be current and is not.
    """
    hour = now if asked.at is None else service.at_hour(now, int(asked.at.timestamp()))
    if isinstance(hour, str):
        raise HTTPException(404, f"nothing of {asked.at} can be shown: {hour}; /hours lists what there is")
    must_be_current(hour, asked.require, category)
    return hour


@router.get("/regions", response_model=answers.Regions)
async def regions(service: TheService, caller: TheCaller) -> Response:
    """The regions that the token opens: their grid, categories, horizons and areas, and how old their scores are."""
    described: list[answers.Region] = []
    for now in map(service.now_of, seen_by(service, caller)):
        spec, grid = now.spec, now.spec.grid
        per_lat, per_lon = grid.metres_per_degree
        described.append(
            {
                **now.facts(),
                "timezone": spec.timezone,
                "tick_s": spec.tick_s,
                "fine": spec.fine if service.shares_of(now) else 1,
                "answered_by": list(spec.answered_by),
                "stale_after_s": stale_after_s(spec),
                "grid": {
                    "south_deg": grid.south_deg,
                    "west_deg": grid.west_deg,
                    "cell_m": grid.cell_m,
                    "rows": grid.rows,
                    "cols": grid.cols,
                    "cell_lat_deg": grid.cell_m / per_lat,
                    "cell_lon_deg": grid.cell_m / per_lon,
                },
                "categories": categories_of(spec),
                "horizons": list(spec.horizon_names),
                "areas": list(service.cells_of(grid)),
            }
        )
    answer: answers.Regions = {"regions": described, "withheld": service.frames.withheld or None}
    return json_answer(answer)


@router.get(
    "/regions/{region}/scores",
    response_model=answers.RegionScores,
    responses={**_SCORES, **problems_of(406), 422: {**problems_of(422)[422], "description": _TOO_MANY}},
)
async def scores(
    request: Request, service: TheService, now: TheRegion, asked: Annotated[answers.ScoresView, Query()]
) -> Response:
    """The scores of every cell, or of an area's, for one category and horizon."""
    now = shown_for(service, now, asked, asked.category)
    as_what = format_of(asked.format, request.headers.get("accept"))
    headers = {**now.headers(), "Vary": "Accept, Authorization, Cookie"}
    chosen = Chosen(*chosen_view(now, asked.category, asked.horizon), area_cells(service, now, asked.area))
    horizon = now.spec.horizon_names[chosen.horizon]
    head: answers.ScoresHead = {
        **now.facts(), "category": asked.category, "horizon": horizon, "area": asked.area,
    }  # fmt: skip
    shares = service.shares_of(now) if asked.fine else None
    if asked.fine and shares is None and as_what != "json":
        raise HTTPException(404, f"{now.spec.region} has no squares inside its cells: its version was trained without")
    if shares is not None and (squares := len(chosen.cells) * shares.fine**2) > MAX_SQUARES:
        many = (
            f"{len(chosen.cells):,} cells of {shares.fine} x {shares.fine} squares are {squares:,} squares, an answer "
            f"has at most {MAX_SQUARES:,}: ask for an `area` of at most {MAX_SQUARES // shares.fine**2:,} cells, or "
            "without `fine`"
        )
        raise HTTPException(422, many)
    key = (now.spec.region, now.state, as_what, asked.category, chosen.horizon, asked.area, shares is not None)

    def write() -> bytes:
        if shares is None:
            return _WRITERS[as_what](head, chosen, None)
        frame = now.frames.by_category
        categories = range(len(frame.categories)) if chosen.view.is_sum else [chosen.category]
        means = np.stack([frame.expected[..., chosen.horizon], frame.usual[..., chosen.horizon]])
        expected, usual = shares.in_squares(means, chosen.cells, categories)
        return _WRITERS[as_what](head, chosen, Squares(shares.fine, expected, usual))

    body = await service.answers.get_large(key, write) if shares is not None else service.answers.get(key, write)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[as_what])


@dataclass(frozen=True, slots=True)
class Squares:
    """Expected and usual incidents in the squares of the chosen cells, (cells, squares) each."""

    fine: int
    expected: npt.NDArray[np.float32]
    usual: npt.NDArray[np.float32]


@router.get("/regions/{region}/cells/{cell}", response_model=answers.Cell)
async def cell(
    now: TheRegion,
    cell: Annotated[str, Path(pattern=CELL_ID)],
    service: TheService,
    asked: Annotated[answers.PastCellView, Query()],
) -> Response:
    """One cell's scores of every category and horizon, and what made those of the riskiest cells."""
    now = shown_for(service, now, asked)
    grid = now.spec.grid
    try:
        place = grid.index_of(cell)
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    (row, col), (lat, lon) = divmod(place, grid.cols), (float(degrees[place]) for degrees in grid.centres())
    rows: list[answers.CellScore] = []
    for category, horizon in product(categories_of(now.spec), now.spec.horizon_names):
        view, at_category, at_horizon = chosen_view(now, category, horizon)
        chosen = Chosen(view, at_category, at_horizon, np.array([place], np.int32))
        risks, counts = (array[:, at_category, at_horizon] for array in (view.risk, view.expected))
        ranked = riskiest(risks, counts, 10).tolist()
        rank = ranked.index(place) + 1 if place in ranked else None
        factors: list[answers.Factor] | None = None
        if rank is not None and rank <= len(view.attribution):
            shares = view.attribution[rank - 1, at_category, at_horizon]
            factors = [
                {"group": group, "says": says, "factor": number(share)}
                for (group, says), share in zip(ATTRIBUTION_GROUPS.items(), shares, strict=True)
            ]
        expected, usual, risk, low, high = (number(chosen.values(name)[0]) for name in NUMBERS)
        rows.append(
            {
                "category": category,
                "horizon": horizon,
                "expected": expected,
                "usual": usual,
                "risk": risk,
                "low": low,
                "high": high,
                "observed_1h": int(chosen.values("observed_1h")[0]),
                "support": cast("answers.Support", SUPPORT[chosen.values("support")[0]]),
                "rank": rank,
                "factors": factors,
            }
        )
    answer: answers.Cell = {
        **now.facts(),
        "cell": f"r{row:03d}c{col:03d}",
        "lat": round(lat, 5),
        "lon": round(lon, 5),
        "geohash": geohash(lat, lon, 8),
        "scores": rows,
    }
    return json_answer(answer, now)


@router.get("/regions/{region}/areas", response_model=answers.AreaScores)
async def areas(service: TheService, now: TheRegion, asked: Annotated[answers.View, Query()]) -> Response:
    """What to expect in each area of the file that the service was given."""
    now = shown_for(service, now, asked, asked.category)
    view, category, horizon = chosen_view(now, asked.category, asked.horizon)
    rows: list[answers.AreaRow] = []
    for name, cells in service.cells_of(now.spec.grid).items():
        chosen = Chosen(view, category, horizon, cells)
        support = np.bincount(chosen.values("support"), minlength=len(SUPPORT)).tolist()
        rows.append(
            {
                "area": name,
                "expected": float(chosen.values("expected").sum(dtype=np.float64)),
                "usual": float(chosen.values("usual").sum(dtype=np.float64)),
                "observed_1h": int(chosen.values("observed_1h").sum()),
                "risk": float(1 - np.prod(1 - chosen.values("risk").astype(np.float64))),
                "support": cast("dict[answers.Support, int]", dict(zip(SUPPORT, support, strict=True))),
            }
        )
    answer: answers.AreaScores = {
        **now.facts(),
        "category": asked.category,
        "horizon": now.spec.horizon_names[horizon],
        "areas": rows,
        "assumes": ASSUMES,
    }
    return json_answer(answer, now)


@router.get("/regions/{region}/unusual", response_model=answers.UnusualAnswer)
async def unusual(service: TheService, now: TheRegion, asked: Annotated[answers.UnusualView, Query()]) -> Response:
    """Where the last hours had more incidents than usual, the least likely place first; none where all is as usual."""
    now = shown_for(service, now, asked, asked.category)
    frame, grid = now.frames.by_category, now.spec.grid
    chosen_view(now, asked.category, None)
    inside, named = set(area_cells(service, now, asked.area).tolist()), service.cells_of(grid)
    names = _place_names(service.streets, grid)
    on_record = np.flatnonzero((frame.support > 0).any(axis=1) | (frame.observed_1h > 0).any(axis=1)).astype(np.int32)
    ids, (lats, lons) = grid.cell_ids(), grid.corners()
    places: list[answers.UnusualPlace] = []
    for place in frame.unusual:
        cells = place.cells(grid)
        if asked.category not in (ALL_CATEGORIES, place.category) or inside.isdisjoint(cells.tolist()):
            continue
        above = list(place.above) or cells.tolist()
        south, north = float(lats[place.row]), float(lats[place.row + place.rows])
        west, east = float(lons[place.col]), float(lons[place.col + place.cols])
        area = _area_of(np.intersect1d(cells, on_record), named)
        with_some = {name: int(np.isin(above, there).sum()) for name, there in named.items()}
        name = area or names.of_rectangle(cells, place.above)
        places.append(
            {
                "category": place.category,
                "place": " · ".join(filter(None, (name, cells_in_words(cells, grid)))),
                "cells": [ids[cell] for cell in cells.tolist()],
                "above": [ids[cell] for cell in above],
                "bbox": [round(degrees, 5) for degrees in (west, south, east, north)],
                "hours": place.hours,
                "observed": place.observed,
                "usual": place.usual,
                "of_categories": place.of_categories,
                "more": round(place.observed - place.usual, 3),
                "once_in_days": place.days,
                "area": area,
                "areas": sorted(filter(with_some.get, with_some), key=lambda name: -with_some[name]),
            }
        )
    answer: answers.UnusualAnswer = {
        **now.facts(), "category": asked.category, "area": asked.area, "least_days": UNUSUAL_DAYS, "places": places,
    }  # fmt: skip
    return json_answer(answer, now)


@lru_cache(maxsize=16)
def _place_names(path: FilePath | None, grid: Grid) -> PlaceNames:
    """Those of the file of streets; none where it cannot be read, as `/streets` says."""
    try:
        streets = json.loads(_streets(path, grid)) if path else {"features": []}
    except SettingsError:
        streets = {"features": []}
    return PlaceNames(streets, grid)


@router.get("/regions/{region}/hours", response_model=answers.DayAnswer)
def hours(service: TheService, now: TheRegion, asked: Annotated[answers.DayView, Query()]) -> Response:
    """Hour by hour of the last day what came in, beside what was usual; and which hours `at` can show."""
    view, category, _ = chosen_view(now, asked.category, None)
    cells = area_cells(service, now, asked.area)
    categories = slice(None) if view.is_sum else [category]
    before, rows = None, list[answers.Hour]()
    for at_s, hour in service.hours_of(now).items():
        row: answers.Hour = {
            "at": instant_text(at_s), "as_of": None, "why": None, "observed": None, "usual": None, "low": None,
            "high": None,
        }  # fmt: skip
        if isinstance(hour, str):
            row["why"], before = hour, None
        else:
            row["as_of"] = instant_text(hour.as_of_s)
            row["observed"] = int(hour.observed[cells][:, categories].sum())
            if before and abs(hour.as_of_s - before.as_of_s - HOUR_S) <= _SPARE_S:
                row["usual"] = usual = float(before.usual[cells][:, categories].sum(dtype=np.float64))
                row["low"], row["high"] = by_chance(usual)
            before = hour
        rows.append(row)
    answer: answers.DayAnswer = {
        **now.facts(), "category": asked.category, "area": asked.area, "hours": rows, "assumes": CHANCE_ALONE,
    }  # fmt: skip
    return json_answer(answer, now)


def by_chance(mean: float) -> tuple[int, int]:
    """5 % and 95 % quantiles of a Poisson distribution.

    >>> by_chance(10.0)
    (5, 15)
    """
    counts = np.arange(1, int(mean + 10 * mean**0.5) + 20)
    logs = np.concatenate(([0.0], np.cumsum(np.log(max(mean, SMALLEST)) - np.log(counts)))) - mean
    shares = np.cumsum(np.exp(logs))
    low, high = np.searchsorted(shares, (0.05, 0.95)).tolist()
    return low, high


def _area_of(cells: Cells, areas: Mapping[str, Cells]) -> str | None:
    """The area that has most of a place's cells with incidents on record, half of them at least; None for none."""
    shared = {name: int(np.isin(cells, inside).sum()) for name, inside in areas.items()}
    most = max(shared, key=lambda name: shared[name], default=None)
    return most if most is not None and 2 * shared[most] >= max(1, len(cells)) else None


@router.get("/regions/{region}/outlines", responses=_LINES, response_class=Response)
async def outlines(service: TheService, now: TheRegion) -> Response:
    """Lines around the region's cells, and around each area, which has the property `area`."""
    here = service.cells_of(now.spec.grid)
    lines = border_and_areas(now.spec.grid, [area for area in service.areas if area.name in here])
    return Response(json_bytes(lines), media_type=_GEOJSON)


@router.get("/regions/{region}/streets", responses=_LINES, response_class=Response)
async def streets(service: TheService, now: TheRegion) -> Response:
    """Streets and named places at the region, of the file that the service was given. `attribution`: whose.

    Stations that it was given are points with the `kind` station.
    """
    grid = now.spec.grid
    inside = grid.locate(*np.array([(each.lat, each.lon) for each in service.stations]).reshape(-1, 2).T)[1]
    stations = [
        {
            "type": "Feature",
            "properties": {"name": each.place, "kind": "station"},
            "geometry": {"type": "Point", "coordinates": [each.lon, each.lat]},
        }
        for each, is_here in zip(service.stations, inside.tolist(), strict=True)
        if is_here
    ]
    try:
        lines = _streets(service.streets, grid) if service.streets else _NO_SHAPES
        if stations:
            shapes = json.loads(lines)
            lines = json_bytes({**shapes, "features": shapes["features"] + stations})
    except SettingsError as error:
        log.warning("the streets cannot be read: %s", error)
        raise HTTPException(503, "the file of streets cannot be read: the log says why") from error
    return Response(lines, media_type=_GEOJSON)


@lru_cache(maxsize=16)
def _streets(path: FilePath, grid: Grid) -> bytes:
    streets = read_streets(path, [grid])
    if not streets["features"]:
        at = f"{grid.south_deg:g}, {grid.west_deg:g}"
        log.warning("%s has nothing at %s: are longitude and latitude exchanged?", path, at)
    return json_bytes(streets)


def _as_json(head: Mapping[str, Any], chosen: Chosen, squares: Squares | None) -> bytes:
    """`head` with the rows as its last field, `cells`."""
    columns = _columns(chosen)
    if squares is not None:
        starts = np.arange(0, squares.expected.size + 1, squares.fine**2, dtype=np.int32)
        of_each = pa.ListArray.from_arrays(starts, _texts(squares.expected.ravel()))
        columns["squares"] = _join("[", pc.binary_join(of_each, ","), "]")
    return _within(head, "cells", _join("{", *_members(columns), "}"))


def _as_geojson(head: Mapping[str, Any], chosen: Chosen, squares: Squares | None) -> bytes:
    """A FeatureCollection with `head` beside its features.

    A GIS shows properties alone: each feature also has lift, as_of and stale, and null where there is no history.
    """
    dated = json.dumps({name: head[name] for name in ("as_of", "stale")}, separators=(",", ":"))[1:]
    if squares is not None:
        columns, shapes = _square_columns(chosen, squares)
        start: tuple[Any, ...] = ('{"type":"Feature","geometry":', shapes, ',"properties":{')
    else:
        expected, usual = (np.maximum(chosen.values(name), SMALLEST) for name in ("expected", "usual"))
        columns = {**_columns(chosen), "lift": _texts(expected / usual)}  # as in the store's measurement `top`
        has_history = pa.array(chosen.values("support") > 0)
        for name in (*NUMBERS, "lift"):
            columns[name] = pc.if_else(has_history, columns[name], "null")
        shapes = _places(chosen.view.spec.grid)["shape"].take(pa.array(chosen.cells))
        start = ('{"type":"Feature","id":', columns["cell"], ',"geometry":', shapes, ',"properties":{')
    features = _join(*start, *_members(columns), f",{dated}}}")
    return _within({"type": "FeatureCollection", **head}, "features", features)


def _as_csv(head: Mapping[str, Any], chosen: Chosen, squares: Squares | None) -> bytes:
    """A line with the names of the columns, then one a cell; each repeats `head`, because a CSV has no other place."""
    columns = _columns(chosen) if squares is None else _square_columns(chosen, squares)[0]
    tail = ",".join(_quoted(value) for value in head.values())
    *_, last = columns
    parts: list[Any] = []
    for name, column in columns.items():
        parts += [column, "," if name != last else f",{tail}\r\n"]
    rows = _join(*parts).to_pylist() if len(columns[last]) else []
    return (",".join((*columns, *head)) + "\r\n" + "".join(rows)).encode()


def _square_columns(chosen: Chosen, squares: Squares) -> tuple[dict[str, Any], Any]:
    """Arrow strings of each square of a cell with history, and its shape as GeoJSON."""
    grid, fine, has_history = chosen.view.spec.grid, squares.fine, chosen.values("support") > 0
    cells, square = np.repeat(chosen.cells[has_history], fine**2), np.tile(np.arange(fine**2), int(has_history.sum()))
    rows, cols = cells // grid.cols * fine + square // fine, cells % grid.cols * fine + square % fine
    lats, lons = (pa.array([f"{degrees:.5f}" for degrees in edges.tolist()]) for edges in square_edges(grid, 2 * fine))
    south, lat, north = (lats.take(pa.array(2 * rows + more)) for more in (0, 1, 2))
    west, lon, east = (lons.take(pa.array(2 * cols + more)) for more in (0, 1, 2))
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = [part for x, y in corners for part in ("[", x, ",", y, "],")]
    ring[-1] = "]"
    columns = {
        "cell": _places(grid)["cell"].take(pa.array(cells)),
        "square": pc.cast(pa.array(square), pa.string()),
        "lat": lat,
        "lon": lon,
        "expected": _texts(squares.expected[has_history].ravel()),
        "usual": _texts(squares.usual[has_history].ravel()),
    }
    return columns, _join('{"type":"Polygon","coordinates":[[', *ring, "]]}")


def number(value: np.floating[Any]) -> float:
    """The shortest float that is the same float32 again."""
    return float(np.format_float_positional(value, unique=True, trim="0"))


def _members(columns: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = []
    for name, column in columns.items():
        parts += [f'{"," if parts else ""}"{name}":', column]
    return parts


def _columns(chosen: Chosen) -> dict[str, Any]:
    """Arrow strings of each cell, as JSON has them."""
    places = _places(chosen.view.spec.grid)
    cells = pa.array(chosen.cells)
    return {
        **{name: places[name].take(cells) for name in ("cell", "lat", "lon")},
        **{name: _texts(chosen.values(name)) for name in NUMBERS},
        "observed_1h": pc.cast(pa.array(chosen.values("observed_1h")), pa.string()),
        "support": _SUPPORT.take(pa.array(chosen.values("support"))),
    }


def _texts(values: Any) -> Any:
    """The numbers as texts with a point or an exponent: GDAL takes a column for one of integers by its first rows."""
    texts = pc.cast(pa.array(values), pa.string())
    return pc.if_else(pc.match_substring_regex(texts, "[.e]"), texts, _join(texts, ".0"))


def _within(head: Mapping[str, Any], name: str, rows: Any) -> bytes:
    start = json.dumps(dict(head), separators=(",", ":"))[:-1]
    return f'{start},"{name}":[{",".join(rows.to_pylist())}]}}'.encode()


def _join(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


@lru_cache(maxsize=256)
def _places(grid: Grid) -> dict[str, Any]:
    """Arrow strings of every cell: its id, its centre, its square as GeoJSON."""
    lat, lon = grid.centres()
    shapes = (feature["geometry"] for feature in grid.geojson()["features"])
    return {
        "cell": pa.array([f'"{cell}"' for cell in grid.cell_ids()]),
        "lat": pa.array([f"{y:.5f}" for y in lat.tolist()]),
        "lon": pa.array([f"{x:.5f}" for x in lon.tolist()]),
        "shape": pa.array([json.dumps(shape, separators=(",", ":")) for shape in shapes]),
    }


def _quoted(value: object) -> str:
    """Lists and objects are written as JSON: a CSV has no form of its own for them."""
    text = "" if value in (None, []) else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return '"' + text.replace('"', '""') + '"'


_WRITERS = {"json": _as_json, "geojson": _as_geojson, "csv": _as_csv}


def format_of(asked: Format | None, accept: str | None) -> Format:
    """The format by the parameter, else by the header Accept, its highest weight first. Raises 406 for neither."""
    if asked:
        return asked
    wanted = [_weighed(part) for part in (accept or "*/*").split(",")]
    for media, weight in sorted(wanted, key=lambda weighed: -weighed[1]):
        name = _PLAIN.get(media) or _ANY.get(media)
        if name and weight > 0:
            return name
    raise HTTPException(406, f"this address speaks {', '.join(_PLAIN)}, not {accept}")


def _weighed(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    weights = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0
