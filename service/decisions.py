"""What people decide of places on the map, on record: the audit log is the only store, shared by all processes.

A decision ends by itself, at most MOST_HOURS after it was taken. It changes no score.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.audit import Plain, parse_record, read_log, record
from schemas.errors import AuditError, DataError
from schemas.files import FileState, file_state, instant_text
from schemas.spec import ALL_CATEGORIES
from service.answers import Category, CellId, ClosedAnswer, ClosedRequest, Count, Instant
from service.callers import TheCaller, TheService, caller_of, frames_of, json_answer, problems_of
from service.scores import chosen_view
from service.service import Now, Service
from service.tokens import Caller

log = logging.getLogger(__name__)
MOST_HOURS = 24
MOST_ON_RECORD = 1000
router = APIRouter(prefix="/v1/regions/{region}/decisions", tags=["decisions"])

What = Literal["acknowledged", "overridden", "withdrawn"]
First = Annotated[CellId, Field(description="The south-western cell of a rectangle, as of an unusual place")]
Last = Annotated[CellId, Field(description="The north-eastern cell")]
# What nobody sees on the map, or what turns the direction of the words after it.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
Reason = Annotated[
    str,
    Field(
        max_length=120,
        pattern=rf"^[^{_UNSEEN}]*[^\s{_UNSEEN}][^{_UNSEEN}]*$",
        description="Of the place and what was done, as `unit sent`; never of a person",
    ),
]


class DecisionAsked(ClosedRequest):
    what: What
    category: Category
    first: First
    last: Last
    reason: Reason
    hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] = Field(4, description="After which it ends by itself")


class DecisionTaken(ClosedAnswer):  # as it is on record, but for `at`, which is the record's own
    what: What
    category: Category
    first: First
    last: Last
    reason: Reason
    region: str
    until: Instant
    by: Annotated[str, Field(description="The name of the token")]
    observed: Annotated[
        Count | None, Field(description="Incidents there when it was decided; null of a version without it")
    ]
    at: Instant


class DecisionsOnRecord(ClosedAnswer):
    region: str
    decisions: list[DecisionTaken]


class DecisionsInForce(DecisionsOnRecord):
    may_decide: Annotated[bool, Field(description="Whether this token may")]


@dataclass(slots=True)
class DecisionLog:
    """Those of the last MOST_HOURS, the newest first. A log that cannot be read leaves what was read before."""

    audit: Path
    _recent: tuple[DecisionTaken, ...] = ()
    _state: FileState | None = None  # of the log as it was read last
    _looking: Lock = field(default_factory=Lock)

    def in_force(self, region: str, now_s: float) -> list[DecisionTaken]:
        """The newest of each place, unless it has ended or is withdrawn. The log is read again if it has changed."""
        with self._looking:  # one thread at a time: another would take as read what is not yet
            state = file_state(self.audit)
            if state is not None and state != self._state:
                self._state, since = state, instant_text(now_s - MOST_HOURS * 3600)
                try:
                    self._recent = tuple(decisions_in(read_log(self.audit), since))
                except AuditError as error:
                    log.warning("decisions cannot be read: %s", error)
        newest: dict[tuple[str, str, str], DecisionTaken] = {}
        for decision in self._recent:
            if decision["region"] == region:
                newest.setdefault((decision["category"], decision["first"], decision["last"]), decision)
        now = instant_text(now_s)
        return [each for each in newest.values() if each["what"] != "withdrawn" and each["until"] > now]


def decisions_in(content: bytes, since: str = "") -> Iterator[DecisionTaken]:
    """The decisions in a log, the newest first, back to the first record of any kind before `since`."""
    for line in reversed(content.split(b"\n")):
        if (entry := parse_record(line)) is None:
            continue
        if (at := instant_text(entry.at.timestamp())) < since:
            return
        if entry.event == "place_decided":
            decided = {**entry.details, "observed": entry.details.get("observed"), "at": at}
            with suppress(msgspec.ValidationError):  # of another version
                yield msgspec.convert(decided, DecisionTaken)


async def decision_log_of(request: Request) -> DecisionLog:
    records: DecisionLog = request.app.state.decisions
    return records


TheDecisionLog = Annotated[DecisionLog, Depends(decision_log_of)]


def of_this_site(request: Request, service: TheService) -> None:
    """Raises 403 for what a page of another site sends: a browser would add the cookie, or a proxy the token."""
    origin, headers = request.headers.get("origin"), request.headers
    is_named = origin in service.origins and "authorization" in headers
    if origin is not None and not is_named and origin.partition("://")[2] != headers.get("host"):
        raise HTTPException(
            403,
            "a page of another site may not decide here: use the service's own map, or name its origin with --origin",
        )


@router.get("", response_model=DecisionsInForce)
def decisions(
    service: TheService, records: TheDecisionLog, now: Annotated[Now, Depends(frames_of)], caller: TheCaller
) -> Response:
    """What people decided of places, and what has not ended. The forecast is not changed by it."""
    return _in_force(service, records, now, caller)


@router.post(
    "",
    response_model=DecisionsInForce,
    dependencies=[Depends(of_this_site)],
    responses=problems_of(400, 409, 413),
)
def decide(
    service: TheService,
    records: TheDecisionLog,
    now: Annotated[Now, Security(frames_of, scopes=["decide"])],
    caller: Annotated[Caller, Security(caller_of, scopes=["decide"])],
    asked: DecisionAsked,
) -> Response:
    """Acknowledge or override what the map shows of a place, for some hours, or withdraw that. It goes on record.

    Scores that are withheld, not of now, or of an expired model, are nothing to decide on; a decision is withdrawn at
    any time.
    """
    if asked.what != "withdrawn":
        if now.withheld:
            raise HTTPException(503, now.withheld)
        facts = now.facts()
        if now.is_stale:
            of = "a replay" if facts["clock"] == "event" else "stale"
            refusal = f"the scores are for {facts['as_of']}, and so {of}: decide when the map is LIVE"
            raise HTTPException(409, refusal)
        if facts["expired"]:
            raise HTTPException(409, f"{facts['expired']}: decide when a newer model scores")
    view, column, _ = chosen_view(now, asked.category, None)
    grid = now.spec.grid
    try:
        (south, west), (north, east) = (divmod(grid.index_of(cell), grid.cols) for cell in (asked.first, asked.last))
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    if south > north or west > east:
        corners = f"{asked.first} to {asked.last}"
        raise HTTPException(422, f"{corners}: give the south-western cell as first, the north-eastern as last")
    cells = {row * grid.cols + col for row in range(south, north + 1) for col in range(west, east + 1)}
    # Incidents there: of the last hour, or more in an unusual place inside, in its own hours.
    in_places = [
        place.observed
        for place in view.unusual
        if asked.category in (ALL_CATEGORIES, place.category) and cells.issuperset(place.cells(grid).tolist())
    ]
    details: dict[str, Plain] = {
        "what": asked.what,
        "region": now.spec.region,
        "category": asked.category,
        "first": asked.first,
        "last": asked.last,
        "reason": asked.reason,
        "until": instant_text(service.now_s() + asked.hours * 3600),
        "by": caller.name,
        "observed": int(max([view.observed_1h[list(cells), column].sum(), *in_places])),
    }
    try:
        record(records.audit, "place_decided", details, at_s=service.now_s())
    except AuditError as error:
        raise HTTPException(503, f"nothing is decided: {error}") from error
    return _in_force(service, records, now, caller)


@router.get("/record", response_model=DecisionsOnRecord)
def on_record(
    records: TheDecisionLog,
    now: Annotated[Now, Security(frames_of, scopes=["record"])],
    limit: Annotated[int, Query(ge=1, le=MOST_ON_RECORD)] = 100,
) -> Response:
    """Who decided what, when, why and until when: the newest first, from the audit log that is in use."""
    try:
        content = read_log(records.audit) if records.audit.exists() else b""
    except AuditError as error:
        raise HTTPException(503, str(error)) from error
    of_region = (decision for decision in decisions_in(content) if decision["region"] == now.spec.region)
    answer: DecisionsOnRecord = {"region": now.spec.region, "decisions": list(islice(of_region, limit))}
    return json_answer(answer)


def _in_force(service: Service, records: DecisionLog, now: Now, caller: Caller) -> Response:
    region = now.spec.region
    answer: DecisionsInForce = {
        "region": region,
        "may_decide": caller.may("decide"),
        "decisions": records.in_force(region, service.now_s()),
    }
    return json_answer(answer)
