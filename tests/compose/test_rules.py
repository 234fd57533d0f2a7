"""What every service keeps, what services promise each other, and each name on which two must agree.

What the images of others read stands here as their documentation gives it; none of them was run.
"""

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from generator.__main__ import LIVE_MAP
from service.tokens import Tokens
from streaming.cli.maps import ALL_REGIONS, DASHBOARDS, lines_name
from streaming.settings import Settings
from tests.harness.compose_file import COMPOSE, OUR_SERVICES, ROOT, SERVICES, mounts, read_compose, variables
from tests.harness.pages import FILES, MAP, provisioned
from tests.harness.processes import run, stand_in

FILE = read_compose("deploy/registry.yaml")
MLFLOW = FILE["services"]["mlflow"]
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
with_mlflow = pytest.mark.parametrize("service", [*SERVICES.values(), MLFLOW], ids=[*SERVICES, "mlflow"])
RUNNING = ("kafka", "influxdb", "scorer", "serve", "feedback", "watch", "grafana")
MADE = {"data/artifacts"}  # by `risk train`


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """What deploy/make-secrets.sh makes."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run(["/bin/sh", ROOT / "deploy" / "make-secrets.sh", folder], check=True, capture_output=True)
    return folder


@with_mlflow
def test_a_service_has_a_full_version_limits_and_no_rights_beyond_its_own(service):
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", service["image"])
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)
    assert service.get("network_mode") in (None, "none")
    assert all(source != "/var/run/docker.sock" for source, *_ in mounts(service))


def test_a_network_and_a_port_are_of_those_alone_that_need_them():
    """The store, the service and the registry reach nothing outside."""
    members = {}
    for name, service in SERVICES.items():
        for network in service.get("networks", ["default"]):
            members.setdefault(network, set()).add(name)
    assert members["store"] == {"influxdb", "influxdb-setup", "scorer", "feedback", "watch", "grafana"}
    assert (members["service"], members["registry"]) == ({"serve"}, {"registry"})
    for name, network in (("influxdb", "store"), ("watch", "store"), ("serve", "service")):
        assert SERVICES[name]["networks"] == [network]
    assert COMPOSE["networks"]["store"] == COMPOSE["networks"]["registry"] == {"internal": True}
    assert (MLFLOW["networks"], "ports" in MLFLOW) == (["registry"], False)
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"kafka", "grafana", "serve"}


def test_nobody_gets_into_grafana_whom_the_operator_did_not_let_in():
    """No account of one's own making, nothing shown to the internet; who only looks may change nothing."""
    grafana = variables(SERVICES["grafana"])
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    for name in ("USERS_ALLOW_SIGN_UP", "SNAPSHOTS_EXTERNAL_ENABLED", "PUBLIC_DASHBOARDS_ENABLED"):
        assert grafana[f"GF_{name}"] == "false", name
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith("/run/")


def test_the_service_writes_decisions_alone():
    assert list(mounts(SERVICES["serve"])) == [("frames", "/frames", True), ("decisions", "/decisions", False)]
    assert variables(SERVICES["serve"])["RISK_AUDIT"].startswith("/decisions/")
    assert [name for name, one in SERVICES.items() if "decisions" in {mount[0] for mount in mounts(one)}] == ["serve"]
    assert ("frames", variables(SERVICES["scorer"])["RISK_FRAMES"], False) in mounts(SERVICES["scorer"])


def test_the_services_port_is_the_one_that_it_listens_on_and_its_token_opens_it(secrets):
    serve = read_compose(SERVICE_PORT="9999")["services"]["serve"]
    words = serve["command"]
    listen, tokens = words[words.index("--listen") + 1], words[words.index("--tokens") + 1]
    port = listen.rpartition(":")[2]
    assert serve["ports"] == [f"127.0.0.1:9999:{port}"]
    assert port == "9999", "so that the address that it prints opens"
    assert f":{port}/health" in serve["healthcheck"]["test"][-1]
    mounted = COMPOSE["secrets"]["service"]["file"]
    assert tokens == "/run/secrets/service/tokens"
    found = Tokens(secrets / mounted.removeprefix("./secrets/") / "tokens")
    found.look()
    assert found.caller((secrets / "service_token").read_text(encoding="utf-8")).name == "first"


@with_mlflow
def test_no_variable_holds_a_secret(service):
    for name, value in variables(service).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|CREDENTIAL", name):
            assert value == "" or value.startswith("/run/"), name


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml", "deploy/demo.env", "deploy/small.env"])
def test_nothing_in_the_files_looks_like_a_secret(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"[A-Za-z0-9+=]{32,}|-----BEGIN", text)


