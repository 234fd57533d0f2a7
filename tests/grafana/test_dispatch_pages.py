"""The live map and the cell: whole frames, and my area."""

import json

import numpy as np
import pytest

from generator.dispatch import AREA
from models.all_categories import stored_views
from schemas.areas import cells_pattern
from schemas.frame import riskiest
from schemas.limits import OLDEST_SCORES_S
from streaming.maps import with_areas
from streaming.sinks.line_protocol import risk_lines, top_lines
from tests.harness.grafana_world import MODEL, SPECS, VARIABLES, constants_of, frame, pipeline
from tests.harness.influxql import filled_in, shown, table
from tests.harness.pages import PAGES

# The map shows whole frames only, on a real InfluxDB in which a tick is half written.


SPEC, OF_ALL = SPECS["northville"], VARIABLES | {"category": "all"}
PANELS = {panel["title"].split(":")[0]: panel for panel in PAGES["live-map"]["panels"]}
MAP, LIST, AGE = "$colour", "The ten highest", "Age of the scores"


def scores_of(tick_s):
    """A frame, and its lines as the job writes them before the tick's ledger."""
    scores = frame(SPEC, tick_s + 20, np.random.default_rng(tick_s))
    views = stored_views(scores, constants_of(SPEC))
    return views[1], b"".join(risk_lines(view) + top_lines(view, 10) for view in views)


def half_of(lines, draw):
    """The store may show a write that it has not answered: some points, and not every field of some."""
    half = []
    for line in lines.decode().splitlines():
        key, fields, time_s = line.split(" ")
        fate = draw.integers(3)
        if fate:
            half.append(f"{key} {fields if fate == 1 else ','.join(fields.split(',')[:2])} {time_s}\n")
    return "".join(half).encode()


def rows(store, title, now_s):
    query = PANELS[title]["targets"][0]["query"]
    return table(shown(store, query, from_s=now_s - 3600, to_s=now_s, variables=OF_ALL))


def assert_shows(store, now_s, scores):
    """The map must have each cell with a history as in these scores, and the age must be theirs."""
    with_history = np.flatnonzero(scores.support[:, 0])
    risk = scores.risk[:, 0, SPEC.horizon_names.index(OF_ALL["horizon"])]
    by_cell = {row["cell"]: row["risk"] for row in rows(store, MAP, now_s)}
    wanted = {SPEC.grid.cell_ids()[cell]: risk[cell] for cell in with_history}
    assert by_cell == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    highest = sorted((row["risk"] for row in rows(store, LIST, now_s)), reverse=True)
    assert highest == pytest.approx(sorted(wanted.values(), reverse=True)[:10], rel=1e-3)
    assert [row["age"] for row in rows(store, AGE, now_s)] == pytest.approx([now_s - scores.as_of_s])


def test_factors_on_a_cells_page_are_those_of_the_newest_score_and_of_no_minute_before(store, now_s):
    """A cell that left the ten highest has none, however fresh its last ones are."""
    tick_s = now_s // 60 * 60
    frames = [frame(SPEC, time_s + 20, np.random.default_rng(time_s)) for time_s in (tick_s - 60, tick_s)]
    for minute, scores in enumerate(frames):
        store.write(top_lines(scores, 20) + pipeline(SPEC.region, scores.tick_s, minute))
    c, h = SPEC.categories.index(VARIABLES["category"]), SPEC.horizon_names.index(VARIABLES["horizon"])
    before, now = ([*riskiest(one.risk[:, c, h], one.expected[:, c, h], 10)] for one in frames)
    assert {*before} - {*now}
    panel = next(panel for panel in PAGES["cell"]["panels"] if panel["title"] == "What made the newest score")
    for cell in {*before, *now}:
        here = VARIABLES | {"cell": SPEC.grid.cell_ids()[cell]}
        query = panel["targets"][0]["query"]
        factors = table(shown(store, query, from_s=now_s - 3600, to_s=now_s, variables=here))
        wanted = [frames[1].attribution[now.index(cell), c, h, 0]] if cell in now else []
        assert [row["by_here"] for row in factors] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_half_written_tick_leaves_the_whole_one_before_it_in_sight(store, now_s, seed):
    tick_s = now_s // 60 * 60
    before, lines = scores_of(tick_s - 60)
    store.write(lines + pipeline(SPEC.region, tick_s - 60, 1))
    assert_shows(store, now_s, before)

    newer, lines = scores_of(tick_s)
    store.write(half_of(lines, np.random.default_rng(seed)))
    newest = OF_ALL | {"frame": str(now_s)}
    mixed = table(store.series(filled_in(PANELS[MAP]["targets"][0]["query"], from_s=0, to_s=now_s, variables=newest)))
    assert len(mixed) < np.count_nonzero(before.support), "cells without all fields would blink"
    assert len({row["Time"] for row in mixed}) == 2, "cells of two minutes would stand side by side"
    assert_shows(store, now_s, before)

    others = pipeline("southville", tick_s, 2) + pipeline(SPEC.region, tick_s, 2, model="")
    store.write(others)
    assert_shows(store, now_s, before)  # of another region, and of a batch that renewed no score

    store.write(lines)
    assert_shows(store, now_s, before)  # the store has all, but has not said so
    store.write(pipeline(SPEC.region, tick_s, 2))
    assert_shows(store, now_s, newer)


