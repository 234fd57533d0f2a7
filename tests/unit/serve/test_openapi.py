"""The document of the interface is the one that is written down, and says of every operation what may go wrong."""

import json
from pathlib import Path

import pytest

from streaming.serve.app import document

WRITTEN = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"
DOCUMENT = document()
OPERATIONS = [(path, method) for path, one in DOCUMENT["paths"].items() for method in one]


def test_the_document_is_the_one_that_is_written_down():
    written = json.loads(WRITTEN.read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(DOCUMENT)), (
        "python -m streaming serve --openapi > docs/reference/openapi.json"
    )
    assert written["openapi"].startswith("3.1")


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_names_its_problems_and_who_may_ask(path, method):
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
