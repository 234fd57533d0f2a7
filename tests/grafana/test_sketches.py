"""The sketches in docs/dashboards show each panel's box and title."""

import re
from xml.etree import ElementTree

import pytest

from generator.sketch import sketch
from tests.harness.pages import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_sketch_is_svg_with_a_box_and_the_title_of_each_panel(name):
    page = PAGES[name]
    root = ElementTree.fromstring(sketch(page))  # noqa: S314 - made here
    boxes = [box for box in root.iter("{http://www.w3.org/2000/svg}rect") if box.get("rx")]
    assert len(boxes) == len(page["panels"])
    words = " ".join(label.text for label in root.iter("{http://www.w3.org/2000/svg}text"))
    for panel in page["panels"]:
        assert re.sub(r"\s+", " ", panel["title"]) in words
    _, _, width, _ = (float(part) for part in root.get("viewBox").split())
    assert all(float(box.get("x")) + float(box.get("width")) <= width for box in boxes)
