"""Which share of the expected calls the free units reach now.

It computes with the scores and keeps nothing: a request names places, never a unit or a crew, and is forgotten.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Security
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.readiness import (
    ASSUMES,
    BUSY,
    FLOOR,
    LEAST_PART,
    MOST_UNITS,
    Drive,
    Question,
    answered_columns,
    by_straight_line,
    metres_of,
    parts_of,
    reached_by,
    refuse_outside,
    with_enough,
)
from schemas.errors import ArtifactError, DataError
from schemas.fine import OVER_ALL
from schemas.spec import ALL_CATEGORIES
from service.answers import Amount, CellId, Chance, ClosedAnswer, ClosedRequest, Count, Facts, HorizonView
from service.callers import TheService, json_answer, must_be_current, problems_of, region_of
from service.scores import chosen_view
from service.service import Now, Service

_MOST_BARE = 10
router = APIRouter(prefix="/v1", tags=["readiness"])


class Spot(ClosedRequest):
    """A place: of no person, no crew, no vehicle."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class PostsAsked(ClosedRequest):
    units: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(description="Where the free units stand now")
    reach_minutes: Annotated[float, Field(gt=0, le=240)] = 8
    speed_kmh: Annotated[float, Field(gt=0, le=300)] = Field(40, description="Over 1.3 times the straight line")
    busy: Annotated[float, Field(ge=0, lt=1)] = Field(BUSY, description="Share of the time in which a unit is away")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        FLOOR, description="Share of each area's calls to have within reach; 0: none"
    )


class AreaWithin(ClosedAnswer):
    area: str
    expected: Amount
    within: Annotated[
        Chance | None, Field(description="Share of the area's expected calls within reach; null where none are")
    ]
    floor_kept: Annotated[bool | None, Field(description="null: the floor does not hold here")]


class BareCell(ClosedAnswer):
    cell: CellId
    lat: float
    lon: float
    expected: Amount


class Readiness(Facts):
    horizon: str
    categories: Annotated[list[str], Field(description="Those of the region that standing units answer")]
    units: Count
    expected: Amount
    within: Annotated[Chance, Field(description="Share of the expected calls within reach of a unit")]
    usual_within: Annotated[Chance, Field(description="The same share of what is usual for this hour of the week")]
    by_a_free_unit: Annotated[Chance, Field(description="Share reached if each unit is away for `busy` of the time")]
    by_two: Annotated[Chance, Field(description="Share within reach of two units or more")]
    floor: Annotated[Amount, Field(description="0: none, as the request asked")]
    areas: list[AreaWithin]
    bare: Annotated[
        list[BareCell], Field(description="Cells of which less than half is within reach, most expected first")
    ]
    warnings: list[str]
    assumes: str


@router.post("/regions/{region}/posts", response_model=Readiness, responses=problems_of(400, 413))
def posts(
    service: TheService,
    now: Annotated[Now, Security(region_of, scopes=["posts"])],
    asked: PostsAsked,
    view: Annotated[HorizonView, Query()],
) -> Response:
    """The share of the expected calls that free units have within reach."""
    for category in now.spec.answered_by or (ALL_CATEGORIES,):
        must_be_current(now, view.require, category)
    *_, horizon = chosen_view(now, ALL_CATEGORIES, view.horizon)
    try:
        return json_answer(_readiness(service, now, asked, horizon), now)
    except (ArtifactError, DataError) as error:
        raise HTTPException(422, str(error)) from error


def _readiness(service: Service, now: Now, asked: PostsAsked, horizon: int) -> Readiness:
    """Raises ArtifactError and DataError for what is refused."""
    frame, spec, grid = now.frames.by_category, now.spec, now.spec.grid
    answered = answered_columns(spec)
    expected, usual = (each[:, answered, horizon].sum(axis=1, dtype=float) for each in (frame.expected, frame.usual))
    has_history = np.asarray((frame.support[:, answered] > 0).any(axis=1))
    named = service.cells_of(grid)
    areas = named or parts_of(grid)
    degrees = np.array([(spot.lat, spot.lon) for spot in asked.units], np.float64).reshape(-1, 2)
    refuse_outside(grid, *degrees.T)
    shares = service.shares_of(now)
    drive, standing = Drive(minutes=asked.reach_minutes, speed_kmh=asked.speed_kmh), tuple(range(len(degrees)))
    question = Question(
        expected=expected,
        reach=by_straight_line(grid, metres_of(grid, *degrees.T), drive, spec.fine if shares else 1),
        units=max(len(standing), 1),
        shares=shares.of_category(OVER_ALL) if shares else None,
        busy=asked.busy,
        areas=with_enough(areas, expected, has_history, least=0 if named else LEAST_PART),
        floor=asked.floor,
    )
    reached = reached_by(question, standing, areas)

    ids, (lats, lons) = grid.cell_ids(), grid.centres()
    covered = question.reach.covered(standing).reshape(grid.cells, -1) > 0
    bare = np.flatnonzero((covered.mean(axis=1) < 0.5) & (expected > 0))
    most_expected = bare[np.argsort(-expected[bare], kind="stable")][:_MOST_BARE].tolist()

    warnings = []
    if now.is_stale:
        warnings.append(f"the scores are for {now.facts()['as_of']}, not for now")
    if frame.baseline_only:
        warnings.append("the network gave no scores: what is expected is what is usual at this hour")
    if expected.sum() < 1:
        warnings.append(f"{expected.sum():.2g} calls are expected: for so few the share says little")
    if guessed := [name for name in areas if not has_history[areas[name]].any()]:
        told = f"no call is on record in {', '.join(guessed)}: what is expected there is a guess, and no floor holds"
        warnings.append(told)

    return {
        **now.facts(),
        "horizon": spec.horizon_names[horizon],
        "categories": list(spec.answered_by),
        "units": reached.units,
        "expected": reached.expected,
        "within": reached.within,
        "by_a_free_unit": reached.by_a_free_unit,
        "by_two": reached.by_two,
        "floor": reached.floor,
        "areas": [
            {"area": area.area, "expected": area.expected, "within": area.within, "floor_kept": area.floor_kept}
            for area in reached.areas
        ],
        "usual_within": round(replace(question, expected=usual).within(standing), 4),
        "bare": [
            {
                "cell": ids[cell],
                "lat": round(float(lats[cell]), 5),
                "lon": round(float(lons[cell]), 5),
                "expected": round(float(expected[cell]), 4),
            }
            for cell in most_expected
        ],
        "warnings": warnings,
        "assumes": ASSUMES,
    }
