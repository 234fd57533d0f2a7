"""The service as one ASGI application, its OpenAPI document, and the routes of the process: stream, health, figures."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.openapi.utils import get_openapi
from pydantic import Field, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from schemas import product_version
from schemas.spec import ALL_CATEGORIES
from service import decisions, page, posts, scores
from service.answers import ClosedAnswer, Count
from service.callers import (
    ALWAYS,
    PROBLEM_HANDLERS,
    PROBLEM_MEDIA_TYPE,
    Problem,
    TheCaller,
    TheService,
    caller_of,
    json_answer,
    json_bytes,
    known_caller,
    known_parameters,
    problems_of,
    seen_by,
    token_of,
)
from service.guard import ETags, RequestGuard, ServiceMetrics
from service.service import Service
from service.tokens import Caller

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
SIGN_OF_LIFE_S = 10.0  # the page tries another stream after 25 s without an event, and says so after 28
MOST_STREAMS = 200  # of a process
MOST_OF_A_TOKEN = 50
_COME_AGAIN = {"Retry-After": "10"}
_OF_THE_PROCESS = APIRouter()


class ServiceHealth(ClosedAnswer):
    status: Literal["ok"]
    regions: Count
    stale: Count
    silent: Annotated[Count, Field(description="Regions of which a feed is silent")]
    withheld: bool


@_OF_THE_PROCESS.get(
    "/v1/stream",
    tags=["scores"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **problems_of(503)},
)
async def stream(request: Request, service: TheService, caller: TheCaller) -> StreamingResponse:
    """Events `frame`, with region, as_of, stale, model and digest: first of every region, then of each that changes.

    An event `alive` after ten seconds without another.
    """
    if service.streams.total() >= MOST_STREAMS:
        raise HTTPException(503, f"{MOST_STREAMS} streams are open, and no more can be", _COME_AGAIN)
    if service.streams[caller.name] >= MOST_OF_A_TOKEN:
        said = f"{caller.name} has {MOST_OF_A_TOKEN} streams open, and no more can be: ask /v1/regions for what is new"
        raise HTTPException(429, said, _COME_AGAIN)

    async def events() -> AsyncIterator[bytes]:
        service.streams[caller.name] += 1
        token, sent, said_s = token_of(request), dict[str, str](), time.monotonic()
        try:
            while not service.is_closing and known_caller(service, token) == caller:
                for now in map(service.now_of, seen_by(service, caller)):
                    if sent.get(now.spec.region) != now.state:
                        sent[now.spec.region], said_s = now.state, time.monotonic()
                        yield b"event: frame\ndata: " + json_bytes(now.facts()) + b"\n\n"
                if time.monotonic() - said_s >= SIGN_OF_LIFE_S:
                    said_s = time.monotonic()
                    yield b"event: alive\ndata: {}\n\n"  # the page's script hears no comment
                await service.next_look()
        finally:
            service.streams[caller.name] -= 1

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@_OF_THE_PROCESS.get("/health", tags=["the service itself"], response_model=ServiceHealth, responses=problems_of(503))
async def health(service: TheService) -> Response:
    """Whether this process answers and follows the frames: without a token. Stale scores are the scorer's fault."""
    if service.fault:
        raise HTTPException(503, "the frames cannot be looked at: the log says why, and what is served gets old")
    if service.tokens and service.tokens.is_broken:
        raise HTTPException(503, "the file of tokens cannot be used, and nobody is let in: the log says why")
    regions = [service.now_of(frames) for frames in service.frames.by_region.values()]
    answer: ServiceHealth = {
        "status": "ok",
        "regions": len(regions),
        "stale": sum(now.is_stale for now in regions),
        "silent": sum(bool(now.frames.by_category.silent_of(ALL_CATEGORIES)) for now in regions),
        "withheld": bool(service.frames.withheld),
    }
    return json_answer(answer)


@_OF_THE_PROCESS.get(
    "/metrics",
    tags=["the service itself"],
    responses={200: {"content": {"text/plain": {}}}},
    response_class=Response,
)
async def metrics(request: Request, caller: Annotated[Caller, Security(caller_of, scopes=["metrics"])]) -> Response:
    """Figures of all regions for Prometheus: for tokens that open them all."""
    if caller.regions:
        raise HTTPException(403, "these figures are of all regions: ask with a token that opens them all")
    figures: ServiceMetrics = request.app.state.metrics
    return Response(figures.text(), media_type="text/plain; version=0.0.4")


# Each declares at its routes what they answer.
ROUTERS: tuple[APIRouter, ...] = (scores.router, posts.router, decisions.router, _OF_THE_PROCESS)


def application(service: Service) -> ASGIApp:
    """The service with its pages for people."""
    app = _routed()
    app.state.service, app.state.decisions = service, decisions.DecisionLog(service.audit)
    app.state.metrics = ServiceMetrics(service)
    shown = document()
    app.state.methods = {path: ", ".join(map(str.upper, methods)) for path, methods in shown["paths"].items()}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return json_answer(shown)

    app.include_router(page.router)
    answering = GZipMiddleware(ETags(app), compresslevel=1)  # 9 takes ten times as long and saves a fifth more
    guarded = RequestGuard(answering, app.state.metrics, hosts=LOCAL_HOSTS if service.is_open else ())
    if not service.origins:
        return guarded
    return CORSMiddleware(  # those web apps read every answer, errors too: with a token that they send, never a cookie
        guarded,
        allow_origins=service.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "If-None-Match"),
        expose_headers=("ETag", "Retry-After", "Risk-As-Of", "Risk-Stale"),
    )


def _routed() -> FastAPI:
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=PROBLEM_HANDLERS,
        lifespan=_looking,
    )
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(known_parameters)])
    return app


@asynccontextmanager
async def _looking(app: FastAPI) -> AsyncIterator[None]:
    looking = asyncio.create_task(app.state.service.keep_looking())
    try:
        yield
    finally:
        looking.cancel()
        app.state.service.close()


def document() -> dict[str, Any]:
    """The OpenAPI document, with a problem for every error that an operation may give."""
    described = get_openapi(
        title="Incident risk",
        version=product_version(),
        description="The last published scores of each region. They are for places, never for people.",
        routes=_routed().routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    described["components"]["schemas"]["Problem"] = TypeAdapter(Problem).json_schema()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method == "get" and path != "/v1/stream":
                operation["responses"]["304"] = {"description": "The answer is still the one with that ETag"}
            for status, answer in problems_of(*((405, 422, 500) if path == "/health" else ALWAYS)).items():
                described_here = operation["responses"].get(str(status), {}).get("content", {})
                if PROBLEM_MEDIA_TYPE not in described_here:
                    operation["responses"][str(status)] = answer
    for unused in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(unused, None)
    return described
