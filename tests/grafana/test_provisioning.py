"""The files that Grafana reads at its start, without Grafana: its own types as JSON Schema, and rules of ours."""

import json
import re
from itertools import combinations, pairwise

import jsonschema
import pytest
import yaml

from generator.files import BUILDERS, generated
from streaming.maps.outlines import GROUND, GROUND_SVG
from tests.harness.pages import PAGES, PROVISIONING, ROOT

SCHEMAS = ROOT / "tests" / "grafana" / "schema"
DASHBOARD_SCHEMA = json.loads((SCHEMAS / "dashboard.json").read_text(encoding="utf-8"))
OPTIONS_SCHEMAS = json.loads((SCHEMAS / "panel-options.json").read_text(encoding="utf-8"))
BY_HAND = json.loads((SCHEMAS / "by-hand.json").read_text(encoding="utf-8"))
PANELS = [
    pytest.param(panel, id=f"{name}:{panel['id']}:{panel['title']}")
    for name, page in PAGES.items()
    for panel in page["panels"]
]
ADDRESS = '{{ reReplaceAll "/\\\\z" "" externalURL }}'  # Grafana's, without a slash at its end


def read(name):
    return yaml.safe_load((PROVISIONING / name).read_text(encoding="utf-8"))


RULES = [rule for group in read("alerting/rules.yaml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(("path", "content"), [pytest.param(*one, id=one[0].name) for one in generated()])
def test_generated_files_are_up_to_date(path, content):
    assert path.read_text(encoding="utf-8") == content, "run `python -m generator` in grafana-provisioning/"


def test_every_page_is_a_generated_one():
    assert set(PAGES) == set(BUILDERS)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_meets_grafanas_own_schema(name):
    jsonschema.Draft7Validator(DASHBOARD_SCHEMA).validate(PAGES[name])


@pytest.mark.parametrize(
    "damage",
    [
        {"panels": [{"type": 3}]},
        {"elements": {}},
        {"refresh": 5},
        {"templating": {"list": [{"name": "x", "type": "y"}]}},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_the_schema_refuses_what_is_wrong(damage):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(DASHBOARD_SCHEMA).validate(PAGES["cell"] | damage)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_options_meet_the_schema_of_its_type(panel):
    schema = OPTIONS_SCHEMAS[panel["type"].replace("-", "")]
    jsonschema.Draft7Validator(schema).validate(panel["options"])


MAP = next(panel for panel in PAGES["live-map"]["panels"] if panel["type"] == "geomap")
LAYERS = [MAP["options"]["basemap"], *MAP["options"]["layers"]]
TARGETS = [target for page in PAGES.values() for panel in page["panels"] for target in panel.get("targets", [])]
OPEN = [*({"layer": layer} for layer in LAYERS), *({"target": target} for target in TARGETS)]


def test_what_grafanas_schema_leaves_open_meets_ours():
    for setting in OPEN:
        jsonschema.Draft7Validator(BY_HAND).validate(setting)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer["type"])
def test_a_misspelt_setting_of_a_layer_is_refused(layer):
    ours = jsonschema.Draft7Validator(BY_HAND)
    assert not ours.is_valid({"layer": layer | {"type": layer["type"] + "x"}})
    for key, value in layer["config"].items():
        others = {name: other for name, other in layer["config"].items() if name != key}
        assert not ours.is_valid({"layer": layer | {"config": others | {key + "x": value}}}), key


@pytest.mark.parametrize("key", TARGETS[0])
def test_a_misspelt_setting_of_a_query_is_refused(key):
    others = {name: value for name, value in TARGETS[0].items() if name != key}
    assert not jsonschema.Draft7Validator(BY_HAND).is_valid({"target": others | {key + "x": TARGETS[0][key]}})


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
    uids = [page["uid"] for page in PAGES.values()] + [rule["uid"] for rule in RULES]
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("name", PAGES)
def test_panels_lie_on_the_grid_of_24_columns_and_do_not_overlap(name):
    boxes = [panel["gridPos"] for panel in PAGES[name]["panels"]]
    assert all(box["x"] >= 0 and box["w"] > 0 and box["h"] > 0 and box["x"] + box["w"] <= 24 for box in boxes)
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel):
    assert panel["title"]
    assert panel["description"]
    if panel["type"] != "text":
        assert panel["fieldConfig"]["defaults"]["unit"]
    else:
        assert len(panel["options"]["content"]) > 80


def test_each_data_source_that_is_asked_exists():
    known = {source["uid"] for source in read("datasources/influxdb.yaml")["datasources"]}
    askers = [one for page in PAGES.values() for one in (*page["panels"], *page["templating"]["list"])] + TARGETS
    asked = {one["datasource"]["uid"] for one in askers if "datasource" in one}
    assert asked | {query["datasourceUid"] for rule in RULES for query in rule["data"]} == known | {"__expr__"}


def test_the_token_is_a_file_and_no_page_can_be_changed_in_the_browser():
    (source,) = read("datasources/influxdb.yaml")["datasources"]
    assert source["secureJsonData"] == {"httpHeaderValue1": "Token $__file{/run/secrets/grafana_influx_token}"}
    assert source["editable"] is False
    providers = read("dashboards/provider.yaml")["providers"]
    assert not any(provider["allowUiUpdates"] for provider in providers)
    paths = [provider["options"]["path"] for provider in providers]
    assert "/etc/grafana/provisioning/dashboards" in paths
    assert len({provider["name"] for provider in providers}) == len(set(paths)) == len(providers)


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.values[0]["type"] == "geomap"])
def test_the_map_takes_all_cells_and_works_without_features_in_alpha(panel):
    assert panel["maxDataPoints"] >= 10_000
    kinds = [layer["type"] for layer in panel["options"]["layers"]]
    assert kinds.index("markers") < kinds.index("dynamic-geojson"), "what Grafana cannot make must come last"
    assert len({layer["name"] for layer in panel["options"]["layers"]}) == len(kinds)
    by_type = {layer["type"]: layer for layer in panel["options"]["layers"]}
    assert by_type["markers"]["location"] == {"mode": "geohash", "geohash": "geohash"}


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


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.values[0]["type"] not in ("timeseries", "text")])
def test_no_panel_but_those_of_lines_takes_colours_from_grafanas_palette_which_begins_with_green(panel):
    assert "palette" not in json.dumps(panel["fieldConfig"])


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.values[0]["type"] == "timeseries"])
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


