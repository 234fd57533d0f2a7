"""The route that answers where more happens than usual."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from schemas.frame import Unusual
from schemas.grid import Cells, Grid
from schemas.limits import UNUSUAL_DAYS
from schemas.spec import ALL_CATEGORIES
from service.answers import contract
from service.answers.scores import area_cells, chosen_view
from service.service import TheRegion, TheService, json_answer, must_be_current

router = APIRouter(prefix="/v1", tags=["scores"])


@router.get("/regions/{region}/unusual", response_model=contract.UnusualAnswer)
async def unusual(service: TheService, now: TheRegion, asked: Annotated[contract.UnusualView, Query()]) -> Response:
    """Where the last hours had more incidents than usual, the least likely place first; none where all is as usual."""
    must_be_current(now, asked.require, asked.category)
    frame = now.frames.by_category
    chosen_view(now, asked.category, None)
    inside, areas = set(area_cells(service, now, asked.area).tolist()), service.cells_of(frame.spec.grid)
    on_record = np.flatnonzero((frame.support > 0).any(axis=1) | (frame.observed_1h > 0).any(axis=1)).astype(np.int32)
    places = [
        {
            **_written(place, frame.spec.grid),
            "area": _area_of(place.cells(frame.spec.grid), on_record, areas),
            "areas": _areas_of(_above(place, frame.spec.grid), areas),
        }
        for place in frame.unusual
        if asked.category in (ALL_CATEGORIES, place.category)
        and not inside.isdisjoint(place.cells(frame.spec.grid).tolist())
    ]
    answer = {**now.facts(), "category": asked.category, "area": asked.area, "least_days": UNUSUAL_DAYS}
    return json_answer({**answer, "places": places}, now)


def _area_of(place: Cells, on_record: Cells, areas: Mapping[str, Cells]) -> str | None:
    """The area that has most of the place's cells with incidents on record, half of them at least; None for none."""
    cells = np.intersect1d(place, on_record)
    shared = {name: int(np.isin(cells, inside).sum()) for name, inside in areas.items()}
    most = max(shared, key=lambda name: shared[name], default=None)
    return most if most is not None and 2 * shared[most] >= max(1, len(cells)) else None


def _above(place: Unusual, grid: Grid) -> list[int]:
    return list(place.above) or place.cells(grid).tolist()


def _areas_of(above: list[int], areas: Mapping[str, Cells]) -> list[str]:
    shared = {name: int(np.isin(above, inside).sum()) for name, inside in areas.items()}
    return sorted(filter(shared.get, shared), key=lambda name: -shared[name])


def _written(place: Unusual, grid: Grid) -> dict[str, Any]:
    ids, (lats, lons) = grid.cell_ids(), grid.corners()
    south, north = float(lats[place.row]), float(lats[place.row + place.rows])
    west, east = float(lons[place.col]), float(lons[place.col + place.cols])
    return {
        "category": place.category,
        "cells": [ids[cell] for cell in place.cells(grid).tolist()],
        "above": [ids[cell] for cell in _above(place, grid)],
        "bbox": [round(degrees, 5) for degrees in (west, south, east, north)],
        "hours": place.hours,
        "observed": place.observed,
        "usual": place.usual,
        "of_categories": place.of_categories,
        "more": round(place.observed - place.usual, 3),
        "once_in_days": place.days,
    }
