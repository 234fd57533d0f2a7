"""What the service says to a question that it cannot answer, and what every answer says to a browser."""

import json

import pytest

from tests.harness.service import Client, running, toy_service


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/regions/elsewhere/scores", 404),
        ("/v1/regions/riverton/scores?category=arson", 404),
        ("/v1/regions/riverton/scores?horizon=2h", 404),
        ("/v1/regions/riverton/scores?area=South", 404),
        ("/v1/regions/riverton/scores?horzon=4h", 422),
        ("/v1/regions/riverton/scores?format=xml", 422),
        ("/v1/regions/riverton/cells/r900c000", 404),
        ("/v1/regions/riverton/cells/here", 422),
        ("/v1/regions/../../etc/passwd/scores", 404),
        ("/v1/nothing", 404),
    ],
)
def test_a_question_that_cannot_be_answered_is_a_problem(client, path, status):
    answer = client.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert json.loads(answer.data).keys() == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/regions/riverton/scores?horzon=4h", "require, horizon, category, area, format"),
        ("/v1/regions/riverton/cells/r000c000?category=all", "require"),
    ],
)
def test_a_parameter_that_is_unknown_is_answered_with_those_that_there_are(client, path, known):
    detail = json.loads(client.get(path).data)["detail"]
    assert detail.endswith(f"; there are {known}")
    assert path.partition("?")[2].partition("=")[0] in detail


def test_a_parameter_that_cannot_be_read_is_named_with_its_meaning_and_no_pattern(client):
    detail = json.loads(client.get("/v1/regions/riverton/scores?horizon=2%20hours").data)["detail"]
    assert detail == "query horizon: 2 hours is not As `1h`; without it the shortest"


def test_before_its_first_frame_a_region_is_not_said_to_need_another_token(client):
    detail = json.loads(client.get("/v1/regions/lakeside/scores").data)["detail"]
    assert "no scores of region 'lakeside' were published yet" in detail
    assert "token" not in detail


def test_a_form_that_nobody_writes_and_a_method_that_nobody_knows_are_problems(client):
    answer = client.get("/v1/regions/riverton/scores", Accept="image/png")
    assert (answer.status, answer.headers["Content-Type"]) == (406, "application/problem+json")
    answer = client.ask("/v1/regions", method="DELETE")
    assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


def test_a_fault_of_the_program_is_a_problem_too(frames, views):
    service = toy_service(frames)
    with running(service) as base:
        object.__setattr__(service, "rates", None)
        answer = Client(base).get("/v1/regions")
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert b"NoneType" not in answer.data


@pytest.mark.parametrize("path", ["/health", "/v1/regions/riverton/scores", "/", "/nothing"])
def test_head_is_get_without_its_body(client, path):
    head, get = client.ask(path, method="HEAD"), client.get(path)
    assert (head.status, head.data) == (get.status, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


def test_every_answer_has_the_headers_that_keep_it_from_other_pages(client):
    for path in ("/health", "/v1/regions", "/nothing"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "private, no-cache"
        assert "Risk-Stale" not in headers
