"""What every route owes to who asks. The routes are those of the OpenAPI document, so that a new one is asked, too."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from schemas.limits import MAX_FRAME_BYTES, MIB, OLDEST_SCORES_S
from schemas.records import Withheld, withheld_path
from service import guard
from service.app import MOST_STREAMS, document
from service.tokens import Tokens, make_token
from tests.harness.service import Client, Clock, leave_frame, running, toy_service

DOCUMENT = document()
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
WITHHELD = Withheld(since_s=1_764_000_000, because="the council asked for it")
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
    return make_token(folder / "tokens.jsonl", "cad", [])


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def base(folder, token, clock):
    with running(toy_service(folder, clock=clock, tokens=Tokens(folder / "tokens.jsonl"))) as address:
        yield address


@pytest.fixture(scope="module")
def kept_back(tmp_path_factory):
    """The address of a service whose scores are withheld."""
    folder = tmp_path_factory.mktemp("withheld")
    leave_frame(folder, answered_by=("battery",))
    withheld_path(folder).write_bytes(msgspec.json.encode(WITHHELD))
    with running(toy_service(folder)) as address:
        yield address


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
    content = b"" if answer.headers.get("Content-Type", "").startswith("text/event-stream") else answer.read()
    answer.close()
    return answer, content


DECISIONS = "/v1/regions/{region}/decisions"
SAYS_NO_SCORE = {"/health", "/metrics", "/v1/regions", "/v1/stream", DECISIONS, f"{DECISIONS}/record"}


@pytest.mark.parametrize(("path", "method"), [asked for asked in OPERATIONS if asked[0] not in SAYS_NO_SCORE])
def test_it_answers_no_score_while_they_are_withheld(kept_back, path, method):
    answer, content = ask(Client(kept_back), path, method)
    assert (answer.status, json.loads(content)["detail"]) == (503, WITHHELD.in_words())


def test_that_they_are_withheld_is_said_where_a_client_looks_for_news(kept_back):
    client = Client(kept_back)
    answer = client.ask("/v1/stream", preload_content=False)
    first = json.loads(next(line for line in answer if line.startswith(b"data: ")).removeprefix(b"data: "))
    answer.close()
    told = (first, client.json("/v1/regions")["regions"][0])
    assert [(each["withheld"], each["change"]) for each in told] == [(WITHHELD.in_words(), None)] * 2
    assert client.json("/health")["withheld"] is True  # anybody may ask it, so it does not say why


def test_before_a_first_score_they_are_withheld_too(tmp_path):
    withheld_path(tmp_path).write_bytes(msgspec.json.encode(WITHHELD))
    with running(toy_service(tmp_path)) as address:
        client = Client(address)
        answer, content = ask(client, "/v1/regions/{region}/scores", "get")
        assert client.json("/v1/regions") == {"regions": [], "withheld": WITHHELD.in_words()}
    assert (answer.status, json.loads(content)["detail"]) == (503, WITHHELD.in_words())


@guarded
@pytest.mark.parametrize("unknown", [None, "wrong"])
def test_it_tells_nothing_without_a_known_token(base, path, method, unknown):
    answer, content = ask(Client(base, unknown), path, method)
    assert (answer.status, answer.headers["Content-Type"]) == (401, "application/problem+json")
    assert b"riverton" not in content.replace(b"/riverton", b"")


@guarded
def test_it_answers_who_has_one(base, token, path, method):
    answer, _ = ask(Client(base, token), path, method)
    assert answer.status == 200


@pytest.mark.parametrize("path", [path for path, method in OPERATIONS if method == "get" and path != "/v1/stream"])
def test_it_answers_304_to_who_has_the_answer(base, token, clock, path):
    client = Client(base, token)
    tag = client.headers["If-None-Match"] = ask(client, path, "get")[0].headers["ETag"]
    clock.ahead_s += 1
    answer, content = ask(client, path, "get")
    if path != "/metrics":  # they count the requests, too
        assert (answer.status, content, answer.headers["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in answer.headers
    assert tag.startswith("W/")
    assert "304" in OPERATIONS[path, "get"]["responses"]


def test_an_error_and_an_answer_to_post_are_sent_always(base, token):
    client = Client(base, token)
    client.headers["If-None-Match"] = "*"
    assert ask(client, "/v1/nothing", "get")[0].status == 404
    assert ask(client, "/v1/regions/{region}/posts", "post")[0].status == 200


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_it_answers_no_parameter_that_is_given_twice(base, token, path, method):
    """Else it would answer for the last of them without a word."""
    answer, said = ask(Client(base, token), path, method, "?horizon=1h&category=theft&horizon=4h")
    assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert json.loads(said)["detail"].startswith("query horizon: it is given several times")
    assert "422" in OPERATIONS[path, method]["responses"]


def test_more_than_two_routes_say_how_old_their_scores_may_be():
    assert len(dated.args[1]) > 2


@dated
def test_it_refuses_stale_scores_to_who_requires_current_ones(base, token, path, method):
    client = Client(base, token)
    assert ask(client, path, method)[0].headers["Risk-Stale"] == "true"
    answer, content = ask(client, path, method, "?require=current")
    assert (answer.status, "not current" in json.loads(content)["detail"]) == (503, True)


@guarded
def test_it_counts_for_the_rate_of_its_caller_and_of_no_other(slow, path, method):
    address, tokens = slow
    hasty, patient = Client(address, next(tokens)), Client(address, next(tokens))
    (first, _), (second, said) = (ask(hasty, path, method) for _ in range(2))
    assert (first.status, second.status, second.headers["Content-Type"]) == (200, 429, "application/problem+json")
    after_s = second.headers["Retry-After"]
    assert 990 < int(after_s) <= 1001  # seconds until it may come again
    assert json.loads(said)["detail"].endswith(f"wait {after_s} s")
    assert ask(patient, path, method)[0].status == 200


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


def test_the_page_tells_every_figure_for_prometheus(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        text = Client(base).get("/metrics").data.decode()
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
