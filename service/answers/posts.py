"""Which share of the expected calls the free units reach now.

It computes with the scores and keeps nothing: a request names places, never a unit or a crew, and is forgotten.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Security
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.readiness.answer import ASSUMES, answered_columns, reached_by
from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.question import Posts, Question
from models.readiness.reach import Drive, by_straight_line, metres_of, refuse_outside
from schemas.errors import ArtifactError, DataError
from schemas.grid import Floats, Grid
from schemas.spec import ALL_CATEGORIES
from service.answers.contract import HorizonView
from service.answers.posts_contract import PostsAsked, Readiness
from service.answers.scores import chosen_view
from service.problems import problems_of
from service.service import Now, Service, TheService, json_answer, must_be_current, region_of

_MOST_BARE = 10
router = APIRouter(prefix="/v1", tags=["readiness"])


@router.post("/regions/{region}/posts", response_model=Readiness, responses=problems_of(400, 413))
def posts(
    service: TheService,
    now: Annotated[Now, Security(region_of, scopes=["posts"])],
    asked: PostsAsked,
    view: Annotated[HorizonView, Query()],
) -> Response:
    """The share of the expected calls that free units have within reach."""
    for category in now.frames.by_category.spec.answered_by or (ALL_CATEGORIES,):
        must_be_current(now, view.require, category)
    spec = now.frames.by_category.spec
    *_, horizon = chosen_view(now, ALL_CATEGORIES, view.horizon)
    try:
        answer = _answer(service, now, asked, horizon)
    except (ArtifactError, DataError) as error:
        raise HTTPException(422, str(error)) from error
    facts = {**now.facts(), "horizon": spec.horizon_names[horizon], "categories": spec.answered_by}
    return json_answer({**facts, **answer, "assumes": ASSUMES}, now)


def _answer(service: Service, now: Now, asked: PostsAsked, horizon: int) -> dict[str, Any]:
    """Raises ArtifactError and DataError for what is refused."""
    frame = now.frames.by_category
    grid, answered = frame.spec.grid, answered_columns(frame.spec)
    expected, usual = (each[:, answered, horizon].sum(axis=1, dtype=float) for each in (frame.expected, frame.usual))
    has_history = np.asarray((frame.support[:, answered] > 0).any(axis=1))
    named = service.cells_of(grid)
    areas = named or parts_of(grid)
    degrees = np.array([(spot.lat, spot.lon) for spot in asked.units], np.float64).reshape(-1, 2)
    refuse_outside(grid, *degrees.T)
    drive, standing = Drive(minutes=asked.reach_minutes, speed_kmh=asked.speed_kmh), tuple(range(len(degrees)))
    question = Question(
        expected=expected,
        reach=by_straight_line(grid, metres_of(grid, *degrees.T), drive),
        units=max(len(standing), 1),
        busy=asked.busy,
        areas=with_enough(areas, expected, has_history, least=0 if named else LEAST_PART),
        floor=asked.floor,
    )
    return {
        **asdict(reached_by(question, standing, areas)),
        "usual_within": round(replace(question, expected=usual).within(standing), 4),
        "bare": list(_bare(question, standing, grid)),
        "warnings": list(_warnings(now, expected, [name for name in areas if not has_history[areas[name]].any()])),
    }


def _bare(question: Question, standing: Posts, grid: Grid) -> Iterator[dict[str, Any]]:
    expected, ids, centres = question.expected, grid.cell_ids(), np.stack(grid.centres(), axis=1)
    covered = question.reach.covered(standing).reshape(grid.cells, -1) > 0
    cells = np.flatnonzero((covered.mean(axis=1) < 0.5) & (expected > 0))
    for cell in cells[np.argsort(-expected[cells], kind="stable")][:_MOST_BARE].tolist():
        yield {"cell": ids[cell], **_spot(centres[cell]), "expected": round(float(expected[cell]), 4)}


def _spot(degrees: Floats) -> dict[str, float]:
    """degrees: (2,) latitude, longitude."""
    return dict(zip(("lat", "lon"), degrees.round(5).tolist(), strict=True))


def _warnings(now: Now, expected: Floats, bare: list[str]) -> Iterator[str]:
    if now.is_stale:
        yield f"the scores are for {now.facts()['as_of']}, not for now"
    if now.frames.by_category.baseline_only:
        yield "the network gave no scores: what is expected is what is usual at this hour"
    if expected.sum() < 1:
        yield f"{expected.sum():.2g} calls are expected: for so few the share says little"
    if bare:
        yield f"no call is on record in {', '.join(bare)}: what is expected there is a guess, and no floor holds"
