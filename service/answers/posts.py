"""Which share of the expected calls the free units reach now, and the few moves that would be worth it.

It computes with the scores and keeps nothing: a request names places, never a unit or a crew, and is forgotten.
"""

from collections.abc import Iterator
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
    places = _Places.of(grid, asked, has_history)
    question = Question(
        expected=expected,
        reach=by_straight_line(grid, places.metres, places.drive),
        units=max(len(places.free), 1),
        busy=asked.busy,
        areas=with_enough(areas, expected, has_history, least=0 if named else LEAST_PART),
        floor=asked.floor,
    )
    return {
        **asdict(reached_by(question, places.free, areas)),
        "usual_within": round(replace(question, expected=usual).within(places.free), 4),
        "bare": list(_bare(question, places.free, grid)),
        "moves": list(places.moves(question, asked)),
        "freed": places.freed(question, asked) if asked.freed else None,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """The first `targets` may be gone to; then come units that return, those that are free, the one freed."""

    degrees: Floats  # (places, 2) latitude, longitude
    metres: Floats  # (places, 2)
    targets: int
    returning: Posts
    free: Posts
    drive: Drive

    @classmethod
    def of(cls, grid: Grid, asked: PostsAsked, has_history: npt.NDArray[np.bool_]) -> "_Places":
        """Raises DataError for a place outside the grid."""
        targets = [(spot.lat, spot.lon) for spot in asked.places or ()]
        if not targets and (asked.most_moves or asked.freed):
            targets = np.stack(grid.centres(), axis=1)[has_history].tolist()
        standing = [*asked.returning, *asked.units, *([asked.freed] if asked.freed else [])]
        degrees = np.array([*targets, *((spot.lat, spot.lon) for spot in standing)], np.float64).reshape(-1, 2)
        refuse_outside(grid, *degrees.T)
        free = len(targets) + len(asked.returning)
        return cls(
            degrees=degrees,
            metres=metres_of(grid, *degrees.T),
            targets=len(targets),
            returning=tuple(range(len(targets), free)),
            free=tuple(range(free, free + len(asked.units))),
            drive=Drive(minutes=asked.reach_minutes, speed_kmh=asked.speed_kmh),
        )

    def moves(self, question: Question, asked: PostsAsked) -> Iterator[dict[str, Any]]:
        """Those that are worth it. Units that return are counted, and stay."""
        if not (self.free and asked.most_moves and self.targets):
            return
        standing = (*self.returning, *self.free)
        counted = replace(question, units=len(standing), fixed=self.returning)
        near = np.stack([self._minutes_from(post) <= asked.most_minutes for post in standing])
        least, most, allowed = asked.least_gain, asked.most_moves, near & self._may_be_gone_to
        for move in moves_worth_it(counted, standing, least_gain=least, most_moves=most, allowed=allowed):
            yield {"unit": move.unit - len(self.returning), **self._to(move, standing[move.unit])}

    def freed(self, question: Question, asked: PostsAsked) -> dict[str, float]:
        """Where the unit that becomes free adds most: where it is, or within `most_minutes` of driving.

        No floor draws it away: one unit cannot keep what others lack.
        """
        own = len(self.degrees) - 1
        allowed = self._may_be_gone_to & (self._minutes_from(own) <= asked.most_minutes)
        allowed[own] = True
        move = place_for_one_more(replace(question, floor=0.0), (*self.returning, *self.free), allowed)
        return self._to(move, own)

    @property
    def _may_be_gone_to(self) -> npt.NDArray[np.bool_]:
        return np.arange(len(self.degrees)) < self.targets

    def _minutes_from(self, place: int) -> Floats:
        """(places,) of driving."""
        return self.drive.minutes_for(np.hypot(*(self.metres - self.metres[place]).T))

    def _to(self, move: Move, origin: int) -> dict[str, float]:
        minutes = round(float(self._minutes_from(origin)[move.place]), 1)
        return {**_spot(self.degrees[move.place]), "gain": round(move.gain, 4), "minutes": minutes}
