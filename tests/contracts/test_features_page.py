"""docs/reference/features.md describes every feature of the network, in the order of the columns."""

import re
from pathlib import Path

from models.feature_lists import feature_table
from models.features import feature_names

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "features.md").read_text(encoding="utf-8")


def test_the_page_has_the_list_of_the_declared_features():
    assert feature_table() in PAGE


def test_the_page_names_every_column_once_in_its_order():
    names = re.findall(r"^- ((?:`\w+`(?:, )?)+) \(", PAGE, re.MULTILINE) + re.findall(r"`log_usual_\w+`", PAGE)
    assert re.findall(r"`(\w+)`", " ".join(names)) == list(feature_names(holidays=True))
