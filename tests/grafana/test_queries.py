"""Every query of every page on a real InfluxDB: it gives what its panel needs; whole frames, and my area."""

import json
import re

import numpy as np
import pytest

from generator.build import ALARM, BEYOND, COLOUR_BY
from generator.dispatch import AREA
from models.scoring import stored_views
from schemas.areas import cells_pattern
from schemas.frame import riskiest
from schemas.grid import geohash
from schemas.limits import OLDEST_SCORES_S
from schemas.spec import ALL_CATEGORIES
from streaming.cli.maps import ALL_REGIONS, geojson_files, page_of
from streaming.sinks.line_protocol import risk_lines, top_lines
from tests.grafana.conftest import panel_of, rows_of
from tests.harness.grafana_world import CHALLENGER, MODEL, PLACE, SPECS, VARIABLES, constants_of, frame, pipeline
from tests.harness.influxql import filled_in, shown, table
from tests.harness.pages import MAP, PAGES, said

MONTH_S = 30 * 86_400
RANGES_S = {"live-map": 3600, "cell": 3600, "pipeline": 3600, "trends": 7 * 86_400, "does-it-help": MONTH_S}
RANGES_S |= {"model": MONTH_S}
TARGETS = [
    pytest.param(name, panel, target, id=f"{name}:{panel['id']}{target['refId']}")
    for name, page in PAGES.items()
    for panel in page["panels"]
    for target in panel.get("targets", [])
]
NUMBERS = ("stat", "timeseries")
MAP_PANEL, LIST, AGE = "$colour", "The ten highest", "Age of the scores"  # the titles of three panels begin so


def asked(store, page, panel, target, to_s, **changes):
    days = int(panel["timeFrom"].removesuffix("w")) * 7 if "timeFrom" in panel else 0
    from_s = to_s - (days * 86_400 or RANGES_S[page])
    return shown(store, target["query"], from_s=from_s, to_s=to_s, variables=VARIABLES | changes, interval="60s")


def fields_of(series):
    return set(series[0]["columns"]) - {"time"} | set(series[0].get("tags", {}))


def names_asked_for(panel):
    """Fields that the panel's settings name: overrides, colours, places, matrices."""
    named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    shown_by_transformation = {"hour\\weekday", *"1234567", "Time", "hour\\category"}
    return named - shown_by_transformation


@pytest.mark.parametrize(("page", "panel", "target"), TARGETS)
def test_a_query_gives_rows_of_the_shape_its_panel_needs(filled, now_s, page, panel, target):
    is_stale = (panel["type"], target["refId"]) == ("geomap", "C")
    series = asked(filled, page, panel, target, now_s + 240 * is_stale)
    assert series, "no rows"
    for number, name in enumerate(series[0]["columns"]):  # a field that nobody writes comes back as nulls
        assert any(row[number] is not None for frame in series for row in frame["values"]), name
    assert all(frame["columns"][0] == "time" for frame in series)
    if target["resultFormat"] == "table":
        assert all(frame["columns"] == series[0]["columns"] for frame in series), "a table is one frame"
    if len(panel["targets"]) == 1:
        assert names_asked_for(panel) <= fields_of(series), "a setting names a field that does not come"
    values = [value for frame in series for row in frame["values"] for value in row[1:]]
    assert any(value is not None for value in values)
    texts = [value for value in values if isinstance(value, str)]
    column = panel["options"].get("reduceOptions", {}).get("fields", "")
    if panel["type"] in NUMBERS and not column:
        assert not texts, "a number was wanted"
    if column:
        assert column.strip("/^$") in fields_of(series)
    if panel["type"] == "stat" and len(series[0]["columns"]) > 2 and not column:
        assert panel["options"]["textMode"] == "value_and_name", "several numbers and no names"
    if panel["type"] == "timeseries":
        assert all(len(frame["values"]) > 1 for frame in series), "one point makes no line"


NOT_KEPT_FOR_LONG = {("Who made the scores, and on how much history", "B")}  # the support
LONG = [target for target in TARGETS if "${bucket:raw}" in target.values[2]["query"]]


@pytest.mark.parametrize(("page", "panel", "target"), LONG)
def test_the_bucket_for_long_ranges_answers_the_same_queries(filled, now_s, page, panel, target):
    """What the extract lacks is empty there."""
    from_s = now_s - 40 * 86_400
    variables = VARIABLES | {"bucket": "risk_long"}
    query = filled_in(target["query"], from_s=from_s, to_s=now_s, variables=variables, interval="3h")
    assert bool(filled.series(query)) == ((panel["title"], target["refId"]) not in NOT_KEPT_FOR_LONG)


