"""The colours of the pages: nothing unknown looks safe, lines differ, and the map's legend says what the map shows."""

import json
import re
from itertools import pairwise

import pytest

from generator.build import BEYOND, LEVELS, LIFT_LEVELS, RAMP
from service.page import part
from streaming.maps import GROUND, GROUND_SVG
from tests.harness.contrast import contrast, parts_of, seen_on
from tests.harness.pages import MAP, PAGES, PANELS

LINES = {name: panel for name, panel in PANELS.items() if panel["type"] == "timeseries"}
(STEPS,) = (
    each["value"]["steps"]
    for rule in MAP["fieldConfig"]["overrides"]
    for each in rule["properties"]
    if (rule["matcher"]["options"], each["id"]) == ("shade", "thresholds")
)
GREY_CELLS = next(layer for layer in MAP["options"]["layers"] if layer["name"].endswith("grey"))["config"]["style"]
OTHERS = {name: panel for name, panel in PANELS.items() if panel["type"] not in ("timeseries", "text")}


def colours(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("color", "fixedColor", "fixed") and isinstance(value, str):
                yield value
            yield from colours(value)
    elif isinstance(node, list):
        for value in node:
            yield from colours(value)


@pytest.mark.parametrize("name", PAGES)
def test_no_colour_is_green_so_that_unknown_never_looks_safe(name):
    of_grafana = {"transparent", "text", "panel-bg"}  # the last two are its theme's
    shapes = {f"img/icons/marker/{shape}.svg" for shape in ("square", "circle")}
    for colour in set(colours(PAGES[name]["panels"])) - of_grafana - shapes - {"STALE"}:
        red, green, blue = parts_of(colour)
        assert not (green > red + 10 and green > blue + 10), colour


def test_no_panel_but_those_of_lines_takes_colours_from_grafanas_palette_which_begins_with_green():
    assert [name for name, panel in OTHERS.items() if "palette" in json.dumps(panel["fieldConfig"])] == []


@pytest.mark.parametrize("panel", LINES.values(), ids=LINES)
def test_no_two_lines_of_a_panel_have_the_same_colour(panel):
    """By name, two may share one, as assault and theft did; by their order the first twelve differ."""
    config = panel["fieldConfig"]
    assert config["defaults"]["color"] == {"mode": "palette-classic"}
    fixed = [
        rule["value"]["fixedColor"]
        for override in config["overrides"]
        for rule in override["properties"]
        if rule["id"] == "color" and override["matcher"]["options"] not in ("low", "high")  # the band about a line
    ]
    assert len(set(fixed)) == len(fixed)


@pytest.mark.parametrize("ground", ["#FFFFFF", "#181B1F"], ids=["light", "dark"])
def test_a_higher_cell_stands_out_more_from_grafanas_ground_and_one_without_a_score_least(ground):
    tiles = next(layer for layer in MAP["options"]["layers"] if layer["type"] == "carto")
    assert tiles["config"]["theme"] == "auto"
    assert MAP["options"]["basemap"]["config"]["url"] == f"public/cells/{GROUND}"
    assert b"fill" not in GROUND_SVG, "the panel's own ground shines through"
    (layer,) = (layer for layer in MAP["options"]["layers"] if layer["type"] == "dynamic-geojson")
    assert (layer["config"]["dataStyle"]["opacity"], GREY_CELLS["opacity"]) == (1, 1), "as opaque as each colour says"
    assert "opacity" not in layer
    below = seen_on(parts_of(ground), GREY_CELLS["color"]["fixed"])
    for begin, least_step in ((0, 1.05), (BEYOND, 1.02)):
        colours = [each["color"] for each in STEPS if begin <= (each["value"] or 0) < begin + BEYOND]
        stands_out = [contrast(seen_on(below, colour), parts_of(ground)) for colour in colours]
        assert all(higher > least_step * lower for lower, higher in pairwise(stands_out)), stands_out
        assert stands_out[0] > contrast(below, parts_of(ground)) + 0.1
        assert stands_out[-1] > 3


def test_the_service_and_grafana_have_the_same_classes():
    steps = {name: re.search(rf"{name}_STEPS = \[(.*?)\]", part("draw.js"))[1] for name in ("RISK", "LIFT")}
    assert eval(f"[{steps['RISK']}]") == pytest.approx(LEVELS)  # noqa: S307 - numbers of our own page
    assert eval(f"[{steps['LIFT']}]") == pytest.approx(LIFT_LEVELS)  # noqa: S307 - numbers of our own page


def test_the_legends_numbers_are_where_the_maps_colours_begin():
    legend = next(panel for panel in PAGES["live-map"]["panels"] if panel["title"] == "Colours")["options"]["content"]
    rows = legend.split("</tr>")
    chances, lifts = (re.findall(r"background-color:(#\w+)", row) for row in rows[:4:2])
    begin_chances, begin_lifts = (list(map(float, re.findall(r">([\d.]+)</td>", row))) for row in rows[1:4:2])
    assert chances.pop() == GREY_CELLS["color"]["fixed"]
    assert [*chances, *lifts] == [step["color"] for step in STEPS]
    begins = [step["value"] or 0 for step in STEPS]
    assert [number / 100 for number in begin_chances] == pytest.approx(begins[: len(RAMP)])
    assert [BEYOND + number for number in begin_lifts] == pytest.approx(begins[len(RAMP) :], abs=0.01)
