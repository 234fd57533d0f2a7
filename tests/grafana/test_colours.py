"""The colours of the pages: nothing unknown looks safe, lines differ, and the map's legend says what the map shows."""

import json
import re
from itertools import pairwise

import pytest

from streaming.maps.outlines import GROUND, GROUND_SVG
from tests.harness.contrast import contrast, parts_of
from tests.harness.pages import MAP, PAGES, PANELS

LINES = {name: panel for name, panel in PANELS.items() if panel["type"] == "timeseries"}
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
    for colour in set(colours(PAGES[name]["panels"])) - {"img/icons/marker/square.svg", "transparent"}:
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


def test_the_higher_a_cell_the_more_it_stands_out_from_the_ground():
    tiles = next(layer for layer in MAP["options"]["layers"] if layer["type"] == "carto")
    assert tiles["config"]["theme"] == "light"
    assert MAP["options"]["basemap"]["config"]["url"] == f"public/cells/{GROUND}"
    land = re.search(rb'fill="(#\w+)"', GROUND_SVG)[1].decode()
    assert land == "#F2F3F0", "as on the light tiles"
    (layer,) = (layer for layer in MAP["options"]["layers"] if layer["type"] == "dynamic-geojson")
    assert "opacity" not in layer, "it would be on top of that of the colours"
    ground, opacity = parts_of(land), layer["config"]["dataStyle"]["opacity"]
    shown = []
    for step in MAP["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        over = zip(parts_of(step["color"]), ground, strict=True)
        shown.append(contrast([round(opacity * colour + (1 - opacity) * below) for colour, below in over], ground))
    assert all(higher > 1.05 * lower for lower, higher in pairwise(shown))
    assert shown[-1] > 3


def test_the_legends_numbers_are_where_the_maps_colours_begin():
    legend = next(panel for panel in PAGES["live-map"]["panels"] if panel["title"] == "Colours")["options"]["content"]
    _, chances, lifts = (re.findall(r"<td[^>]*>([\d.]+)</td>", row) for row in legend.split("</tr>")[:3])
    (of_shade,) = (rule for rule in MAP["fieldConfig"]["overrides"] if rule["matcher"]["options"] == "shade")
    shades = next(each["value"]["steps"] for each in of_shade["properties"] if each["id"] == "thresholds")
    begins = [step["value"] for step in shades[1:]]
    assert re.findall(r"background-color:(#\w+)", legend)[:-1] == [step["color"] for step in shades]
    assert [float(number) / 100 for number in chances] == pytest.approx([0, *begins])
    switch = next(each for each in PAGES["live-map"]["templating"]["list"] if each["name"] == "colour")
    of_lift = switch["query"].split(" : ")[-1].replace('"expected"', "lift").replace('"usual"', "1")
    shown = [eval(of_lift, {"lift": float(number)}) for number in lifts]  # noqa: S307 - a formula of our own page
    assert shown == pytest.approx([0, *begins], rel=0.04, abs=1e-9)  # of two digits


def test_the_legend_shows_the_grey_of_the_map():
    layer = next(layer for layer in MAP["options"]["layers"] if layer["name"].endswith("grey"))
    style, ground = layer["config"]["style"], parts_of("#F2F3F0")
    over = zip(parts_of(style["color"]["fixed"]), ground, strict=True)
    seen = [style["opacity"] * colour + (1 - style["opacity"]) * below for colour, below in over]
    legend = next(panel for panel in PAGES["live-map"]["panels"] if panel["title"] == "Colours")["options"]["content"]
    last = re.findall(r"background-color:(#\w+)", legend)[-1]
    assert parts_of(last) == pytest.approx(seen, abs=1)