@pytest.mark.parametrize("colour", COLOUR_BY, ids=["chance", "lift"])
def test_the_map_gets_one_flat_row_per_cell_with_a_history(filled, now_s, colour):
    chosen = {"colour.by": colour["by"], "colour.known": colour["known"]}
    series = asked(filled, "live-map", MAP, MAP["targets"][0], now_s, **chosen)
    assert len(series) == 1
    rows, grid = table(series), SPECS["northville"].grid
    cells = [cell for cell in range(grid.cells) if cell % 3]
    assert {row["cell"] for row in rows} == {grid.cell_ids()[cell] for cell in cells}
    geohash = dict(zip(grid.cell_ids(), grid.geohashes(), strict=True))
    for row in rows:
        assert row["geohash"] == geohash[row["cell"]]
        assert row["support"] in ("sparse", "ok")
        lift = (row["expected"] + 1e-6) / (row["usual"] + 1e-6)
        assert row["shade"] == pytest.approx(row["risk"] if colour["value"] == "chance" else BEYOND + lift)


@pytest.mark.parametrize(("colour", "kinds"), list(zip(COLOUR_BY, ({"ok", "sparse"}, {"ok"}), strict=True)))
def test_the_list_has_ten_by_the_maps_colours_and_a_lift_only_with_enough_history(filled, now_s, colour, kinds):
    chosen = {"colour.by": colour["by"], "colour.known": colour["known"], "category": "all"}
    rows, on_map = (rows_of(filled, "live-map", title, now_s, **chosen) for title in (LIST, MAP_PANEL))
    assert len(rows) == 10
    assert {row["support"] for row in rows} == kinds
    wanted = sorted((row["shade"] for row in on_map if row["support"] in kinds), reverse=True)[:10]
    assert sorted((row["shade"] for row in rows), reverse=True) == pytest.approx(wanted)


@pytest.mark.parametrize(("age_s", "is_said"), [(OLDEST_SCORES_S - 1, False), (OLDEST_SCORES_S + 1, True)])
def test_stale_is_said_across_the_map_as_soon_as_the_scores_are_too_old(filled, now_s, age_s, is_said):
    ((_, as_of_s),) = filled.series('SELECT last("as_of") FROM "pipeline" WHERE "region" = \'northville\'')[0]["values"]
    assert bool(asked(filled, "live-map", MAP, MAP["targets"][2], as_of_s + age_s)) == is_said


@pytest.mark.parametrize(("region", "rings"), [("northville", 1), ("southville", 0)])
def test_an_unusual_place_has_a_ring_with_its_count_and_a_usual_night_has_none(filled, now_s, region, rings):
    rows = rows_of(filled, "live-map", MAP_PANEL, now_s, number=3, region=region)
    lat, lon = np.mean(np.take(SPECS[region].grid.centres(), PLACE.cells(SPECS[region].grid), 1), 1)
    wanted = {"observed": 12, "middle": geohash(lat, lon, 8), "says": PLACE.in_words(SPECS[region].grid)}
    assert [{name: row[name] for name in wanted} for row in rows] == [wanted] * rings


def test_the_polygons_ids_are_the_tags_that_the_sink_wrote(filled):
    for region, spec in SPECS.items():
        tags = filled.series(
            f'SHOW TAG VALUES FROM "risk" WITH KEY IN ("cell", "geohash") WHERE "region" = \'{region}\''
        )
        stored = {key: {row["value"] for row in table(tags) if row["Time"] == key} for key in ("cell", "geohash")}
        files = geojson_files([spec])
        assert {feature["id"] for feature in files[f"{region}.geojson"]["features"]} == stored["cell"]
        assert {feature["id"] for feature in files[ALL_REGIONS]["features"]} == stored["geohash"]


OF_NOW = [  # (page, panel) of all that shows the newest scores
    (name, panel)
    for name, page in PAGES.items()
    for panel in page["panels"]
    if name == "live-map"
    or "STALE" in panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
    or any("time > now() - 3m" in target["query"] for target in panel.get("targets", []))
]


@pytest.mark.parametrize(("name", "panel"), OF_NOW, ids=[f"{name}-{panel['title']}" for name, panel in OF_NOW])
def test_stale_scores_leave_what_is_of_now_grey_and_empty(filled, now_s, name, panel):
    for target in panel.get("targets", []):
        if not told_when_stale(panel, target):
            assert asked(filled, name, panel, target, now_s), "nothing of what is fresh"
            assert asked(filled, name, panel, target, now_s + 240) == []


