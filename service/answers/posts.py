"""Which share of the expected calls the free units reach now, and the few moves that would be worth it.

It computes with the scores and keeps nothing: a request names places, never a unit or a crew, and is forgotten.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Security
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.readiness.answer import ASSUMES, answered_columns, reached_by
from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.choose import Move, moves_worth_it, place_for_one_more
from models.readiness.question import Posts, Question
from models.readiness.reach import Drive, by_straight_line, metres_of, refuse_outside
from schemas.errors import ArtifactError, DataError
from schemas.grid import Floats, Grid
from schemas.spec import ALL_CATEGORIES
from service.answers.posts_contract import PostsAsked, PostsView, Readiness
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
    view: Annotated[PostsView, Query()],
) -> Response:
    """The share of the expected calls that free units have within reach; moves only as far as the request allows."""
    must_be_current(now, view.require)
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
    with_floor = with_enough(areas, expected, has_history, least=0 if named else LEAST_PART)
    places = _Places.of(grid, asked, has_history)
    question = Question(
        expected=expected,
        reach=by_straight_line(grid, places.metres, places.drive),
        units=max(len(places.posts), 1),
        busy=asked.busy,
        areas=[areas[name] for name in with_floor],
        floor=asked.floor,
    )
    return {
        **asdict(reached_by(question, places.posts, areas, with_floor)),
        "usual_within": round(replace(question, expected=usual).within(places.posts), 4),
        "bare": list(_bare(question, places.posts, grid)),
        **_advice(question, places, asked),
        "warnings": list(_warnings(now, expected, [name for name in areas if not has_history[areas[name]].any()])),
    }


def _bare(question: Question, posts: Posts, grid: Grid) -> Iterator[dict[str, Any]]:
    expected, ids, (lat, lon) = question.expected, grid.cell_ids(), grid.centres()
    covered = question.reach.covered(posts).reshape(grid.cells, -1) > 0
    cells = np.flatnonzero((covered.mean(axis=1) < 0.5) & (expected > 0))
    for cell in cells[np.argsort(-expected[cells], kind="stable")][:_MOST_BARE].tolist():
        at = {"lat": round(float(lat[cell]), 5), "lon": round(float(lon[cell]), 5)}
        yield {"cell": ids[cell], **at, "expected": round(float(expected[cell]), 4)}


def _warnings(now: Now, expected: Floats, bare: list[str]) -> Iterator[str]:
    if now.is_stale:
        yield f"the scores are for {now.facts()['as_of']}, not for now"
    if now.frames.by_category.baseline_only:
        yield "the network gave no scores: what is expected is what is usual at this hour"
    if expected.sum() < 1:
        yield f"{expected.sum():.2g} calls are expected: for so few the share says little"
    if bare:
        yield f"no call is on record in {', '.join(bare)}: what is expected there is a guess, and no floor holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """The first `targets` places may be gone to; then come units that return, those that are free, the one freed."""

    lat: Floats
    lon: Floats
    metres: Floats  # (places, 2)
    targets: int
    standing: Posts  # of the units that return and of those that are free
    posts: Posts  # of those that are free
    drive: Drive

    @classmethod
    def of(cls, grid: Grid, asked: PostsAsked, has_history: npt.NDArray[np.bool_]) -> "_Places":
        """Raises DataError for a place outside the grid."""
        spots = [*(asked.places or []), *asked.returning, *asked.units, *([asked.freed] if asked.freed else [])]
        lat, lon = (np.array([getattr(spot, name) for spot in spots], np.float64) for name in ("lat", "lon"))
        targets = len(asked.places or [])
        if not targets and (asked.most_moves or not asked.units or asked.freed):
            centres = [degrees[has_history] for degrees in grid.centres()]
            lat, lon = (np.concatenate(parts) for parts in zip(centres, (lat, lon), strict=True))
            targets = int(has_history.sum())
        refuse_outside(grid, lat, lon)
        standing = tuple(range(targets, targets + len(asked.units) + len(asked.returning)))
        return cls(
            lat=lat,
            lon=lon,
            metres=metres_of(grid, lat, lon),
            targets=targets,
            standing=standing,
            posts=standing[len(asked.returning) :],
            drive=Drive(minutes=asked.reach_minutes, speed_kmh=asked.speed_kmh),
        )

    def minutes_from(self, origins: Posts) -> Floats:
        """(origins, places) of driving."""
        way = self.metres[list(origins)][:, None] - self.metres[None]
        return self.drive.minutes_for(np.hypot(way[..., 0], way[..., 1]))

    def to(self, move: Move, origin: int) -> dict[str, float]:
        """What a move gains, and what it takes."""
        minutes = self.minutes_from((origin,))[0, move.place]
        at = {"lat": round(float(self.lat[move.place]), 5), "lon": round(float(self.lon[move.place]), 5)}
        return {**at, "gain": round(move.gain, 4), "minutes": round(float(minutes), 1)}


def _advice(question: Question, places: _Places, asked: PostsAsked) -> Mapping[str, Any]:
    """The moves that are worth it, and the place for a unit that becomes free."""
    moves: list[Move] = []
    freed, may_be_gone_to = None, np.arange(len(places.lat)) < places.targets
    if asked.units and asked.most_moves and places.targets:
        returning = places.standing[: len(asked.returning)]
        allowed = may_be_gone_to & (places.minutes_from(places.standing) <= asked.most_minutes)
        least, most, counted = asked.least_gain, asked.most_moves, len(places.standing)
        with_returning = replace(question, units=counted, fixed=returning)
        moves += moves_worth_it(with_returning, places.standing, least_gain=least, most_moves=most, allowed=allowed)
    if asked.freed and places.targets:
        freed = place_for_one_more(question, places.standing, may_be_gone_to)
    return {
        "moves": [
            {"unit": move.unit - len(asked.returning), **places.to(move, places.standing[move.unit])} for move in moves
        ],
        "freed": places.to(freed, len(places.lat) - 1) if freed else None,
    }
