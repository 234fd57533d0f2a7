"""Every path, address and name in compose.yaml that two services, or a service and its image, must agree on.

What the images of others read stands here as their documentation gives it; none of them was run.
"""

import re
from pathlib import Path

import pytest

from generator.__main__ import LIVE_MAP
from streaming.cli.prepare import DASHBOARDS
from streaming.maps import ALL_REGIONS, lines_name
from tests.harness.compose_file import COMPOSE, ROOT, SERVICES, mounts, variables
from tests.harness.pages import FILES, MAP, provisioned

(DATASOURCE,) = provisioned("datasources/influxdb.yaml")["datasources"]


def place(service, path):
    """Where a path of a container comes from: ("secret", name), or (volume or folder, path inside it)."""
    for secret in SERVICES[service].get("secrets", []):
        if isinstance(secret, str):
            secret = {"source": secret, "target": f"/run/secrets/{secret}"}
        if path == secret["target"]:
            return "secret", secret["source"]
    found = [
        (len(target), source, path[len(target) :].lstrip("/"))
        for source, target, _ in mounts(SERVICES[service])
        if path == target or path.startswith(f"{target}/")
    ]
    assert found, f"{service}: nothing is mounted at {path}"
    return max(found)[1:]


def value(service, name):
    return variables(SERVICES[service])[name]


def test_grafanas_settings_name_only_secrets_that_it_is_given_and_no_variable():
    settings = "\n".join(content.decode() for name, content in FILES.items() if name.endswith(".yaml"))
    named = {place("grafana", path)[1] for path in re.findall(r"\$__file\{([^}]+)\}", settings)}
    assert named == {"grafana_alert_webhook", "grafana_influx_token"}
    assert not re.findall(r"\$__env|\$\{?[A-Z]", settings)


def test_each_token_is_made_where_its_one_reader_looks_for_it():
    admin, task, scorer, grafana = SERVICES["influxdb-setup"]["command"]
    header = DATASOURCE["secureJsonData"]["httpHeaderValue1"]
    read_by_grafana = re.fullmatch(r"Token \$__file\{(.+)\}", header)[1]
    assert DATASOURCE["jsonData"]["httpHeaderName1"] == "Authorization"
    assert place("influxdb-setup", admin) == ("secret", "influxdb_admin_token")
    assert place("influxdb-setup", scorer) == place("scorer", value("scorer", "INFLUXDB_V2_TOKEN_FILE"))
    assert place("influxdb-setup", grafana) == place("grafana", read_by_grafana)
    assert place("influxdb-setup", scorer)[0] != place("influxdb-setup", grafana)[0]
    for path in (task, *SERVICES["influxdb-setup"]["entrypoint"]):
        assert (ROOT / "deploy" / "influxdb" / place("influxdb-setup", path)[1]).is_file()


@pytest.mark.parametrize(
    ("service", "name", "secret"),
    [
        ("influxdb", "DOCKER_INFLUXDB_INIT_PASSWORD_FILE", "influxdb_admin_password"),
        ("influxdb", "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE", "influxdb_admin_token"),
        ("grafana", "GF_SECURITY_ADMIN_PASSWORD__FILE", "grafana_admin_password"),
    ],
)
def test_a_variable_of_an_image_names_the_secret_that_it_is_for(service, name, secret):
    assert place(service, value(service, name)) == ("secret", secret)
    assert COMPOSE["secrets"][secret]["file"] == f"./secrets/{secret}"


@pytest.mark.parametrize(
    ("service", "name", "wanted"),
    [
        ("influxdb", "DOCKER_INFLUXDB_INIT_MODE", "setup"),
        ("influxdb", "DOCKER_INFLUXDB_INIT_ORG", value("scorer", "INFLUXDB_V2_ORG")),
        ("influxdb", "DOCKER_INFLUXDB_INIT_BUCKET", value("scorer", "INFLUXDB_V2_BUCKET")),
        ("influxdb-setup", "INFLUX_HOST", value("scorer", "INFLUXDB_V2_URL")),
        ("grafana", "GF_PANELS_ENABLE_ALPHA", "true"),
        ("grafana", "GF_SERVER_ROOT_URL", "http://127.0.0.1:3000"),  # of links in notifications
    ],
)
def test_a_variable_of_an_image_has_the_value_that_the_others_count_on(service, name, wanted):
    assert value(service, name) == wanted


def test_grafana_asks_the_store_that_the_scorer_writes_to():
    assert DATASOURCE["url"] == value("scorer", "INFLUXDB_V2_URL") == "http://influxdb:8086"
    assert DATASOURCE["jsonData"]["dbName"] == value("scorer", "INFLUXDB_V2_BUCKET")


# Where each image keeps what must outlive its container.
@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("kafka", value("kafka", "KAFKA_LOG_DIRS")),
        ("influxdb", "/var/lib/influxdb2"),
        ("influxdb", value("influxdb", "INFLUXD_SQLITE_PATH")),
        ("grafana", "/var/lib/grafana"),
        ("scorer", value("scorer", "RISK_CHECKPOINT")),
        ("scorer", value("scorer", "RISK_AUDIT")),
        ("scorer", value("scorer", "RISK_FRAMES")),
    ],
)
def test_what_must_outlive_a_container_lies_in_a_named_volume(service, path):
    assert place(service, path)[0] in COMPOSE["volumes"]


def test_a_health_check_asks_a_port_that_its_service_listens_on():
    listeners = dict(re.findall(r"(\w+)://[\w.]+:(\d+)", value("kafka", "KAFKA_LISTENERS")))
    assert f"/dev/tcp/127.0.0.1/{listeners['INTERNAL']};" in SERVICES["kafka"]["healthcheck"]["test"][-1]
    assert value("scorer", "RISK_KAFKA_BOOTSTRAP") == f"kafka:{listeners['INTERNAL']}"
    (published,) = SERVICES["grafana"]["ports"]
    assert f":{published.rsplit(':', 1)[1]}/" in SERVICES["grafana"]["healthcheck"]["test"][-1]


def test_the_cells_and_the_first_page_that_grafana_serves_are_those_that_are_made():
    command = SERVICES["cells"]["command"]
    folder, live_map = (command[command.index(option) + 1] for option in ("--out", "--live-map"))
    served = "/usr/share/grafana/public/cells"
    assert place("cells", folder) == place("grafana", served)
    sources = {layer["config"]["src"] for layer in MAP["options"]["layers"] if "src" in layer["config"]}
    assert sources == {f"public/cells/{name}" for name in ("${region}.geojson", lines_name("${region}"), ALL_REGIONS)}
    home = Path(value("grafana", "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"))
    assert home == Path(served, DASHBOARDS, Path(live_map).name)
    providers = provisioned("dashboards/provider.yaml")["providers"]
    assert str(home.parent) in {provider["options"]["path"] for provider in providers}
    (pages,) = SERVICES["pages"]["command"]
    assert place("pages", pages) == place("grafana", "/etc/grafana/provisioning") == ("pages", "")
    assert place("cells", live_map) == ("pages", LIVE_MAP)
    assert place("pages", value("pages", "PYTHONPATH")) == ("./grafana-provisioning", "")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_only_the_scorer_gets_what_stands_in_the_operators_settings(service):
    assert ("env_file" in SERVICES[service]) == (service == "scorer")