def test_a_cell_without_history_has_no_forecast_on_its_page(filled, now_s):
    titles = [panel["title"] for panel in PAGES["cell"]["panels"][:6]]
    by_title = {title: rows_of(filled, "cell", title, now_s, cell="r002c003") for title in titles}
    assert [row["support"] for row in by_title.pop("Support")] == ["no_history"]
    assert len(by_title.pop("Seen, 1 hour")) == 1
    assert by_title == {"Chance": [], "Expected": [], "Usual": [], "Lift": []}


def test_every_page_of_numbers_has_some_that_are_of_now():
    assert {name for name, _ in OF_NOW} == {"live-map", "cell", "trends", "pipeline", "model"}


def told_when_stale(panel, target):
    """Whether it answers of the past: when the last scores were, no cell at all, and STALE across the map."""
    return panel["title"] == "Scores are for" or (panel["type"] == "geomap" and target["refId"] in "BC")


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_the_layer_of_polygons_gets_rows_always_and_cells_only_while_they_are_fresh(filled, now_s, stale, alone):
    """It draws the first frame that it gets, and keeps its last colours without one. alone: on a region's own page."""
    spec = SPECS["northville"]
    page = page_of(PAGES["live-map"], spec, {}, is_alone=False) if alone else PAGES["live-map"]
    panel = next(panel for panel in page["panels"] if panel["type"] == "geomap")
    layer = next(layer for layer in panel["options"]["layers"] if layer["type"] == "dynamic-geojson")
    assert "filterData" not in layer, "it would lose the frame of B"
    at_s = now_s + 86_400 * stale
    frames = [asked(filled, "live-map", panel, target, at_s) for target in panel["targets"]]
    rows = table(next(series for series in frames if series))
    wanted = {layer["config"]["idField"], layer["config"]["dataStyle"]["color"]["field"]}
    assert wanted <= set(rows[0]), "a frame without them is passed over"
    cells = set(spec.grid.cell_ids() if alone else spec.grid.geohashes())
    shown = {row[layer["config"]["idField"]] for row in rows}
    assert (shown <= cells) is not stale
    assert cells.isdisjoint(shown) is stale
    assert panel["targets"][0]["refId"] == "A"


def test_the_picture_is_that_of_now_whatever_range_is_shown(filled, now_s):
    """A range that ends in the past, by a bookmark or a drag over a graph, makes no old scores look new."""
    for scorer_is_alive in (True, False):
        clock_s = now_s if scorer_is_alive else now_s + 3600
        for panel in PAGES["live-map"]["panels"]:
            for target in panel.get("targets", []):
                when = {"from_s": now_s - 7200, "to_s": clock_s - 3600, "now_s": clock_s}
                rows = table(shown(filled, target["query"], variables=VARIABLES, **when))
                if panel["title"] == "Age of the scores" and scorer_is_alive:
                    assert said(panel, rows[0]["age"]) == ("NOT NOW", ALARM)
                elif not told_when_stale(panel, target):
                    assert bool(rows) == scorer_is_alive, panel["title"]


def test_the_age_says_stale_from_three_minutes_on_and_without_a_value():
    panel = PAGES["live-map"]["panels"][0]
    assert panel["fieldConfig"]["defaults"]["noValue"] == "STALE"
    assert [said(panel, age) for age in (None, 180, 10**6)] == [("STALE", ALARM)] * 3
    assert [said(panel, age) for age in (-59, 0, 10, 179)] == [None] * 4
    assert PAGES["live-map"]["refresh"] == "5s"


def test_a_model_that_is_only_the_baseline_is_announced():
    mappings = panel_of("live-map", "Made by")["fieldConfig"]["defaults"]["mappings"]
    rules = [mapping["options"] for mapping in mappings if mapping["type"] == "regex"]

    def shown(model):
        return next(rule["result"]["text"] for rule in rules if re.search(rule["pattern"].strip("/"), model))

    assert [shown(model) for model in ("baseline", "baseline:weights are damaged")] == ["BASELINE ONLY"] * 2
    assert shown("20260101T000000Z-abc") == "network"


