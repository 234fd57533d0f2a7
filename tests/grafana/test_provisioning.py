"""The files that Grafana reads at its start, without Grafana: its own types as JSON Schema, and rules of ours."""

import json
import re

import jsonschema
import pytest

from generator.__main__ import write
from tests.harness.pages import ALERTS, FILES, MAP, PAGES, PANELS, ROOT, provisioned

SCHEMAS = ROOT / "tests" / "grafana" / "schema"
DASHBOARD_SCHEMA = json.loads((SCHEMAS / "dashboard.json").read_text(encoding="utf-8"))
OPTIONS_SCHEMAS = json.loads((SCHEMAS / "panel-options.json").read_text(encoding="utf-8"))
BY_HAND = json.loads((SCHEMAS / "by-hand.json").read_text(encoding="utf-8"))
LAYERS = [MAP["options"]["basemap"], *MAP["options"]["layers"]]
TARGETS = [target for page in PAGES.values() for panel in page["panels"] for target in panel.get("targets", [])]
OPEN = [*({"layer": layer} for layer in LAYERS), *({"target": target} for target in TARGETS)]


def test_the_folder_is_written_as_a_whole(tmp_path):
    (tmp_path / "dashboards").mkdir()
    for gone in ("gone.json", "analysis/gone.json"):  # of an older version
        (tmp_path / "dashboards" / gone).parent.mkdir(exist_ok=True)
        (tmp_path / "dashboards" / gone).write_text("{}")
    write(tmp_path)
    assert {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    } == FILES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_meets_grafanas_own_schema(name):
    jsonschema.Draft7Validator(DASHBOARD_SCHEMA).validate(PAGES[name])


def test_a_panels_options_meet_the_schema_of_its_type():
    for panel in PANELS.values():
        schema = OPTIONS_SCHEMAS[panel["type"].replace("-", "")]
        jsonschema.Draft7Validator(schema).validate(panel["options"])


def test_what_grafanas_schema_leaves_open_meets_ours():
    for setting in OPEN:
        jsonschema.Draft7Validator(BY_HAND).validate(setting)


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
    grafanas = {"__from", "__to", "__interval", "__url_time_range", "timeFilter", "col", "__data"}
    assert names - grafanas - {"tag_region", "tag_category"} == {variable["name"] for variable in variables}
