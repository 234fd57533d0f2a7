"""What the routes share: frames, callers, areas. And what every route asks first: who, how often, which region."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from pathlib import Path as FilePath
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.areas import LONGITUDE_FIRST, Area, cells_inside, is_exchanged
from schemas.frame import Silence, Surge
from schemas.grid import Cells, Grid
from schemas.instants import instant_text
from schemas.languages import ENGLISH
from schemas.left_behind.frame_file import StoredFrames
from schemas.spec import ALL_CATEGORIES, SLUG
from service.decisions import Decisions
from service.frames import Frames, expired, is_stale
from service.sign_in import COOKIE, put_off
from service.tokens import ANYONE, OPENS, Caller, Rates, Tokens, read_tokens

log = logging.getLogger(__name__)
_MOST_KEPT_BYTES = 64 * 1024 * 1024
_bearer = HTTPBearer(auto_error=False, description="A token that `python -m service token` made")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="The same token, for the page")


@dataclass(slots=True)
class AnswerCache:
    """The answers that were used last, as many as fit into some memory: they are equal until the next frame."""

    most_bytes: int = _MOST_KEPT_BYTES
    answers: "OrderedDict[tuple[object, ...], bytes]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: tuple[object, ...], write: Callable[[], bytes]) -> bytes:
        answer = self.answers.get(key)
        if answer is None:
            answer = self.answers[key] = write()
            self._bytes += len(answer)
            while self._bytes > self.most_bytes and len(self.answers) > 1:
                self._bytes -= len(self.answers.popitem(last=False)[1])
        else:
            self.answers.move_to_end(key)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process of the service. Without tokens it answers this machine alone, and everybody on it.

    origins: of web apps that may read the answers in a browser.
    """

    frames: Frames
    now_s: Callable[[], float]
    rates: Rates
    decisions: Decisions
    tokens: Tokens | None = None
    areas: Sequence[Area] = ()
    streets: FilePath | None = None
    language: str = ENGLISH  # of the pages; answers are in English
    origins: Sequence[str] = ()
    answers: AnswerCache = field(default_factory=AnswerCache)
    _left_out: set[str] = field(default_factory=set)  # areas that were said to have no cell

    @property
    def is_open(self) -> bool:
        return self.tokens is None

    def look(self) -> None:
        """Read what has changed: frames, decisions and tokens."""
        self.frames.look()
        self.decisions.look(self.now_s())
        if self.tokens is not None:
            self.tokens.look()
        self._name_left_out()

    def _name_left_out(self) -> None:
        """Once of each area that nobody can choose, because no region with scores has a cell there."""
        grids = [frames.by_category.spec.grid for frames in self.frames.by_region.values()]
        here = set().union(*map(self.cells_of, grids))
        missing = [area for area in self.areas if grids and area.name not in here | self._left_out]
        self._left_out.update(area.name for area in missing)
        for area in missing:
            log.warning(
                "area %r is left out: no region with scores (%s) has the centre of a cell in it; %s",
                area.name,
                ", ".join(self.frames.by_region),
                LONGITUDE_FIRST
                if is_exchanged(area, grids)
                else "leave it out of --areas, or join it with a neighbour if it is smaller than a cell",
            )

    def now_of(self, frames: StoredFrames) -> "Now":
        return Now(frames, is_stale(frames, self.now_s()), self.frames.withheld)

    def cells_of(self, grid: Grid) -> Mapping[str, Cells]:
        """The cells of each area that has some in the grid."""
        return _cells_of(tuple(self.areas), grid)


def opened(folder: FilePath, *, audit: FilePath, tokens: FilePath | None, rate: float, **fields: Any) -> Service:
    """A service on the clocks of this machine, which has looked at its files. Raises SettingsError.

    folder: of the frames. audit: log in which decisions stand. fields: more of `Service`.
    """
    if tokens:
        read_tokens(tokens)  # a mistake in it is said now, not in every answer
    service = Service(
        frames=Frames(folder),
        now_s=time.time,
        rates=Rates(rate, time.monotonic),
        decisions=Decisions(audit),
        tokens=Tokens(tokens) if tokens else None,
        **fields,
    )
    service.look()
    return service


@dataclass(frozen=True, slots=True)
class Now:
    """A region's frames, and whether they are stale at the time of a request."""

    frames: StoredFrames
    is_stale: bool
    withheld: str = ""  # why nobody may see them

    @property
    def state(self) -> str:
        return f"{self.frames.digest}{'-stale' if self.is_stale else ''}{self.withheld and f'-{self.withheld}'}"

    def facts(self) -> dict[str, Any]:
        """What every answer says of where its numbers are from."""
        frame = self.frames.by_category
        return {
            "region": frame.spec.region,
            "as_of": instant_text(frame.as_of_s),
            "stale": self.is_stale,
            "withheld": self.withheld or None,
            "clock": self.frames.clock,
            "model": frame.model,
            "expired": expired(frame),
            "baseline_only": frame.baseline_only,
            "digest": self.frames.digest,
            "change": {"since": instant_text(self.frames.change_since_s), "says": self.frames.change}
            if self.frames.change and not self.withheld
            else None,
            "silent": [] if self.withheld else [_silent(feed) for feed in frame.silent],
            "surges": [] if self.withheld else [_surge(surge, frame.spec.horizon_names) for surge in frame.surges],
        }

    def headers(self) -> dict[str, str]:
        as_of = instant_text(self.frames.by_category.as_of_s)
        return {"Risk-As-Of": as_of, "Risk-Stale": "true" if self.is_stale else "false"}