@pytest.mark.parametrize("page", [name for name, page in PAGES.items() if page["templating"]["list"]])
def test_the_choices_come_from_the_store(filled, now_s, page):
    choices = {}
    for variable in PAGES[page]["templating"]["list"]:
        if variable["type"] == "query":
            query = filled_in(variable["query"], from_s=0, to_s=now_s, variables=VARIABLES)
            choices[variable["name"]] = {row.get("value", row.get("last")) for row in table(filled.series(query))}
    assert choices.pop("region") - {"_unassigned"} == set(SPECS)
    spec = SPECS["northville"]
    expected = {
        "category": {*spec.categories, ALL_CATEGORIES},
        "categories": set(spec.categories),  # no sum has the sum in it
        "horizon": set(spec.horizon_names),
        "cell": set(spec.grid.cell_ids()),
        "followed": set(spec.categories),
        "champion": {MODEL},
        "challenger": {CHALLENGER},
        "frame": {now_s - 10},  # scored at second 20 of the tick, looked at at second 30
    }
    for name, values in choices.items():
        assert values == expected[name]


# The map shows whole frames only, on a real InfluxDB in which a tick is half written.


SPEC, OF_ALL = SPECS["northville"], VARIABLES | {"category": "all"}


def scores_of(tick_s):
    """A frame, and its lines as the job writes them before the tick's ledger."""
    scores = frame(SPEC, tick_s + 20, np.random.default_rng(tick_s))
    views = stored_views(scores, constants_of(SPEC))
    return views[1], b"".join(risk_lines(view) + top_lines(view, 10) for view in views)


def write_whole(store, tick_s, minute=1):
    """A frame with its ledger; gives its scores."""
    scores, lines = scores_of(tick_s)
    store.write(lines + pipeline(SPEC.region, tick_s, minute))
    return scores


def half_of(lines, draw):
    """The store may show a write that it has not answered: some points, and not every field of some."""
    half = []
    for line in lines.decode().splitlines():
        key, fields, time_s = line.split(" ")
        fate = draw.integers(3)
        if fate:
            half.append(f"{key} {fields if fate == 1 else ','.join(fields.split(',')[:2])} {time_s}\n")
    return "".join(half).encode()


def rows(store, title, now_s, **more):
    return rows_of(store, "live-map", title, now_s, category="all", **more)


def heard(store, title, now_s, frame_s):
    """What a panel gives to a page that heard of that frame last."""
    query = panel_of("live-map", title)["targets"][0]["query"]
    variables = OF_ALL | {"frame": str(frame_s)}
    return table(store.series(filled_in(query, from_s=0, to_s=now_s, variables=variables)))


def assert_shows(store, now_s, scores):
    """The map must have each cell with a history as in these scores, and the age must be theirs."""
    with_history = np.flatnonzero(scores.support[:, 0])
    risk = scores.risk[:, 0, SPEC.horizon_names.index(OF_ALL["horizon"])]
    by_cell = {row["cell"]: row["risk"] for row in rows(store, MAP_PANEL, now_s)}
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
    for cell in {*before, *now}:
        factors = rows_of(store, "cell", "What made the newest score", now_s, cell=SPEC.grid.cell_ids()[cell])
        wanted = [frames[1].attribution[now.index(cell), c, h, 0]] if cell in now else []
        assert [row["by_here"] for row in factors] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_half_written_tick_leaves_the_whole_one_before_it_in_sight(store, now_s, seed):
    tick_s = now_s // 60 * 60
    before = write_whole(store, tick_s - 60)
    assert_shows(store, now_s, before)

    newer, lines = scores_of(tick_s)
    store.write(half_of(lines, np.random.default_rng(seed)))
    mixed = heard(store, MAP_PANEL, now_s, now_s)
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
    before = write_whole(store, tick_s - 240)
    _, lines = scores_of(tick_s)
    store.write(half_of(lines, np.random.default_rng(0)))
    assert [rows(store, title, now_s) for title in (MAP_PANEL, LIST, AGE)] == [[], [], []]
    assert_shows(store, before.as_of_s + 10, before)


