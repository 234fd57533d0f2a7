"""What surrounds every request, as raw connections and Python's own client meet it."""

import http.client
import json
import socket
from contextlib import closing

import pytest

from service import guard
from service.tokens import Tokens, make_token
from tests.harness.service import Client, leave_frame, running, toy_service, waited

POSTS = "/v1/regions/riverton/posts"
MAP = "https://map.example.org"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    leave_frame(folder)
    with running(toy_service(folder)) as address:
        yield address


def host_of(base):
    return base.removeprefix("http://")


@pytest.mark.parametrize("path", ["/v1%2fregions", "/v1/regions%2Friverton/scores"])
def test_an_encoded_slash_is_none(base, path):
    """A proxy that lets `/v1/regions` through takes `%2f` for a part of a name."""
    assert Client(base).get(path).status == 404


def test_a_body_of_two_lengths_is_refused_and_what_follows_it_not_read(base):
    host, port = host_of(base).split(":")
    head = f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((host, int(port)), 20) as raw:
        raw.sendall(head.encode() + b"2\r\n{}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [guard.MOST_BODY_BYTES + 1, 10_000_000])
def test_a_long_body_is_answered_to_a_client_that_sends_all_of_it_first(base, size, is_chunked):
    body = (b"x" * min(65_536, size - at) for at in range(0, size, 65_536)) if is_chunked else b"x" * size
    with closing(http.client.HTTPConnection(host_of(base), timeout=20)) as connection:
        connection.request("POST", POSTS, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.read()
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/problem+json")


def test_a_client_that_asks_before_it_sends_a_long_body_is_not_told_to_send_it(base):
    host, port = host_of(base).split(":")
    with socket.create_connection((host, int(port)), 20) as raw:
        asked = f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n"
        raw.sendall(asked.encode() + b"Expect: 100-continue\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_long_answer_is_compressed_for_who_asks_for_it(base):
    client, path = Client(base), "/v1/regions/riverton/scores"
    plain, packed = client.get(path), client.get(path, Accept_Encoding="gzip, deflate")
    assert [answer.headers.get("Content-Encoding") for answer in (plain, packed)] == [None, "gzip"]
    assert int(packed.headers["Content-Length"]) < len(plain.data) / 2
    assert packed.data == plain.data
    assert client.get(path, Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"]).status == 304


@pytest.mark.parametrize(("origins", "is_told"), [([MAP], True), (["https://map.example.net"], False), ([], False)])
def test_only_a_named_origin_reads_answers_and_errors_and_never_by_a_cookie(tmp_path, origins, is_told):
    leave_frame(tmp_path)
    token = make_token(tmp_path / "tokens.jsonl", "cad", [])
    with running(toy_service(tmp_path, tokens=Tokens(tmp_path / "tokens.jsonl"), origins=origins)) as base:
        client, asks = Client(base), {"Origin": MAP, "Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization,content-type"
        before = client.ask(POSTS, method="OPTIONS", headers=asks)
        answers = [
            client.get("/v1/regions", Origin=MAP, Authorization=f"Bearer {token}"),
            client.get("/v1/regions", Origin=MAP),
            client.ask(POSTS, method="POST", headers={"Origin": MAP}, body=b"x" * (guard.MOST_BODY_BYTES + 1)),
        ]
    assert [answer.status for answer in answers] == [200, 401, 413]
    assert (before.status == 200) == is_told
    for answer in (before, *answers):
        assert answer.headers.get("Access-Control-Allow-Origin") == (MAP if is_told else None)
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_health_says_that_nobody_is_let_in(tmp_path):
    leave_frame(tmp_path)
    path = tmp_path / "tokens.jsonl"
    token = make_token(path, "cad", [])
    whole = path.read_bytes()
    with running(toy_service(tmp_path, tokens=Tokens(path))) as base:
        client = Client(base, token)
        assert (client.get("/health").status, client.get("/v1/regions").status) == (200, 200)
        path.write_bytes(b"{broken")
        assert waited(lambda: client.get("/health").status == 503)
        assert client.get("/v1/regions").status == 401
        path.write_bytes(whole)
        assert waited(lambda: client.get("/health").status == 200)
        assert client.get("/v1/regions").status == 200


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
