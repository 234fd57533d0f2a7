"""Which share of the expected calls the free units reach now, and the few moves that would be worth it.

It computes with the scores and keeps nothing: a request names places, never a unit or a crew, and is forgotten.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.readiness.areas import LEAST_PART, parts_of, with_enough
from models.readiness.choose import Move, moves_worth_it, place_for_one_more
from models.readiness.question import EQUAL, Posts, Question, shares_of
from models.readiness.reach import Drive, by_straight_line, metres_of, refuse_outside
from schemas.errors import DataError
from schemas.grid import Cells, Floats, Grid
from schemas.spec import Spec
from service.answers import contract
from service.problems import problems_of
from service.service import Now, Service, TheRegion, TheService, json_bytes, must_be_current

ASSUMES = (
    "Units drive 1.3 times the straight line at one speed, and each is away for the same share of the time. Roads, "
    "hospitals, priorities and other agencies are not known. Places where people report less seem to need less."
)
_MOST_BARE = 10
router = APIRouter(prefix="/v1", tags=["readiness"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """(cells,) each, of the categories that units answer together."""

    expected: Floats
    usual: Floats
    has_history: npt.NDArray[np.bool_]


@router.post("/regions/{region}/posts", response_model=contract.Readiness, responses=problems_of(400, 413, 503))
def posts(
    service: TheService, now: TheRegion, asked: contract.PostsAsked, view: Annotated[contract.PostsView, Query()]
) -> Response:
    """The share of the expected calls that free units have within reach; moves only as far as the request allows."""
    must_be_current(now, view.require)
    spec = now.frames.by_category.spec
    horizon = _horizon(spec, view.horizon)
    scores = _scores(now, horizon)
    try:
        answer = _answer(service, now, asked, scores)
    except DataError as error:
        raise HTTPException(422, str(error)) from error
    facts = {**now.facts(), "horizon": spec.horizon_names[horizon], "categories": spec.answered_by}
    body = json_bytes({**facts, **answer, "assumes": ASSUMES})
    return Response(body, headers=now.headers(), media_type="application/json")


def _horizon(spec: Spec, name: str | None) -> int:
    if not spec.answered_by:
        said = "its spec names no category that standing units answer (`answered_by`)"
        raise HTTPException(422, f"{spec.region} has no posts: {said}. Posts for crime would be a patrol map")
    if name is not None and name not in spec.horizon_names:
        raise HTTPException(404, f"no horizon {name!r} in {spec.region}: {', '.join(spec.horizon_names)}")
    return spec.horizon_names.index(name) if name else 0


def _scores(now: Now, horizon: int) -> _Scores:
    frame = now.frames.by_category
    answered = [frame.spec.categories.index(name) for name in frame.spec.answered_by]
    expected, usual = (
        array[:, answered, horizon].sum(axis=1, dtype=np.float64) for array in (frame.expected, frame.usual)
    )
    return _Scores(expected=expected, usual=usual, has_history=np.asarray((frame.support[:, answered] > 0).any(axis=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """The first `targets` places may be gone to; then come the units, those that return, the one freed."""

    lat: Floats
    lon: Floats
    metres: Floats  # (places, 2)
    targets: int
    posts: Posts  # of the units
    returning: Posts
    drive: Drive

    @classmethod
    def of(cls, grid: Grid, asked: contract.PostsAsked, has_history: npt.NDArray[np.bool_]) -> "_Places":
        """Raises DataError for a place outside the grid."""
        here = [*asked.units, *asked.returning, *([asked.freed] if asked.freed else [])]
        going = asked.places or []
        lat, lon = (np.array([getattr(spot, name) for spot in (*going, *here)], np.float64) for name in ("lat", "lon"))
        targets = len(going)
        if not going and (asked.most_moves or not asked.units or asked.freed):
            centres = [degrees[has_history] for degrees in grid.centres()]
            lat, lon = (np.concatenate(parts) for parts in zip(centres, (lat, lon), strict=True))
            targets = int(has_history.sum())
        refuse_outside(grid, lat, lon)
        return cls(
            lat=lat,
            lon=lon,
            metres=metres_of(grid, lat, lon),
            targets=targets,
            posts=tuple(range(targets, targets + len(asked.units))),
            returning=tuple(range(targets + len(asked.units), targets + len(asked.units) + len(asked.returning))),
            drive=Drive(minutes=asked.reach_minutes, speed_kmh=asked.speed_kmh),
        )

    def allowed(self, standing: Posts, most_minutes: float) -> npt.NDArray[np.bool_]:
        """(units, places) where each may go: to a target that is near enough."""
        way = self.metres[list(standing)][:, None] - self.metres[None]
        near = self.drive.minutes_for(np.hypot(way[..., 0], way[..., 1])) <= most_minutes
        return np.asarray(near & (np.arange(len(self.lat)) < self.targets))

    def to(self, move: Move, origin: int) -> dict[str, float]:
        """What a move gains, and what it takes."""
        minutes = self.drive.minutes_for(np.hypot(*(self.metres[move.place] - self.metres[origin])))
        at = {"lat": round(float(self.lat[move.place]), 5), "lon": round(float(self.lon[move.place]), 5)}
        return {**at, "gain": round(move.gain, 4), "minutes": round(float(minutes), 1)}


def _answer(service: Service, now: Now, asked: contract.PostsAsked, scores: _Scores) -> dict[str, Any]:
    """Raises DataError for a place outside the grid, and for what is no question."""
    grid = now.frames.by_category.spec.grid
    named = service.cells_of(grid)
    areas = named or parts_of(grid)
    with_floor = with_enough(areas, scores.expected, scores.has_history, least=0 if named else LEAST_PART)
    places = _Places.of(grid, asked, scores.has_history)
    question = Question(
        expected=scores.expected,
        reach=by_straight_line(grid, places.metres, places.drive),
        units=max(len(places.posts), 1),
        busy=asked.busy,
        areas=[areas[name] for name in with_floor],
        floor=asked.floor,
    )
    shares = shares_of(question, places.posts, areas)
    usual = Question(expected=scores.usual, reach=question.reach, units=question.units)
    return {
        "units": len(places.posts),
        "expected": round(float(scores.expected.sum()), 4),
        "within": round(shares.within, 4),
        "usual_within": round(shares_of(usual, places.posts, {}).within, 4),
        "by_a_free_unit": round(shares.served, 4),
        "by_two": round(shares.twice, 4),
        "floor": asked.floor,
        "areas": [
            {
                "area": name,
                "expected": round(float(scores.expected[cells].sum()), 4),
                "within": None if np.isnan(shares.by_area[name]) else round(shares.by_area[name], 4),
                "floor_kept": shares.by_area[name] >= asked.floor - EQUAL
                if asked.floor and name in with_floor
                else None,
            }
            for name, cells in areas.items()
        ],
        "bare": list(_bare(question, places.posts, grid, scores.expected)),
        **_advice(question, places, asked),
        "warnings": list(_warnings(now, scores, areas)),
    }


def _bare(question: Question, posts: Posts, grid: Grid, expected: Floats) -> Iterator[dict[str, Any]]:
    covered = question.reach.covered(posts).reshape(grid.cells, -1) > 0
    cells = np.flatnonzero((covered.mean(axis=1) < 0.5) & (expected > 0))
    ids, (lat, lon) = grid.cell_ids(), grid.centres()
    for cell in cells[np.argsort(-expected[cells], kind="stable")][:_MOST_BARE].tolist():
        at = {"lat": round(float(lat[cell]), 5), "lon": round(float(lon[cell]), 5)}
        yield {"cell": ids[cell], **at, "expected": round(float(expected[cell]), 4)}


def _advice(question: Question, places: "_Places", asked: contract.PostsAsked) -> dict[str, Any]:
    """The moves that are worth it, and the place for a unit that becomes free."""
    if not places.targets:
        return {"moves": [], "freed": None}
    moves: Iterable[Move] = ()
    standing = (*places.posts, *places.returning)
    if asked.units:
        with_returning = replace(question, units=len(standing), fixed=places.returning)
        least, most = asked.least_gain, asked.most_moves
        allowed = places.allowed(standing, asked.most_minutes)
        moves = moves_worth_it(with_returning, standing, least_gain=least, most_moves=most, allowed=allowed)
    anywhere = np.arange(len(places.lat)) < places.targets
    freed = place_for_one_more(question, standing, anywhere) if asked.freed else None
    return {
        "moves": [{"unit": move.unit, **places.to(move, places.posts[move.unit])} for move in moves],
        "freed": places.to(freed, len(places.lat) - 1) if freed else None,
    }


def _warnings(now: Now, scores: _Scores, areas: Mapping[str, Cells]) -> Iterator[str]:
    if now.is_stale:
        yield f"the scores are for {now.facts()['as_of']}, not for now"
    if now.frames.by_category.baseline_only:
        yield "the network gave no scores: what is expected is what is usual at this hour"
    if scores.expected.sum() < 1:
        yield f"{scores.expected.sum():.2g} calls are expected: for so few the share says little"
    bare = [name for name, cells in areas.items() if not scores.has_history[cells].any()]
    if bare:
        yield f"no call is on record in {', '.join(bare)}: what is expected there is a guess, and no floor holds"