def test_a_page_that_no_longer_hears_of_frames_goes_grey_by_the_stores_clock(store, now_s):
    """Its variable keeps its last value when the question for it fails, and panels go on asking."""
    before = write_whole(store, now_s // 60 * 60 - 240)
    for title in (MAP_PANEL, LIST, AGE):
        for clock_s, some in ((before.as_of_s + 10, True), (now_s, False)):
            assert bool(heard(store, title, clock_s, before.as_of_s)) == some, title


def test_withheld_scores_leave_the_page_at_once_say_why_and_come_back(store, now_s):
    def made_by():
        return [row["model"] for row in rows(store, "Made by", now_s)]

    tick_s = now_s // 60 * 60
    before = write_whole(store, tick_s - 60)
    assert_shows(store, now_s, before)
    assert made_by() == [MODEL]

    store.write(pipeline(SPEC.region, tick_s, 2, is_withheld=True))
    assert [rows(store, title, now_s) for title in (MAP_PANEL, LIST, AGE)] == [[], [], []]
    assert made_by() == ["withheld"]
    assert rows(store, MAP_PANEL, now_s, number=2), "a word across the grey map"

    assert_shows(store, now_s, write_whole(store, tick_s, 2))


def test_the_age_is_that_of_the_shown_frame_also_when_a_newer_one_is_there(store, now_s):
    older, _ = (write_whole(store, now_s // 60 * 60 - ago_s, minute) for minute, ago_s in enumerate((60, 0)))
    (row,) = heard(store, AGE, now_s, older.as_of_s)
    assert row["age"] == pytest.approx(now_s - older.as_of_s)


# My area on the live map, on a real InfluxDB: map, list and sums of the chosen cells alone.


AREA_GRID = SPECS["northville"].grid
WEST = [cell for cell in range(AREA_GRID.cells) if cell % AREA_GRID.cols < 3]
SOUTH = list(range(2 * AREA_GRID.cols))
# As Grafana joins the property `cells` of several choices with the format `pipe` (read in @grafana/scenes 8.16).
CHOSEN = {
    "one area": (cells_pattern(AREA_GRID, WEST), set(WEST)),
    "two areas": (f"{cells_pattern(AREA_GRID, WEST)}|{cells_pattern(AREA_GRID, SOUTH)}", {*WEST, *SOUTH}),
    "all": (AREA["allValue"], set(range(AREA_GRID.cells))),
}


@pytest.mark.parametrize(("pattern", "cells"), CHOSEN.values(), ids=CHOSEN)
def test_the_map_the_list_and_the_sums_are_of_the_chosen_area_alone(filled, now_s, pattern, cells):
    place = " AND ".join(f"\"{name}\" = '{VARIABLES[name]}'" for name in ("region", "category", "horizon"))
    query = f'SELECT * FROM "risk" WHERE {place} AND $timeFilter'  # noqa: S608 - made from constants
    points = table(filled.series(filled_in(query, from_s=now_s - OLDEST_SCORES_S, to_s=now_s)))
    newest, names = max(point["Time"] for point in points), {AREA_GRID.cell_ids()[cell] for cell in cells}
    chosen = {
        point["cell"]: point
        for point in points
        if point["Time"] == newest and point["support"] != "no_history" and point["cell"] in names
    }
    on_map, highest, (sums,) = (
        rows_of(filled, "live-map", title, now_s, area=pattern) for title in (MAP_PANEL, LIST, "Expected in the next")
    )
    assert {row["cell"]: row["risk"] for row in on_map} == {name: point["risk"] for name, point in chosen.items()}

    wanted = sorted((point["risk"] for point in chosen.values()), reverse=True)[:10]
    assert sorted((row["risk"] for row in highest), reverse=True) == wanted
    for row in highest:
        expected, usual = (chosen[row["cell"]][name] for name in ("expected", "usual"))
        assert (row["expected"], row["usual"]) == (expected, usual)
        assert row["lift"] == pytest.approx((expected + 1e-6) / (usual + 1e-6))
    first = panel_of("live-map", LIST)["transformations"][0]
    assert (first["id"], first["options"]["sort"]) == ("sortBy", [{"field": "shade", "desc": True}])

    expected, usual, seen = (
        sum(point[name] for point in chosen.values()) for name in ("expected", "usual", "observed_1h")
    )
    assert (sums["expected"], sums["x usual"]) == pytest.approx((expected, expected / usual))
    assert sums["seen in 1h"] == seen


def test_an_area_that_no_longer_exists_shows_nothing_instead_of_another(filled, now_s):
    """Grafana puts the name itself in the place of a choice that it does not find: an old bookmark."""
    for title in (MAP_PANEL, LIST, "Expected in the next"):
        assert rows_of(filled, "live-map", title, now_s, area="Old Town") == []


def test_the_page_has_the_variable_that_is_filled_with_areas():
    page = page_of(PAGES["live-map"], SPECS["northville"], {"North": "r000c(001)"}, is_alone=True)
    (variable,) = (variable for variable in page["templating"]["list"] if variable["name"] == "area")
    assert json.loads(variable["query"]) == [{"text": "North", "value": "North", "cells": "r000c(001)"}]
    assert (variable["hide"], variable["skipUrlSync"]) == (0, False), "seen, and kept in the page's address"
    assert variable | {"query": "[]", "hide": 2, "skipUrlSync": True} == AREA
