"""What people decided of places: what is in force, a new decision, and the record of all. No score changes by it."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.audit.verify import read_log
from schemas.errors import AuditError, DataError
from schemas.grid import Grid
from schemas.instants import instant_text
from schemas.spec import ALL_CATEGORIES
from service.answers import contract
from service.answers.scores import chosen_view
from service.decisions import Decision, decisions_in
from service.problems import problems_of
from service.service import Now, Service, TheCaller, TheService, caller_of, frames_of, json_answer
from service.tokens import Caller

MOST_ON_RECORD = 1000
router = APIRouter(prefix="/v1/regions/{region}/decisions", tags=["decisions"])


def of_this_site(request: Request, service: TheService) -> None:
    """Raises 403 for what a page of another site sends: a browser would add the cookie, or a proxy the token."""
    origin, headers = request.headers.get("origin"), request.headers
    is_named = origin in service.origins and "authorization" in headers
    if origin is not None and not is_named and origin.partition("://")[2] != headers.get("host"):
        said = "a page of another site may not decide here: use the service's own map, or name its origin with --origin"
        raise HTTPException(403, said)


@router.get("", response_model=contract.DecisionsInForce)
async def decisions(service: TheService, now: Annotated[Now, Depends(frames_of)], caller: TheCaller) -> Response:
    """What people decided of places, and what has not ended. The forecast is not changed by it."""
    return _in_force(service, now, caller)


@router.post(
    "",
    response_model=contract.DecisionsInForce,
    dependencies=[Depends(of_this_site)],
    responses=problems_of(400, 409, 413),
)
def decide(
    service: TheService,
    now: Annotated[Now, Security(frames_of, scopes=["decide"])],
    caller: Annotated[Caller, Security(caller_of, scopes=["decide"])],
    asked: contract.DecisionAsked,
) -> Response:
    """Acknowledge or override what the map shows of a place, for some hours, or withdraw that. It goes on record.

    Scores that are withheld, not of now, or of an expired model, are nothing to decide on; a decision is withdrawn at
    any time.
    """
    if asked.what != "withdrawn":
        _refuse_wrong_picture(now)
    spec, now_s = now.frames.by_category.spec, service.now_s()
    chosen_view(now, asked.category, None)
    _refuse_no_rectangle(spec.grid, asked.first, asked.last)
    told = asked.model_dump(exclude={"hours"})
    until, observed = instant_text(now_s + asked.hours * 3600), _observed(now, asked)
    decision = Decision(**told, region=spec.region, until=until, by=caller.name, observed=observed)
    try:
        service.decisions.decide(decision, now_s)
    except AuditError as error:
        raise HTTPException(503, f"nothing is decided: {error}") from error
    return _in_force(service, now, caller)


@router.get("/record", response_model=contract.DecisionsOnRecord)
def on_record(
    service: TheService,
    now: Annotated[Now, Security(frames_of, scopes=["record"])],
    limit: Annotated[int, Query(ge=1, le=MOST_ON_RECORD)] = 100,
) -> Response:
    """Who decided what, when, why and until when: the newest first, from the audit log that is in use."""
    region = now.frames.by_category.spec.region
    try:
        content = read_log(service.decisions.audit) if service.decisions.audit.exists() else b""
    except AuditError as error:
        raise HTTPException(503, str(error)) from error
    of_region = (decision for decision in decisions_in(content) if decision.region == region)
    return json_answer({"region": region, "decisions": list(islice(of_region, limit))})


def _in_force(service: Service, now: Now, caller: Caller) -> Response:
    region = now.frames.by_category.spec.region
    in_force = service.decisions.in_force(region, service.now_s())
    return json_answer({"region": region, "may_decide": caller.may("decide"), "decisions": in_force})


def _observed(now: Now, asked: contract.DecisionAsked) -> int:
    """Incidents in the rectangle: of the last hour, or more in an unusual place there in its own hours."""
    view, column, _ = chosen_view(now, asked.category, None)
    grid = view.spec.grid
    (south, west), (north, east) = (divmod(grid.index_of(cell), grid.cols) for cell in (asked.first, asked.last))
    cells = {row * grid.cols + col for row in range(south, north + 1) for col in range(west, east + 1)}
    in_places = [
        place.observed
        for place in view.unusual
        if asked.category in (ALL_CATEGORIES, place.category) and cells.issuperset(place.cells(grid).tolist())
    ]
    return int(max([view.observed_1h[list(cells), column].sum(), *in_places]))


def _refuse_wrong_picture(now: Now) -> None:
    """Raises 503 for scores that are withheld, 409 for those of a replay, stale ones, and those of an expired model."""
    if now.withheld:
        raise HTTPException(503, now.withheld)
    facts = now.facts()
    if now.is_stale:
        of = "a replay" if facts["clock"] == "event" else "stale"
        said = f"the scores are for {facts['as_of']}, and so {of}: decide when the map is LIVE"
        raise HTTPException(409, said)
    if facts["expired"]:
        raise HTTPException(409, f"{facts['expired']}: decide when a newer model scores")


def _refuse_no_rectangle(grid: Grid, first: str, last: str) -> None:
    """Raises 404 for a cell that the region does not have, 422 for corners that are exchanged."""
    try:
        (south, west), (north, east) = (divmod(grid.index_of(cell), grid.cols) for cell in (first, last))
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    if south > north or west > east:
        raise HTTPException(422, f"{first} to {last}: give the south-western cell as first, the north-eastern as last")
