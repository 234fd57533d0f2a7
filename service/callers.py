"""What every route asks first: who, how often, of which region; and how it answers, errors as problems of RFC 9457."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.frame import StoredFrames
from schemas.spec import ALL_CATEGORIES, SLUG
from service.answers import ClosedAnswer
from service.service import Now, Service
from service.tokens import ANYONE, OPENS, Caller

PROBLEM_MEDIA_TYPE = "application/problem+json"
# What may happen to every request, also while scores are withheld; an operation adds its own.
ALWAYS = (401, 403, 404, 405, 422, 429, 500, 503)
_TOKEN_COOKIE = "risk_token"  # noqa: S105 - its name
_END_COOKIE = "risk_signed_in"  # when it ends, in seconds since 1970, for the page's script; it opens nothing
_SHIFT_S = 12 * 3600
_SCREEN_S = 400 * 24 * 3600  # browsers keep no cookie for longer
_HOUR_S = 3600
_bearer = HTTPBearer(auto_error=False, description="A token that `risk token` made")
_cookie = APIKeyCookie(name=_TOKEN_COOKIE, auto_error=False, description="The same token, for the page")
_SAID = {
    404: "nothing is at this address; /openapi.json lists what there is",
    405: "this address knows other methods; /openapi.json lists them",
}


class Problem(ClosedAnswer):
    """What went wrong, as RFC 9457 has it."""

    type: Annotated[str, Field(description="about:blank: the title says what kind it is")]
    title: Annotated[str, Field(description="The status in words")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What happened, and what to do about it")]


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route: the errors that it may give, beside those of ALWAYS."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    problem: Problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json_bytes(problem), status, headers, PROBLEM_MEDIA_TYPE)


def json_bytes(answer: object) -> bytes:
    return msgspec.json.encode(answer)


def json_answer(answer: object, now: Now | None = None) -> Response:
    return Response(json_bytes(answer), headers=now.headers() if now else None, media_type="application/json")


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
    return token.strip() if kind.lower() == "bearer" else request.cookies.get(_TOKEN_COOKIE)


def cookies_of(request: Request, token: str, caller: Caller | None, now_s: float) -> Sequence[str]:
    """A cookie with the token, and one with the end of the sign-in; without a caller both end at once.

    `Secure`, but for this machine's own names: elsewhere a browser sends the cookie over TLS alone.
    """
    answer, is_secure = Response(), request.url.hostname not in ("localhost", "127.0.0.1", "::1")
    seconds = _lasting_s(caller) if caller else 0
    for name, value, is_hidden in ((_TOKEN_COOKIE, token, True), (_END_COOKIE, str(round(now_s + seconds)), False)):
        answer.set_cookie(name, value, max_age=seconds, secure=is_secure, httponly=is_hidden, samesite="strict")
    return answer.headers.getlist("set-cookie")


def put_off(request: Request, caller: Caller, now_s: float) -> None:
    """Leave new cookies with the request, for RequestGuard to send, when those it came with are older than an hour."""
    token, until = request.cookies.get(_TOKEN_COOKIE), request.cookies.get(_END_COOKIE, "")
    until_s = int(until[:10]) if until.isdecimal() else 0
    if token and "authorization" not in request.headers and until_s < now_s + _lasting_s(caller) - _HOUR_S:
        request.state.cookies = cookies_of(request, token, caller, now_s)


def _lasting_s(caller: Caller) -> int:
    return _SCREEN_S if caller.screen else _SHIFT_S


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
        raise HTTPException(
            503, f"the scores are for {as_of}, and so not current: leave out `at`, or look after the scorer"
        )
    if silent := now.frames.by_category.silent_of(category):
        feeds = "; ".join(feed.in_words(now.spec.timezone) for feed in silent)
        raise HTTPException(
            503, f"a feed of {category} is silent, so that this is not current: {feeds}; check the feed"
        )


async def known_parameters(request: Request) -> None:
    """Raises 422 for a parameter that the route does not have: it would answer another question without a word."""
    there_are = _parameters(request.scope["route"], "query")
    for name in request.query_params:
        if name not in there_are:
            raise HTTPException(422, f"query {name}: not known here; there are {', '.join(there_are) or 'none'}")


async def _http(request: Request, error: HTTPException) -> Response:
    """Of the routes and of the routing."""
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else _SAID.get(error.status_code, "")
    headers, path = dict(error.headers or {}), getattr(request.scope.get("route"), "path", "")
    if methods := request.app.state.methods.get(path) if "Allow" in headers else None:
        headers["Allow"] = methods  # the routing itself names those of the first route alone
    return problem_answer(error.status_code, detail or error.detail, headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    """Where the fault is and what it is; of a parameter also what it is to be."""
    route, faults = request.scope.get("route"), []
    for fault in error.errors()[:5]:
        where, name = " ".join(map(str, fault["loc"])), fault["loc"][-1]
        meanings = _parameters(route, fault["loc"][0]) if isinstance(route, APIRoute) else {}
        says = f"{where}: {fault['msg']}"
        if fault["type"] == "string_pattern_mismatch" and meanings.get(name):
            says = f"{where}: {fault['input']} is not {meanings[name]}"
        faults.append(says)
    return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults))


def _parameters(route: APIRoute, place: str) -> Mapping[str, str | None]:
    """Names and meanings of those in the query or path; of any other place none."""
    meanings: dict[str, str | None] = {}
    given = {"query": route.dependant.query_params, "path": route.dependant.path_params}
    for parameter in given.get(place, ()):
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            meanings |= {name: field.description for name, field in kind.model_fields.items()}
        else:
            meanings[parameter.alias] = parameter.field_info.description
    return meanings


async def _unexpected(request: Request, error: Exception) -> Response:
    return problem_answer(500, "a fault of this program; its log has the trace")


PROBLEM_HANDLERS: dict[int | type[Exception], Any] = {
    HTTPException: _http,
    RequestValidationError: _invalid,
    Exception: _unexpected,
}
