"""Every error as a problem document of RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"
# What may happen to every request, also while scores are withheld; an operation adds its own.
ALWAYS = (401, 403, 404, 405, 422, 429, 500, 503)


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="about:blank: the title says what kind it is")
    title: str = Field(description="The status in words")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened, and what to do about it")


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route: the errors that it may give, beside those of ALWAYS."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    body = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)
    return ProblemResponse(body.model_dump(), status, headers)


def answer_with_problems(app: FastAPI) -> None:
    """Answer the errors of the routes, of the routing, of the checks of a request, and those that nobody expects."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's own promise
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else _SAID.get(error.status_code, "")
    headers, path = dict(error.headers or {}), getattr(request.scope.get("route"), "path", "")
    if methods := request.app.state.methods.get(path) if "Allow" in headers else None:
        headers["Allow"] = methods  # the routing itself names those of the first route alone
    return problem_answer(error.status_code, detail or error.detail, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    faults = (_in_words(fault, request.scope.get("route")) for fault in error.errors()[:5])
    return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults))


def _in_words(fault: Mapping[str, Any], route: object) -> str:
    """Where the fault is and what it is; of a parameter also what it is to be, of an unknown one which there are."""
    where, name = " ".join(map(str, fault["loc"])), fault["loc"][-1]
    meanings = _parameters(route, fault["loc"][0]) if isinstance(route, APIRoute) else {}
    if fault["type"] == "extra_forbidden" and meanings:
        return f"{where}: {fault['msg']}; there are {', '.join(meanings)}"
    if fault["type"] == "string_pattern_mismatch" and meanings.get(name):
        return f"{where}: {fault['input']} is not {meanings[name]}"
    return f"{where}: {fault['msg']}"


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


_SAID = {
    404: "nothing is at this address; /openapi.json lists what there is",
    405: "this address knows other methods; /openapi.json lists them",
}