@lru_cache(maxsize=256)
def _cells_of(areas: tuple[Area, ...], grid: Grid) -> Mapping[str, Cells]:
    by_name = {area.name: cells_inside(area, grid) for area in areas}
    return {name: cells for name, cells in by_name.items() if len(cells)}


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(service_of)]


def known_caller(service: Service, token: str | None) -> Caller | None:
    if service.tokens is None:
        return ANYONE
    return service.tokens.caller(token) if token else None


def token_of(request: Request) -> str | None:
    """What the header sends, or else the page's cookie."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.cookies.get(COOKIE)


async def caller_of(
    request: Request,
    service: TheService,
    asked: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Caller:
    """Raises 401 without a token that is known, 403 for what it does not open, 429 for who asks too often."""
    caller = known_caller(service, bearer.credentials if bearer else cookie)
    if caller is None:
        said = "send a known token as `Authorization: Bearer TOKEN`"
        raise HTTPException(401, said, {"WWW-Authenticate": 'Bearer realm="risk"'})
    if caller.screen and not (request.method == "GET" and request.url.path.startswith("/v1/")):
        raise HTTPException(
            403, f"the token {caller.name} is a screen's: it opens the map alone; ask with another token"
        )
    for scope in asked.scopes:
        if not caller.may(scope):
            roles = " or ".join(role for role, rights in OPENS.items() if scope in rights)
            said = f"the token {caller.name} does not open this: ask with one that was made with --role {roles}"
            raise HTTPException(403, said)
    if service.tokens is not None:
        put_off(request, caller, service.now_s())
    wait_s = service.rates.wait_s(caller.name)
    if wait_s > 0:
        after_s = ceil(wait_s)
        said = f"{caller.name} asks more often than {service.rates.per_s:g} times a second; wait {after_s} s"
        raise HTTPException(429, said, {"Retry-After": str(after_s)})
    return caller


TheCaller = Annotated[Caller, Depends(caller_of)]


def seen_by(service: Service, caller: Caller) -> list[StoredFrames]:
    return [frames for region, frames in service.frames.by_region.items() if caller.may_see(region)]


async def frames_of(
    region: Annotated[str, Path(pattern=SLUG, description="As the region's artifact calls it")],
    service: TheService,
    caller: TheCaller,
) -> Now:
    """For what shows no score. Raises 404 for a region that has no frame, or that the caller may not see."""
    if not caller.may_see(region):
        raise HTTPException(404, f"no region {region!r} here for this token; /v1/regions lists what there is")
    frames = service.frames.by_region.get(region)
    if frames is None and service.frames.withheld:
        raise HTTPException(503, service.frames.withheld)
    if frames is None:
        raise HTTPException(404, f"no scores of region {region!r} were published yet; /v1/regions lists what there is")
    return service.now_of(frames)


async def region_of(now: Annotated[Now, Depends(frames_of)]) -> Now:
    """Raises 503 while scores are withheld. Only who may see the region learns why."""
    if now.withheld:
        raise HTTPException(503, now.withheld)
    return now


TheRegion = Annotated[Now, Depends(region_of)]


def must_be_current(now: Now, require: str | None, category: str = ALL_CATEGORIES) -> None:
    """Raises 503 where the scores are stale, or a feed of the category is silent: nobody knows what happens then."""
    if require != "current":
        return
    if now.is_stale:
        as_of = now.facts()["as_of"]
        raise HTTPException(503, f"the newest scores are for {as_of}, and so not current; look after the scorer")
    if silent := now.frames.by_category.silent_of(category):
        feeds = "; ".join(feed.in_words(now.frames.by_category.spec.timezone) for feed in silent)
        raise HTTPException(
            503, f"a feed of {category} is silent, so that this is not current: {feeds}; check the feed"
        )


def _silent(feed: Silence) -> dict[str, Any]:
    return {
        "category": feed.category,
        "since": instant_text(feed.since_s),
        "until": instant_text(feed.until_s) if feed.until_s else None,
        "observed": feed.observed,
        "usual": feed.usual,
        "once_in_days": feed.days,
    }


def _surge(surge: Surge, horizons: tuple[str, ...]) -> dict[str, Any]:
    return {
        "category": surge.category,
        "factors": {name: round(factor, 3) for name, factor in zip(horizons, surge.factors, strict=True)},
        "observed": surge.observed,
        "usual": surge.usual,
        "says": surge.in_words(),
    }


def json_bytes(answer: object) -> bytes:
    return msgspec.json.encode(answer)


def json_answer(answer: object, now: Now | None = None) -> Response:
    return Response(json_bytes(answer), headers=now.headers() if now else None, media_type="application/json")
