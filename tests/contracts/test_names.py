"""Names: nobody else's distribution may install something under ours."""

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
