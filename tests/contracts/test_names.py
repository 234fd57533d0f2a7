"""Our packages have plain names, so nobody else's distribution may install something under them."""

import re
from importlib.metadata import distributions

OURS = re.compile(r"^(?:schemas|models|streaming|lifecycle|service)(?:/|\.py,)", re.MULTILINE)


def test_no_other_distribution_installs_a_file_under_our_names():
    owners = {
        distribution.metadata["Name"]
        for distribution in distributions()
        if OURS.search(distribution.read_text("RECORD") or "")
    }
    assert owners <= {"incident-risk-scorer"}


def test_the_pattern_knows_a_squatter_when_it_sees_one():
    for record in ("models/__init__.py,,\n", "a.py,,\nschemas.py,sha256=x,3\n"):
        assert OURS.search(record)
    for record in ("torch/models/a.py,,\n", "streaming_lib/a.py,,\n", "modelschemas/a.py,,\n"):
        assert not OURS.search(record)