def parts_of(colour):
    """Red, green and blue of "#RRGGBB", 0 to 255."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def contrast(*colours):
    """WCAG 2's ratio of the relative luminances of two sRGB colours, 1 to 21."""
    lights = []
    for colour in colours:
        parts = (part / 255 for part in colour)
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


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
    (of_shade,) = (one for one in MAP["fieldConfig"]["overrides"] if one["matcher"]["options"] == "shade")
    shades = next(one["value"]["steps"] for one in of_shade["properties"] if one["id"] == "thresholds")
    begins = [step["value"] for step in shades[1:]]
    assert re.findall(r"background-color:(#\w+)", legend)[:-1] == [step["color"] for step in shades]
    assert [float(number) / 100 for number in chances] == pytest.approx([0, *begins])
    switch = next(one for one in PAGES["live-map"]["templating"]["list"] if one["name"] == "colour")
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
    grafanas = {"__from", "__to", "__interval", "__url_time_range", "timeFilter", "col", "__data"}
    assert names - grafanas - {"tag_region", "tag_category"} == {variable["name"] for variable in variables}


def test_the_table_of_alerts_has_every_rule():
    section = (PROVISIONING / "README.md").read_text(encoding="utf-8").partition("## Alerts")[2]
    assert re.findall(r"^\| ([A-Z][^|]+?) \|", section, re.MULTILINE) == [rule["title"] for rule in RULES]


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["uid"]) for rule in RULES])
def test_a_rule_says_what_it_means_what_to_do_and_where_to_look(rule):
    link = re.escape(ADDRESS) + r"/d/risk-runbook\?viewPanel=(\d+)"
    runbook_panel = re.fullmatch(link, rule["annotations"]["runbook_url"])[1]
    (section,) = (panel for panel in PAGES["runbook"]["panels"] if panel["id"] == int(runbook_panel))
    assert section["title"] == rule["title"]
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert "$" not in json.dumps(rule["annotations"]), "provisioning may take it for an environment variable"
    assert "/d/" not in "".join(rule["annotations"].values()).replace(f"{ADDRESS}/d/", ""), "a link without an address"
    page = next(page for page in PAGES.values() if page["uid"] == rule["dashboardUid"])
    assert rule["panelId"] in {panel["id"] for panel in page["panels"]}
    assert rule["execErrState"] == ("Alerting" if rule["uid"] == "risk-scores-stale" else "KeepLast")
    assert not re.search(r"\$(?!timeFilter)", rule["data"][0]["model"]["query"]), "a rule knows no variables"


WRITTEN = {  # uid: (`for`, what no row at all means, evaluations until an alert without a series ends, its panel)
    "risk-cell-high": ("2m", "KeepLast", 3, "Where incidents are likely: $category, next $horizon"),
    "risk-scores-stale": ("0s", "Alerting", 3, "Freshness of each region"),
    "risk-feed-silent": ("5m", "KeepLast", 1440, "Silence of the feed"),
    "risk-ledger-unbalanced": ("0s", "KeepLast", 1440, "Ledger gap"),
    "risk-unaccounted": ("0s", "KeepLast", 1440, "Unaccounted for"),
    "risk-rejects": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-rejects-small": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-rejects-unassigned": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-calibration": ("1h", "OK", 10, "Seen over expected"),
    "risk-baseline-only": ("5m", "KeepLast", 1440, "Freshness of each region"),
    "risk-points-dropped": ("0s", "KeepLast", 1440, "Points dropped"),
    "risk-trial-decided": ("1h", "OK", 10, "The gate says"),
    "risk-drift": ("1h", "OK", 10, "Seen over expected, of the version that scores"),
    "risk-challenger-made": ("0s", "OK", 10, "The gate says"),
    "risk-retraining-overdue": ("0s", "OK", 1440, "The gate says"),
    "risk-covariates-missing": ("30m", "OK", 1440, "Freshness of each region"),
}


def test_how_long_each_rule_waits_and_holds_and_which_panel_it_leads_to():
    pages = {page["uid"]: {panel["id"]: panel["title"] for panel in page["panels"]} for page in PAGES.values()}
    names = ("for", "noDataState", "missing_series_evals_to_resolve")
    found = {
        rule["uid"]: (*(rule[name] for name in names), pages[rule["dashboardUid"]][rule["panelId"]]) for rule in RULES
    }
    assert found == WRITTEN
    assert read("alerting/rules.yaml")["groups"][0]["interval"] == "1m"


def test_each_alert_goes_to_a_contact_point_that_exists():
    names = {point["name"] for point in read("alerting/contact-points.yaml")["contactPoints"]}
    assert {policy["receiver"] for policy in read("alerting/policies.yaml")["policies"]} == names
