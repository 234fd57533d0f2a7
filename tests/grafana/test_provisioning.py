"""The folder that Grafana reads, the place of panels, and the colours of the pages."""

import json
import re
from itertools import pairwise

import jsonschema
import pytest

from generator.__main__ import write
from generator.build import BEYOND, COLUMNS, LEVELS, LIFT_LEVELS, RAMP, page, stat, text
from service.page import part
from streaming.cli.maps import GROUND, GROUND_SVG
from tests.harness.browser import contrast, parts_of, seen_on
from tests.harness.pages import ALERTS, FILES, MAP, PAGES, PANELS, ROOT, provisioned

# The files that Grafana reads at its start, without Grafana: its own types as JSON Schema, and rules of ours.


SCHEMAS = ROOT / "tests" / "grafana" / "schema"
DASHBOARD_SCHEMA = json.loads((SCHEMAS / "dashboard.json").read_text(encoding="utf-8"))
OPTIONS_SCHEMAS = json.loads((SCHEMAS / "panel-options.json").read_text(encoding="utf-8"))
BY_HAND = json.loads((SCHEMAS / "by-hand.json").read_text(encoding="utf-8"))
LAYERS = [MAP["options"]["basemap"], *MAP["options"]["layers"]]
TARGETS = [target for page in PAGES.values() for panel in page["panels"] for target in panel.get("targets", [])]


def test_the_folder_is_written_as_a_whole(tmp_path):
    (tmp_path / "dashboards").mkdir()
    for gone in ("gone.json", "analysis/gone.json"):  # of an older version
        (tmp_path / "dashboards" / gone).parent.mkdir(exist_ok=True)
        (tmp_path / "dashboards" / gone).write_text("{}")
    write(tmp_path)
    assert {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    } == FILES


def test_pages_and_options_of_panels_meet_grafanas_own_schemas_and_what_these_leave_open_meets_ours():
    settings = [(DASHBOARD_SCHEMA, page) for page in PAGES.values()]
    settings += [(OPTIONS_SCHEMAS[panel["type"].replace("-", "")], panel["options"]) for panel in PANELS.values()]
    settings += [(BY_HAND, {"layer": layer}) for layer in LAYERS]
    settings += [(BY_HAND, {"target": target}) for target in TARGETS]
    for schema, setting in settings:
        jsonschema.Draft7Validator(schema).validate(setting)


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique_and_nothing_of_the_new_layout_or_an_export_is_left(name):
    page = PAGES[name]
    ids = [panel["id"] for panel in page["panels"]]
    assert len(set(ids)) == len(ids)
    assert not {"id", "__inputs", "__requires", "elements", "layout"} & set(page)
    assert page["schemaVersion"] == 42
    assert page["editable"] is False
    assert "${DS_" not in json.dumps(page)


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if "${frame" in json.dumps(page["panels"])])
def test_a_page_asks_for_the_newest_whole_frame_at_each_refresh(name):
    """Asked for at the opening alone, or kept in an address, it would hold the page at one minute."""
    page = PAGES[name]
    (frame,) = (variable for variable in page["templating"]["list"] if variable["name"] == "frame")
    assert frame["refresh"] == 2  # Grafana's VariableRefresh.onTimeRangeChanged: each refresh moves the range's end
    assert frame["skipUrlSync"] is True
    assert (page["time"]["to"], bool(page["refresh"])) == ("now", True)


def test_uids_are_unique():
    uids = [page["uid"] for page in PAGES.values()] + [rule["uid"] for rule in ALERTS]
    assert len(set(uids)) == len(uids)


def test_a_panel_says_what_it_shows_and_in_which_unit():
    for name, panel in PANELS.items():
        assert panel["title"], name
        assert panel["description"], name
        if panel["type"] == "text":
            assert len(panel["options"]["content"]) > 80, name
        else:
            assert panel["fieldConfig"]["defaults"]["unit"], name


def test_each_data_source_that_is_asked_exists():
    uids = {source["uid"] for source in provisioned("datasources/influxdb.yaml")["datasources"]}
    askers = [asker for page in PAGES.values() for asker in (*page["panels"], *page["templating"]["list"])] + TARGETS
    asked = {asker["datasource"]["uid"] for asker in askers if "datasource" in asker}
    assert asked | {query["datasourceUid"] for rule in ALERTS for query in rule["data"]} == uids | {"__expr__"}


def test_the_token_is_a_file_and_no_page_can_be_changed_in_the_browser():
    (source,) = provisioned("datasources/influxdb.yaml")["datasources"]
    assert source["secureJsonData"] == {"httpHeaderValue1": "Token $__file{/run/secrets/grafana_influx_token}"}
    assert source["editable"] is False
    providers = provisioned("dashboards/provider.yaml")["providers"]
    assert not any(provider["allowUiUpdates"] for provider in providers)
    paths = [provider["options"]["path"] for provider in providers]
    folders = {path.removeprefix("/etc/grafana/provisioning/") for path in paths} - set(paths)
    assert folders == {name.rpartition("/")[0] for name in FILES if re.match("dashboards/.*json", name)}
    assert len({provider["name"] for provider in providers}) == len(set(paths)) == len(providers)


