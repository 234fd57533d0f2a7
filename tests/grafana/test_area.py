"""My area on the live map, on a real InfluxDB: map, list and sums of the chosen cells alone."""

import json

import pytest

from generator.dispatch import AREA
from schemas.areas import cells_pattern
from schemas.limits import OLDEST_SCORES_S
from streaming.maps import with_areas
from tests.harness.grafana_world import SPECS, VARIABLES
from tests.harness.influxql import filled_in, shown, table
from tests.harness.pages import PAGES

GRID = SPECS["northville"].grid
WEST = [cell for cell in range(GRID.cells) if cell % GRID.cols < 3]
SOUTH = list(range(2 * GRID.cols))
# As Grafana joins the property `cells` of several choices with the format `pipe` (read in @grafana/scenes 8.16).
CHOSEN = {
    "one area": (cells_pattern(GRID, WEST), set(WEST)),
    "two areas": (f"{cells_pattern(GRID, WEST)}|{cells_pattern(GRID, SOUTH)}", {*WEST, *SOUTH}),
    "all": (AREA["allValue"], set(range(GRID.cells))),
}
choices = pytest.mark.parametrize(("pattern", "cells"), CHOSEN.values(), ids=CHOSEN)


def rows_of(store, now_s, title, pattern):
    panel = next(panel for panel in PAGES["live-map"]["panels"] if panel["title"].startswith(title))
    variables = VARIABLES | {"area": pattern}
    query = panel["targets"][0]["query"]
    return table(shown(store, query, from_s=now_s - OLDEST_SCORES_S, to_s=now_s, variables=variables))


@pytest.fixture
def newest(filled, now_s):
    """The newest stored score of each cell of the page's place that has a history, by cell id."""
    place = " AND ".join(f"\"{name}\" = '{VARIABLES[name]}'" for name in ("region", "category", "horizon"))
    query = f'SELECT * FROM "risk" WHERE {place} AND $timeFilter'  # noqa: S608 - made from constants
    points = table(filled.series(filled_in(query, from_s=now_s - OLDEST_SCORES_S, to_s=now_s)))
    newest = max(point["Time"] for point in points)
    return {point["cell"]: point for point in points if point["Time"] == newest and point["support"] != "no_history"}


def chosen_of(newest, cells):
    names = GRID.cell_ids()
    return {name: newest[name] for name in (names[cell] for cell in sorted(cells)) if name in newest}


@choices
def test_the_map_has_the_cells_of_the_chosen_area_alone(filled, now_s, newest, pattern, cells):
    shown = {row["cell"]: row["risk"] for row in rows_of(filled, now_s, "$colour: ", pattern)}
    assert shown == {name: point["risk"] for name, point in chosen_of(newest, cells).items()}


@choices
def test_the_list_has_the_ten_highest_of_the_chosen_area(filled, now_s, newest, pattern, cells):
    rows = rows_of(filled, now_s, "The ten highest", pattern)
    wanted = sorted((point["risk"] for point in chosen_of(newest, cells).values()), reverse=True)[:10]
    assert sorted((row["risk"] for row in rows), reverse=True) == wanted
    for row in rows:
        point = newest[row["cell"]]
        assert [row[name] for name in ("expected", "usual")] == [point[name] for name in ("expected", "usual")]
        assert row["lift"] == pytest.approx((point["expected"] + 1e-6) / (point["usual"] + 1e-6))
    panel = next(panel for panel in PAGES["live-map"]["panels"] if panel["type"] == "table")
    first = panel["transformations"][0]
    assert (first["id"], first["options"]["sort"]) == ("sortBy", [{"field": "shade", "desc": True}])


@choices
def test_the_sums_are_of_the_chosen_area(filled, now_s, newest, pattern, cells):
    (row,) = rows_of(filled, now_s, "Expected in the next", pattern)
    sums = {
        field: sum(point[field] for point in chosen_of(newest, cells).values())
        for field in ("expected", "usual", "observed_1h")
    }
    assert row["expected"] == pytest.approx(sums["expected"])
    assert row["x usual"] == pytest.approx(sums["expected"] / sums["usual"])
    assert row["seen in 1h"] == sums["observed_1h"]


def test_an_area_that_no_longer_exists_shows_nothing_instead_of_another(filled, now_s):
    """Grafana puts the name itself in the place of a choice that it does not find: an old bookmark."""
    for title in ("$colour: ", "The ten highest", "Expected in the next"):
        assert rows_of(filled, now_s, title, "Old Town") == []


def test_the_page_has_the_variable_that_is_filled_with_areas():
    page = with_areas(PAGES["live-map"], {"North": "r000c(001)"})
    (variable,) = (variable for variable in page["templating"]["list"] if variable["name"] == "area")
    assert json.loads(variable["query"]) == [{"text": "North", "value": "North", "cells": "r000c(001)"}]
    assert (variable["hide"], variable["skipUrlSync"]) == (0, False), "seen, and kept in the page's address"
    assert variable | {"query": "[]", "hide": 2, "skipUrlSync": True} == AREA
