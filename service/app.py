"""The service as one ASGI application, and its OpenAPI document."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Security
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from schemas import product_version
from schemas.spec import ALL_CATEGORIES
from service import feed, page
from service.answers import contract, decisions, outlines, posts, scores, unusual
from service.guard import ETags, RequestGuard
from service.metrics import ServiceMetrics
from service.problems import ALWAYS, Problem, answer_with_problems, problems_of
from service.service import Service, TheService, caller_of, json_answer
from service.tokens import Caller

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_STATES = APIRouter(tags=["the service itself"])


@_STATES.get("/health", response_model=contract.ServiceHealth, responses=problems_of(503))
async def health(request: Request, service: TheService) -> Response:
    """Whether this process answers and follows the frames: without a token. Stale scores are the scorer's fault."""
    if request.app.state.feed.fault:
        raise HTTPException(503, "the frames cannot be looked at: the log says why, and what is served gets old")
    if service.tokens and service.tokens.is_broken:
        raise HTTPException(503, "the file of tokens cannot be used, and nobody is let in: the log says why")
    regions = service.frames.by_region.values()
    stale = sum(service.now_of(frames).is_stale for frames in regions)
    silent = sum(bool(frames.by_category.silent_of(ALL_CATEGORIES)) for frames in regions)
    withheld = bool(service.frames.withheld)
    return json_answer(
        {"status": "ok", "regions": len(regions), "stale": stale, "silent": silent, "withheld": withheld}
    )


@_STATES.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
async def metrics(request: Request, caller: Annotated[Caller, Security(caller_of, scopes=["metrics"])]) -> Response:
    """Figures of all regions for Prometheus: for tokens that open them all."""
    if caller.regions:
        raise HTTPException(403, "these figures are of all regions: ask with a token that opens them all")
    figures: ServiceMetrics = request.app.state.metrics
    return Response(figures.text(), media_type="text/plain; version=0.0.4")


# Each declares at its routes what they answer.
ROUTERS: tuple[APIRouter, ...] = (
    scores.router,
    posts.router,
    unusual.router,
    decisions.router,
    outlines.router,
    feed.router,
    _STATES,
)


def application(service: Service) -> ASGIApp:
    """The service with its pages for people."""
    app = _routed()
    app.state.service, app.state.feed = service, feed.Looks()
    app.state.metrics = ServiceMetrics(service, app.state.feed)
    shown = document()
    app.state.methods = {path: ", ".join(map(str.upper, methods)) for path, methods in shown["paths"].items()}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return json_answer(shown)

    app.include_router(page.router)
    answer_with_problems(app)
    answering = GZipMiddleware(ETags(app), compresslevel=1)  # 9 takes ten times as long and saves a fifth more
    guarded = RequestGuard(answering, app.state.metrics, hosts=LOCAL_HOSTS if service.is_open else ())
    return _read_by(service.origins, guarded) if service.origins else guarded


def _read_by(origins: Sequence[str], app: ASGIApp) -> ASGIApp:
    """Let web apps of these origins read every answer, errors too: with a token that they send, never with cookies."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "If-None-Match"),
        expose_headers=("ETag", "Retry-After", "Risk-As-Of", "Risk-Stale"),
    )


def _routed() -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=_looking)
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _looking(app: FastAPI) -> AsyncIterator[None]:
    looking = asyncio.create_task(app.state.feed.keep_looking(app.state.service))
    try:
        yield
    finally:
        looking.cancel()
        app.state.feed.close()


def document() -> dict[str, Any]:
    """The OpenAPI document, with a problem for every error that an operation may give."""
    described = get_openapi(
        title="Incident risk",
        version=product_version(),
        description="The last published scores of each region. They are for places, never for people.",
        routes=_routed().routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method == "get" and path != "/v1/stream":
                operation["responses"]["304"] = {"description": "The answer is still the one with that ETag"}
            for status, answer in problems_of(*((405, 422, 500) if path == "/health" else ALWAYS)).items():
                operation["responses"][str(status)] = answer
    for unused in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(unused, None)
    return described