def test_a_tick_that_fails_for_long_ends_in_stale_and_not_in_a_part_of_it(store, now_s):
    tick_s = now_s // 60 * 60
    before, lines = scores_of(tick_s - 240)
    store.write(lines + pipeline(SPEC.region, tick_s - 240, 1))
    _, lines = scores_of(tick_s)
    store.write(half_of(lines, np.random.default_rng(0)))
    assert [rows(store, title, now_s) for title in (MAP, LIST, AGE)] == [[], [], []]
    assert_shows(store, before.as_of_s + 10, before)


def test_a_page_that_no_longer_hears_of_frames_goes_grey_by_the_stores_clock(store, now_s):
    """Its variable keeps its last value when the question for it fails, and panels go on asking."""
    before, lines = scores_of(now_s // 60 * 60 - 240)
    store.write(lines + pipeline(SPEC.region, before.tick_s, 1))
    heard = OF_ALL | {"frame": str(before.as_of_s)}
    for title in (MAP, LIST, AGE):
        query = PANELS[title]["targets"][0]["query"]
        for clock_s, some in ((before.as_of_s + 10, True), (now_s, False)):
            rows_then = store.series(filled_in(query, from_s=now_s - 3600, to_s=clock_s, variables=heard))
            assert bool(rows_then) == some, title


def test_withheld_scores_leave_the_page_at_once_say_why_and_come_back(store, now_s):
    tick_s = now_s // 60 * 60
    before, lines = scores_of(tick_s - 60)
    store.write(lines + pipeline(SPEC.region, tick_s - 60, 1))
    assert_shows(store, now_s, before)
    assert made_by(store, now_s) == [MODEL]

    store.write(pipeline(SPEC.region, tick_s, 2, is_withheld=True))
    assert [rows(store, title, now_s) for title in (MAP, LIST, AGE)] == [[], [], []]
    assert made_by(store, now_s) == ["withheld"]
    stale = PANELS[MAP]["targets"][2]["query"]
    assert shown(store, stale, from_s=now_s - 3600, to_s=now_s, variables=OF_ALL), "a word across the grey map"

    newer, lines = scores_of(tick_s)
    store.write(lines + pipeline(SPEC.region, tick_s, 2))
    assert_shows(store, now_s, newer)


def made_by(store, now_s):
    return [row["model"] for row in rows(store, "Made by", now_s)]


def test_the_age_is_that_of_the_shown_frame_also_when_a_newer_one_is_there(store, now_s):
    older, newer = (scores_of(time_s) for time_s in (now_s // 60 * 60 - 60, now_s // 60 * 60))
    for minute, (scores, lines) in enumerate((older, newer)):
        store.write(lines + pipeline(SPEC.region, scores.tick_s, minute))
    heard = OF_ALL | {"frame": str(older[0].as_of_s)}
    query = PANELS[AGE]["targets"][0]["query"]
    (row,) = table(store.series(filled_in(query, from_s=now_s - 3600, to_s=now_s, variables=heard)))
    assert row["age"] == pytest.approx(now_s - older[0].as_of_s)


# My area on the live map, on a real InfluxDB: map, list and sums of the chosen cells alone.


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
