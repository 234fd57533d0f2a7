"""docs/reference/features.md describes every feature of the network, in the order of the columns."""

import re
from pathlib import Path

from models.feature_lists import feature_table
from models.features import feature_names

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "features.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_the_declared_features():
    assert feature_table() in PAGE


def test_the_page_names_every_column_in_its_order():
    _, rows = PAGE.split("| --- | --- | --- | --- | --- |\n")
    assert re.findall(r"^\| `(\w+)`|`(log_usual_\w+)`", rows, re.MULTILINE) == [
        (name, "") if not name.startswith("log_usual_") else ("", name) for name in feature_names()
    ]
