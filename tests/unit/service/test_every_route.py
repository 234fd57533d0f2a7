"""What every route owes to who asks, also to raw connections. The routes are those of the OpenAPI document."""

import http.client
import json
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from schemas.limits import MAX_FRAME_BYTES, MIB, OLDEST_SCORES_S
from service import guard
from service.app import MOST_STREAMS
from service.tokens import Tokens, make_token
from tests.harness.service import Client, leave_frame, running, toy_service, waited
from tests.unit.service.conftest import DESCRIBED, POSTS, SCORES, WITHHELD, made_token, problem, served, withhold

DOCUMENT = DESCRIBED()
OPERATIONS = {
    (path, method): operation for path, routes in DOCUMENT["paths"].items() for method, operation in routes.items()
}
NAMES = {"region": "riverton", "cell": "r001c002"}
BODIES = {
    "/v1/regions/{region}/posts": {"units": []},
    "/v1/regions/{region}/decisions": {
        "what": "withdrawn",  # at any time, also of stale scores
        "category": "all",
        "first": "r001c002",
        "last": "r001c002",
        "reason": "unit sent",
    },
}
guarded = pytest.mark.parametrize(("path", "method"), [asked for asked in OPERATIONS if asked[0] != "/health"])
dated = pytest.mark.parametrize(
    ("path", "method"),
    [
        asked
        for asked, operation in OPERATIONS.items()
        if "require" in [parameter["name"] for parameter in operation.get("parameters", ())]
    ],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    leave_frame(folder, age_s=900, answered_by=("battery",))
    return folder


@pytest.fixture(scope="module")
def token(folder):
    return made_token(folder)


@pytest.fixture(scope="module")
def base(folder, token, clock):
    with served(folder, clock=clock) as client:
        yield client.base


@pytest.fixture(scope="module")
def kept_back(tmp_path_factory):
    """A client of a service whose scores are withheld."""
    folder = tmp_path_factory.mktemp("withheld")
    leave_frame(folder, answered_by=("battery",))
    withhold(folder)
    with served(folder) as client:
        yield client


@pytest.fixture(scope="module")
def slow(folder):
    """The address of a service that answers a caller once, and its tokens: two for each route."""
    path = folder / "of_the_slow.jsonl"
    names = [f"{who}-{number}" for number in range(len(OPERATIONS)) for who in ("hasty", "patient")]
    made = iter([make_token(path, name, []) for name in names])
    with running(toy_service(folder, tokens=Tokens(path), rate=0.001)) as address:
        yield address, made


def ask(client, path, method, query=""):
    address = re.sub(r"\{(\w+)\}", lambda name: NAMES[name[1]], path) + query
    body = {"json": BODIES[path]} if method == "post" else {}
    answer = client.ask(address, method=method.upper(), preload_content=False, **body)
    if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
        answer.read(cache_content=True)
    answer.close()
    return answer


DECISIONS = "/v1/regions/{region}/decisions"
SAYS_NO_SCORE = {"/health", "/metrics", "/v1/regions", "/v1/stream", DECISIONS, f"{DECISIONS}/record"}


@pytest.mark.parametrize(("path", "method"), [asked for asked in OPERATIONS if asked[0] not in SAYS_NO_SCORE])
def test_it_answers_no_score_while_they_are_withheld(kept_back, path, method):
    assert problem(ask(kept_back, path, method)) == (503, WITHHELD.in_words())


def test_that_they_are_withheld_is_said_where_a_client_looks_for_news_also_before_a_first_score(kept_back, tmp_path):
    answer = kept_back.ask("/v1/stream", preload_content=False)
    first = json.loads(next(line for line in answer if line.startswith(b"data: ")).removeprefix(b"data: "))
    answer.close()
    told = (first, kept_back.json("/v1/regions")["regions"][0])
    assert [(each["withheld"], each["change"]) for each in told] == [(WITHHELD.in_words(), None)] * 2
    assert kept_back.json("/health")["withheld"] is True  # anybody may ask it, so it does not say why
    withhold(tmp_path)
    with served(tmp_path) as client:
        assert problem(client.get(SCORES)) == (503, WITHHELD.in_words())
        assert client.json("/v1/regions") == {"regions": [], "withheld": WITHHELD.in_words()}


@guarded
@pytest.mark.parametrize("unknown", [None, "wrong"])
def test_it_tells_nothing_without_a_known_token(base, path, method, unknown):
    answer = ask(Client(base, unknown), path, method)
    assert problem(answer)[0] == 401
    assert b"riverton" not in answer.data.replace(b"/riverton", b"")


@guarded
def test_it_answers_who_has_one(base, token, path, method):
    assert ask(Client(base, token), path, method).status == 200


@pytest.mark.parametrize("path", [path for path, method in OPERATIONS if method == "get" and path != "/v1/stream"])
def test_it_answers_304_to_who_has_the_answer(base, token, clock, path):
    client = Client(base, token)
    tag = client.headers["If-None-Match"] = ask(client, path, "get").headers["ETag"]
    clock.ahead_s += 1
    answer = ask(client, path, "get")
    if path != "/metrics":  # they count the requests, too
        assert (answer.status, answer.data, answer.headers["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in answer.headers
    assert tag.startswith("W/")
    assert "304" in OPERATIONS[path, "get"]["responses"]


def test_an_error_and_an_answer_to_post_are_sent_always(base, token):
    client = Client(base, token)
    client.headers["If-None-Match"] = "*"
    assert ask(client, "/v1/nothing", "get").status == 404
    assert client.post(POSTS, {"units": []}).status == 200


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_it_answers_no_parameter_that_it_does_not_have_or_that_is_given_twice(base, token, path, method):
    """Else it would answer another question, or for the last of them, without a word."""
    names = [each["name"] for each in OPERATIONS[path, method].get("parameters", ()) if each["in"] == "query"]
    details = {
        "?horzon=4h": f"query horzon: not known here; there are {', '.join(names) or 'none'}",
        "?horizon=1h&category=theft&horizon=4h": "query horizon: it is given several times; give one value, and ask "
        "once for each",
    }
    for query, detail in details.items():
        assert problem(ask(Client(base, token), path, method, query)) == (422, detail)
    assert "422" in OPERATIONS[path, method]["responses"]


def test_more_than_two_routes_say_how_old_their_scores_may_be():
    assert len(dated.args[1]) > 2


@dated
def test_it_refuses_stale_scores_to_who_requires_current_ones(base, token, path, method):
    client = Client(base, token)
    assert ask(client, path, method).headers["Risk-Stale"] == "true"
    status, detail = problem(ask(client, path, method, "?require=current"))
    assert (status, "not current" in detail) == (503, True)


@guarded
def test_it_counts_for_the_rate_of_its_caller_and_of_no_other(slow, path, method):
    address, tokens = slow
    hasty, patient = Client(address, next(tokens)), Client(address, next(tokens))
    first, second = (ask(hasty, path, method) for _ in range(2))
    status, detail = problem(second)
    assert (first.status, status) == (200, 429)
    after_s = second.headers["Retry-After"]
    assert 990 < int(after_s) <= 1001  # seconds until it may come again
    assert detail.endswith(f"wait {after_s} s")
    assert ask(patient, path, method).status == 200


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_names_its_problems_and_who_may_ask(path, method):
    assert DOCUMENT["openapi"].startswith("3.1")
    operation = OPERATIONS[path, method]
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            assert answer["content"].keys() == {"application/problem+json"}, status
    assert (path == "/health") == ("security" not in operation)
    if path != "/health":
        assert {"401", "429"} <= operation["responses"].keys()


def test_nothing_in_the_document_asks_for_or_tells_of_a_person():
    names = json.dumps(DOCUMENT["components"]["schemas"])
    assert not any(word in names for word in ("person_", "first_name", "address", "phone", "birth"))


PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "service.md").read_text(encoding="utf-8")


def test_the_page_tells_the_limits_that_there_are():
    for value, unit in [
        (guard.MOST_BODY_BYTES, "bytes"),
        (MOST_STREAMS, ""),
        (MAX_FRAME_BYTES // MIB, "MiB"),
        (OLDEST_SCORES_S, "seconds"),
    ]:
        assert re.search(rf"\b{value:,}\b\s*{unit}", PAGE), (value, unit)


def test_the_page_tells_every_figure_for_prometheus(client):
    text = client.get("/metrics").data.decode()
    names = set(re.findall(r"^# TYPE incident_risk_service_(\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    shown = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", PAGE.split("## Figures")[1])) - {"incident_risk_service_"}
    assert shown == {name for name in names if not name.endswith("_created")}


def test_its_process_has_neither_the_model_nor_torch_nor_spark():
    script = "import sys, service.app; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    packages = {name.partition(".")[0] for name in modules}
    assert not {"torch", "scipy", "pyspark", "kafka", "influxdb_client"} & packages
    assert {"streaming", "schemas", "fastapi"} <= packages
    of_models = {name for name in modules if name.startswith("models.")}
    assert {name for name in of_models if not name.startswith("models.readiness")} == set()
    assert not of_models & {"models.posts_plan"}


MAP = "https://map.example.org"


@pytest.mark.parametrize("path", ["/v1%2fregions", "/v1/regions%2Friverton/scores"])
def test_an_encoded_slash_is_none(client, path):
    """A proxy that lets `/v1/regions` through takes `%2f` for a part of a name."""
    assert client.get(path).status == 404


def raw_to(client):
    """A connection to the service, for bytes that no client sends."""
    host, port = client.base.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 20)


def test_a_body_of_two_lengths_is_refused_and_what_follows_it_not_read(client):
    head = f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_to(client) as raw:
        raw.sendall(head.encode() + b"2\r\n{}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [guard.MOST_BODY_BYTES + 1, 10_000_000])
def test_a_long_body_is_answered_to_a_client_that_sends_all_of_it_first(client, size, is_chunked):
    body = (b"x" * min(65_536, size - at) for at in range(0, size, 65_536)) if is_chunked else b"x" * size
    with closing(http.client.HTTPConnection(client.base.removeprefix("http://"), timeout=20)) as connection:
        connection.request("POST", POSTS, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.read()
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/problem+json")


def test_a_client_that_asks_before_it_sends_a_long_body_is_not_told_to_send_it(client):
    with raw_to(client) as raw:
        asked = f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n"
        raw.sendall(asked.encode() + b"Expect: 100-continue\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_long_answer_is_compressed_for_who_asks_for_it(client):
    plain, packed = client.get(SCORES), client.get(SCORES, Accept_Encoding="gzip, deflate")
    assert [answer.headers.get("Content-Encoding") for answer in (plain, packed)] == [None, "gzip"]
    assert int(packed.headers["Content-Length"]) < len(plain.data) / 2
    assert packed.data == plain.data
    assert client.get(SCORES, Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"]).status == 304


@pytest.mark.parametrize(("origins", "is_told"), [([MAP], True), (["https://map.example.net"], False), ([], False)])
def test_only_a_named_origin_reads_answers_and_errors_and_never_by_a_cookie(tmp_path, origins, is_told):
    leave_frame(tmp_path)
    token = made_token(tmp_path)
    with served(tmp_path, origins=origins) as client:
        asks = {"Origin": MAP, "Access-Control-Request-Method": "POST"}
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
    path, token = tmp_path / "tokens.jsonl", made_token(tmp_path)
    whole = path.read_bytes()
    with served(tmp_path, token) as client:
        assert (client.get("/health").status, client.get("/v1/regions").status) == (200, 200)
        path.write_bytes(b"{broken")
        assert waited(lambda: client.get("/health").status == 503)
        assert client.get("/v1/regions").status == 401
        path.write_bytes(whole)
        assert waited(lambda: client.get("/health").status == 200)
        assert client.get("/v1/regions").status == 200


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        (f"{SCORES}?category=arson", 404, ""),
        (f"{SCORES}?horizon=2h", 404, ""),
        (f"{SCORES}?area=South", 404, ""),
        (f"{SCORES}?format=xml", 422, ""),
        ("/v1/regions/riverton/cells/r900c000", 404, ""),
        ("/v1/regions/riverton/cells/here", 422, ""),
        ("/v1/regions/../../etc/passwd/scores", 404, ""),
        ("/v1/nothing", 404, ""),
        # without a pattern, or a word of tokens
        (f"{SCORES}?horizon=2%20hours", 422, "query horizon: 2 hours is not As `1h`; without it the shortest$"),
        ("/v1/regions/lakeside/scores", 404, "no scores of region 'lakeside' were published yet(?!.*token)"),
    ],
)
def test_a_question_that_cannot_be_answered_is_a_problem(client, path, status, detail):
    answered, said = problem(client.get(path))
    assert (answered, bool(re.match(detail, said))) == (status, True), said


def test_a_form_that_nobody_writes_and_a_method_that_nobody_knows_are_problems(client):
    assert problem(client.get(SCORES, Accept="image/png"))[0] == 406
    answer = client.ask("/v1/regions", method="DELETE")
    assert (problem(answer)[0], answer.headers["Allow"]) == (405, "GET")


def test_a_fault_of_the_program_is_a_problem_too(frames, views):
    service = toy_service(frames)
    with running(service) as base:
        object.__setattr__(service, "rates", None)
        assert problem(Client(base).get("/v1/regions")) == (500, "a fault of this program; its log has the trace")


@pytest.mark.parametrize("path", ["/health", SCORES, "/", "/nothing"])
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
