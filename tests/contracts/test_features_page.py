"""docs/reference/features.md describes every feature of the network, in the order of the columns."""

import re
from pathlib import Path

from models.features import feature_names

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "features.md"


def test_the_page_names_every_feature_once_in_the_order_of_the_columns():
    items = re.findall(r"^- ((?:`\w+` ?)+):", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(items)) == list(feature_names())