def test_the_secrets_are_those_that_the_script_makes_and_reach_those_alone_that_need_them(secrets):
    made = {path.name for path in secrets.iterdir()} - {".gitignore", "service_token"}  # which is the operator's alone
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == {f"./secrets/{name}" for name in made}
    readers = {}
    for name, service in SERVICES.items():
        for secret in service.get("secrets", []):
            readers.setdefault(secret if isinstance(secret, str) else secret["source"], set()).add(name)
    assert readers == {
        "influxdb_admin_password": {"influxdb"},
        "influxdb_admin_token": {"influxdb", "influxdb-setup"},
        "grafana_admin_password": {"grafana"},
        "service": {"serve"},
        "grafana_alert_webhook": {"grafana"},
    }


@pytest.mark.parametrize(("owner", "readers"), [("scorer", ["scorer", "feedback", "watch"]), ("grafana", ["grafana"])])
def test_a_token_is_written_by_the_setup_and_read_by_those_that_need_it(owner, readers):
    users = {
        name: (target, is_read_only)
        for name, service in SERVICES.items()
        for source, target, is_read_only in mounts(service)
        if source == f"{owner}-token"
    }
    may_read = dict.fromkeys(readers, ("/run/secrets", True))
    assert users == {"influxdb-setup": (f"/tokens/{owner}", False), **may_read}


@each_service
def test_what_is_mounted_from_here_is_here(service):
    for source, _, is_read_only in mounts(service):
        if source.startswith("."):
            assert (ROOT / source).exists() or source.removeprefix("./") in MADE, source
            assert is_read_only, source
        else:
            assert source in COMPOSE["volumes"], source


@each_service
def test_a_service_waits_for_what_can_be_waited_for(service):
    for name, wanted in service.get("depends_on", {}).items():
        other = SERVICES[name]
        if wanted["condition"] == "service_healthy":
            assert name in OUR_SERVICES or "test" in other["healthcheck"]  # our image has a check of its own
            assert not other.get("healthcheck", {}).get("disable")
        elif wanted["condition"] == "service_completed_successfully":
            assert other["restart"].startswith("on-failure:")


def test_only_what_runs_on_is_started_again_for_ever_and_is_given_time_to_stop():
    for of_those in (lambda one: one["restart"] == "unless-stopped", lambda one: "stop_grace_period" in one):
        assert {name for name, service in SERVICES.items() if of_those(service)} == set(RUNNING)


