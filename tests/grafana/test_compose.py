"""Grafana's files name secrets, folders and addresses: compose.yaml gives it each of them."""

import re
from pathlib import Path

import yaml

from streaming.cli.cells import DASHBOARDS as DASHBOARDS_OF_CELLS
from streaming.maps.outlines import ALL_REGIONS, lines_name
from tests.harness.compose_file import SERVICES, variables
from tests.harness.pages import FILES, MAP, ROOT, provisioned

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
GRAFANA = COMPOSE["services"]["grafana"]


def targets(service):
    """Paths in the container that a volume, a secret or a config puts there."""
    for mount in service.get("volumes", []):
        yield mount["target"] if isinstance(mount, dict) else mount.split(":")[1]
    for secret in service.get("secrets", []):
        yield secret["target"] if isinstance(secret, dict) else f"/run/secrets/{secret}"


SETTINGS = "\n".join(content.decode() for name, content in FILES.items() if name.endswith(".yaml"))


def test_each_secret_file_is_mounted():
    named = set(re.findall(r"\$__file\{([^}]+)\}", SETTINGS))
    assert len(named) == 2
    for path in named:
        assert any(path == target or path.startswith(f"{target}/") for target in targets(GRAFANA)), path


def test_no_variable_of_the_environment_is_needed():
    assert not re.findall(r"\$__env|\$\{?[A-Z]", SETTINGS)


def test_links_in_notifications_begin_with_the_address_that_people_use():
    assert variables(SERVICES["grafana"])["GF_SERVER_ROOT_URL"] == "http://127.0.0.1:3000"


def test_the_first_page_is_the_live_map_that_cells_writes_where_a_provider_looks():
    cells = COMPOSE["services"]["cells"]
    arguments = dict(zip(cells["command"][1::2], cells["command"][2::2], strict=True))
    in_full = [mount for mount in GRAFANA["volumes"] if isinstance(mount, dict)]
    volume = next(mount["target"] for mount in in_full if mount["source"] == "cells")
    assert f"cells:{arguments['--out']}" in cells["volumes"]
    folder = f"{volume}/{DASHBOARDS_OF_CELLS}"
    home = GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/{Path(arguments['--live-map']).name}"
    providers = provisioned("dashboards/provider.yaml")["providers"]
    assert folder in {provider["options"]["path"] for provider in providers}


def test_the_maps_polygons_are_in_a_folder_that_grafana_serves():
    sources = {layer["config"]["src"] for layer in MAP["options"]["layers"] if "src" in layer["config"]}
    assert sources == {f"public/cells/{name}" for name in ("${region}.geojson", lines_name("${region}"), ALL_REGIONS)}
    assert "/usr/share/grafana/public/cells" in targets(GRAFANA)


def test_the_store_has_the_address_that_the_data_source_asks():
    (source,) = provisioned("datasources/influxdb.yaml")["datasources"]
    host = re.fullmatch(r"http://([\w-]+):8086", source["url"])[1]
    store = COMPOSE["services"][host]
    assert set(store["networks"]) & set(GRAFANA["networks"])
    assert source["jsonData"]["dbName"] == COMPOSE["services"]["scorer"]["environment"]["INFLUXDB_V2_BUCKET"]
