"""The document of the interface says of every operation what may go wrong, and the page what the limits are."""

import json
import re
from pathlib import Path

import pytest

from schemas.limits import MAX_FRAME_BYTES, MIB, OLDEST_SCORES_S
from service import feed, guard
from service.app import document
from tests.harness.service import Client, leave_frame, running, toy_service

DOCUMENT = document()
OPERATIONS = [(path, method) for path, one in DOCUMENT["paths"].items() for method in one]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_names_its_problems_and_who_may_ask(path, method):
    assert DOCUMENT["openapi"].startswith("3.1")
    operation = DOCUMENT["paths"][path][method]
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            assert answer["content"].keys() == {"application/problem+json"}, status
    assert (path == "/health") == ("security" not in operation)
    if path != "/health":
        assert {"401", "429"} <= operation["responses"].keys()


def test_nothing_in_the_document_asks_for_or_tells_of_a_person():
    names = json.dumps(DOCUMENT["components"]["schemas"])
    assert not any(word in names for word in ("person_", "first_name", "address", "phone", "birth"))


PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "service.md").read_text(encoding="utf-8")


def test_the_page_tells_the_limits_that_there_are():
    for value, unit in [
        (guard.MOST_BODY_BYTES, "bytes"),
        (feed.MOST_STREAMS, ""),
        (MAX_FRAME_BYTES // MIB, "MiB"),
        (OLDEST_SCORES_S, "seconds"),
    ]:
        assert re.search(rf"\b{value:,}\b ?{unit}", PAGE), (value, unit)


def test_the_page_tells_every_figure_for_prometheus(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        text = Client(base).get("/metrics").data.decode()
    names = set(re.findall(r"^# TYPE incident_risk_service_(\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    shown = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", PAGE.split("## Figures")[1])) - {"incident_risk_service_"}
    assert shown == {name for name in names if not name.endswith("_created")}