@pytest.mark.parametrize(
    "panel", [pytest.param(panel, id=name) for name, panel in PANELS.items() if panel["type"] == "geomap"]
)
def test_the_map_takes_all_cells_and_works_without_features_in_alpha(panel):
    assert panel["maxDataPoints"] >= 10_000
    kinds = [layer["type"] for layer in panel["options"]["layers"]]
    assert kinds.index("markers") < kinds.index("dynamic-geojson"), "what Grafana cannot make must come last"
    assert len({layer["name"] for layer in panel["options"]["layers"]}) == len(kinds)
    centres = panel["options"]["layers"][kinds.index("markers")]
    assert centres["location"] == {"mode": "geohash", "geohash": "geohash"}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_that_exist_with_variables_that_they_have(name):
    by_uid = {page["uid"]: {variable["name"] for variable in page["templating"]["list"]} for page in PAGES.values()}
    for uid, query in re.findall(r"/d/([\w-]+)\?([^\"]*)", json.dumps(PAGES[name])):
        assert set(re.findall(r"var-(\w+)=", query)) <= by_uid[uid]


@pytest.mark.parametrize("name", PAGES)
def test_every_variable_of_a_page_is_used_and_every_used_one_exists(name):
    panels, variables = PAGES[name]["panels"], PAGES[name]["templating"]["list"]
    text = json.dumps([panels, [variable.get("query") for variable in variables]])
    used = set(re.findall(r"\$\{(\w+)(?:\.\w+)?(?::\w+)?\}|\$(\w+)", text))
    names = {a or b for a, b in used}
    grafanas = {"__from", "__to", "__interval", "__url_time_range", "timeFilter", "col", "__data", "__value"}
    assert names - grafanas - {"tag_region", "tag_category"} == {variable["name"] for variable in variables}


# A panel from outside finds its place on a page, and keeps its number wherever it stands.


def places(made):
    return [tuple(panel["gridPos"][name] for name in "xywh") for panel in made["panels"]]


def test_panels_fill_rows_in_their_order_and_the_free_room_beside_a_high_one():
    sizes = ((8, 8), (8, 4), (8, 4), (16, 4), (COLUMNS, 3), (12, 2))
    made = page("x", "X", "x", [text(f"panel {n}", "words", size) for n, size in enumerate(sizes)], [])
    assert places(made) == [(0, 0, 8, 8), (8, 0, 8, 4), (16, 0, 8, 4), (8, 4, 16, 4), (0, 8, 24, 3), (0, 11, 12, 2)]


def test_an_added_panel_moves_the_others_but_not_the_links_to_them():
    query = 'SELECT "write_retries" FROM "pipeline"'
    added = stat("Retries", "Requests sent again.", (COLUMNS, 4), query, "none", without="STALE")
    before = [text("Words", "words", (12, 5)), text("More", "words", (12, 5))]
    old, new = (page("x", "X", "x", panels, []) for panels in (before, [added, *before]))
    assert places(new) == [(0, 0, 24, 4), (0, 4, 12, 5), (12, 4, 12, 5)]
    assert [panel["id"] for panel in new["panels"][1:]] == [panel["id"] for panel in old["panels"]]
    assert len({panel["id"] for panel in new["panels"]}) == 3


# The colours of the pages: nothing unknown looks safe, lines differ, and the map's legend says what the map shows.


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
    steps = {name: re.search(rf"{name}_STEPS = \[(.*?)\]", part("scale.js"))[1] for name in ("RISK", "LIFT")}
    assert eval(f"[{steps['RISK']}]") == pytest.approx(LEVELS)  # noqa: S307 - numbers of our own page
    assert eval(f"[{steps['LIFT']}]") == pytest.approx(LIFT_LEVELS)  # noqa: S307 - numbers of our own page


def test_the_legends_numbers_are_where_the_maps_colours_begin():
    rows = PANELS["live-map: Colours"]["options"]["content"].split("</tr>")
    chances, lifts = (re.findall(r"background-color:(#\w+)", row) for row in rows[:4:2])
    begin_chances, begin_lifts = (list(map(float, re.findall(r">([\d.]+)</td>", row))) for row in rows[1:4:2])
    assert chances.pop() == GREY_CELLS["color"]["fixed"]
    assert [*chances, *lifts] == [step["color"] for step in STEPS]
    begins = [step["value"] or 0 for step in STEPS]
    assert [number / 100 for number in begin_chances] == pytest.approx(begins[: len(RAMP)])
    assert [BEYOND + number for number in begin_lifts] == pytest.approx(begins[len(RAMP) :], abs=0.01)