def test_the_page_says_how_much_memory_all_limits_are():
    page = " ".join((ROOT / "deploy" / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"([\d.]+) GB, to which all limits add up", page)
    gigabytes = {"g": 1.0, "m": 1 / 1024}
    limits = {name: SERVICES[name]["deploy"]["resources"]["limits"]["memory"] for name in RUNNING}
    needed = {name: float(text[:-1]) * gigabytes[text[-1]] for name, text in limits.items()}
    assert sum(needed.values()) == float(said)
    assert not any(SERVICES[name].get("profiles") for name in RUNNING)


def test_what_a_small_centre_appends_to_its_settings_reaches_the_scorer_and_is_enough_for_spark():
    lines = (ROOT / "deploy" / "small.env").read_text(encoding="utf-8").splitlines()
    small = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    settings = Settings.from_environment(small)
    assert settings.driver_memory == "512m"
    assert re.fullmatch(r"local\[1,[2-9]\]", settings.master)  # without a count Spark never retries
    assert {"path": ".env", "required": False} in SERVICES["scorer"]["env_file"]
    assert not small.keys() & variables(SERVICES["scorer"]).keys()  # what stands there would win


def test_the_watch_works_on_what_the_scorer_has_and_the_token_of_the_store_alone_lets_it_out():
    its = {source: (target, is_read_only) for source, target, is_read_only in mounts(SERVICES["watch"])}
    settings = variables(SERVICES["watch"])
    (state,) = (target for source, target, _ in mounts(SERVICES["scorer"]) if source == "state")
    assert its == {
        "state": (state, False),
        "artifacts": (settings["RISK_ARTIFACTS"], False),
        "archive": (settings["RISK_ARCHIVE"], False),
        "registry": (settings["RISK_REGISTRY"], False),
        "./deploy/gate.toml": (settings["RISK_GATE_PLAN"], True),
        "scorer-token": ("/run/secrets", True),
    }


def test_the_way_back_by_hand_waits_for_no_service_and_works_on_what_the_watch_does():
    by_hand, watch = SERVICES["registry"], SERVICES["watch"]
    assert "depends_on" not in by_hand
    places = {(source, target) for source, target, _ in mounts(by_hand)}
    assert places == {(source, target) for source, target, _ in mounts(watch)} - {("scorer-token", "/run/secrets")}
    assert variables(by_hand).items() <= variables(watch).items()


def test_the_file_of_the_registry_adds_its_server_and_changes_the_scorers_image_alone():
    assert FILE["services"].keys() == {"mlflow", "registry", "scorer"}
    assert FILE["services"]["scorer"] == {"build": {"args": {"EXTRA": "registry"}}}


def test_the_secrets_are_those_that_its_script_makes_and_hold_one_login_for_both(tmp_path):
    for _ in range(2):
        subprocess.run(["/bin/sh", ROOT / "deploy" / "mlflow" / "make-secrets.sh", tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {secret["file"] for secret in FILE["secrets"].values()} == {f"./secrets/{name}" for name in made}
    login = configparser.ConfigParser()
    login.read_string(made["mlflow_login"])
    its = login["mlflow"]
    assert its["admin_password"] == its["mlflow_tracking_password"] != made["mlflow_session_key"]
    assert re.fullmatch(r"[0-9a-f]{48}", its["admin_password"])
    assert its["admin_username"] == its["mlflow_tracking_username"]


def test_the_server_has_the_version_of_the_image_without_the_job_runner():
    start = (ROOT / "deploy" / "mlflow" / "start.sh").read_text(encoding="utf-8")
    pinned = re.findall(r"^mlflow==(\S+) ", (ROOT / "deploy" / "mlflow" / "requirements.txt").read_text(), re.MULTILINE)
    assert MLFLOW["image"].rpartition(":")[2] == pinned[0]
    for words in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "--app-name basic-auth"):
        assert words in start
    for path in re.findall(r"/run/secrets/(\w+)", start):
        assert path in MLFLOW["secrets"]


SCORER = read_compose("compose.gpu.yaml")["services"]["scorer"]
SMI = """#!/bin/sh
[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf '%b' "$GPUS"
"""


@pytest.mark.parametrize(
    ("listed", "told"), [("0\\n", '["0"]'), ("0\\n1\\n", '["0","1"]'), ("", "[]")], ids=["one", "two", "none"]
)
def test_gpus_are_told_as_spark_wants_to_hear_it(tmp_path, listed, told):
    script = ROOT / "deploy" / "gpu" / "gpus.sh"
    ran = run(script, env={"PATH": stand_in("nvidia-smi", tmp_path / "bin", SMI), "GPUS": listed})
    assert ran.stdout == f'{{"name": "gpu", "addresses": {told}}}\n'


def test_spark_looks_for_its_settings_where_they_are_mounted():
    ((source, target, is_read_only),) = mounts(SCORER)
    assert (source, target, is_read_only) == ("./deploy/gpu", SCORER["environment"]["SPARK_CONF_DIR"], True)
    text = (ROOT / "deploy" / "gpu" / "spark-defaults.conf").read_text(encoding="utf-8")
    named = re.findall(r"(/etc/spark/\S+)", text)
    assert named
    assert all((ROOT / source / Path(path).relative_to(target)).is_file() for path in named)


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


def test_grafana_asks_the_store_that_the_scorer_writes_to_by_secrets_that_it_is_given_and_by_no_variable():
    assert DATASOURCE["url"] == value("scorer", "INFLUXDB_V2_URL") == "http://influxdb:8086"
    assert DATASOURCE["jsonData"]["dbName"] == value("scorer", "INFLUXDB_V2_BUCKET")
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


SECRETS = {
    ("influxdb", "DOCKER_INFLUXDB_INIT_PASSWORD_FILE"): "influxdb_admin_password",
    ("influxdb", "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE"): "influxdb_admin_token",
    ("grafana", "GF_SECURITY_ADMIN_PASSWORD__FILE"): "grafana_admin_password",
}
VALUES = {
    ("influxdb", "DOCKER_INFLUXDB_INIT_MODE"): "setup",
    ("influxdb", "DOCKER_INFLUXDB_INIT_ORG"): value("scorer", "INFLUXDB_V2_ORG"),
    ("influxdb", "DOCKER_INFLUXDB_INIT_BUCKET"): value("scorer", "INFLUXDB_V2_BUCKET"),
    ("influxdb-setup", "INFLUX_HOST"): value("scorer", "INFLUXDB_V2_URL"),
    ("grafana", "GF_PANELS_ENABLE_ALPHA"): "true",
    ("grafana", "GF_SERVER_ROOT_URL"): "http://127.0.0.1:3000",  # of links in notifications
}


def test_a_variable_of_an_image_names_the_secret_that_it_is_for_or_has_the_value_that_the_others_count_on():
    assert {of: place(of[0], value(*of)) for of in SECRETS} == {of: ("secret", name) for of, name in SECRETS.items()}
    for name in SECRETS.values():
        assert COMPOSE["secrets"][name]["file"] == f"./secrets/{name}"
    assert {of: value(*of) for of in VALUES} == VALUES


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


def test_only_the_scorer_gets_what_stands_in_the_operators_settings():
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["scorer"]
