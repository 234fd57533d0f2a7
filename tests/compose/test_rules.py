"""Rules that every service keeps, and what the services promise each other."""

import re
import subprocess

import pytest

from service.tokens import Tokens
from tests.harness.compose_file import COMPOSE, OUR_SERVICES, ROOT, SERVICES, mounts, read_compose, variables

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
RUNNING = ("kafka", "influxdb", "scorer", "serve", "feedback", "watch", "grafana")
MADE = {"data/artifacts"}  # by `risk train`


def seconds(text):
    return int(text.removesuffix("s"))


@each_service
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


def test_the_store_reaches_no_other_network_and_is_reached_by_those_alone_that_need_it():
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert SERVICES["influxdb"]["networks"] == ["store"]
    neighbours = {name for name, service in SERVICES.items() if "store" in service.get("networks", [])}
    assert neighbours == {"influxdb", "influxdb-setup", "scorer", "feedback", "watch", "grafana"}


def test_nobody_gets_into_grafana_whom_the_operator_did_not_let_in():
    """No account of one's own making, nothing shown to the internet; who only looks may change nothing."""
    grafana = variables(SERVICES["grafana"])
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    for name in ("USERS_ALLOW_SIGN_UP", "SNAPSHOTS_EXTERNAL_ENABLED", "PUBLIC_DASHBOARDS_ENABLED"):
        assert grafana[f"GF_{name}"] == "false", name
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith("/run/")


def test_only_kafka_grafana_and_the_service_have_a_port_at_all():
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"kafka", "grafana", "serve"}


def test_the_service_reaches_nobody_and_writes_decisions_alone():
    alone = {name for name, service in SERVICES.items() if "service" in service.get("networks", [])}
    assert alone == {"serve"}
    assert SERVICES["serve"]["networks"] == ["service"]
    assert list(mounts(SERVICES["serve"])) == [("frames", "/frames", True), ("decisions", "/decisions", False)]
    assert variables(SERVICES["serve"])["RISK_AUDIT"].startswith("/decisions/")
    assert [name for name, one in SERVICES.items() if "decisions" in {mount[0] for mount in mounts(one)}] == ["serve"]
    assert ("frames", variables(SERVICES["scorer"])["RISK_FRAMES"], False) in mounts(SERVICES["scorer"])


def test_the_services_port_is_the_one_that_it_listens_on_and_its_token_opens_it(tmp_path):
    serve = read_compose(SERVICE_PORT="9999")["services"]["serve"]
    words = serve["command"]
    listen, tokens = words[words.index("--listen") + 1], words[words.index("--tokens") + 1]
    port = listen.rpartition(":")[2]
    assert serve["ports"] == [f"127.0.0.1:9999:{port}"]
    assert port == "9999", "so that the address that it prints opens"
    assert f":{port}/health" in serve["healthcheck"]["test"][-1]
    mounted = COMPOSE["secrets"]["service"]["file"]
    assert tokens == "/run/secrets/service/tokens"
    subprocess.run(["/bin/sh", ROOT / "deploy" / "make-secrets.sh", tmp_path], check=True, capture_output=True)
    found = Tokens(tmp_path / mounted.removeprefix("./secrets/") / "tokens")
    found.look()
    assert found.caller((tmp_path / "service_token").read_text(encoding="utf-8")).name == "first"


@each_service
def test_no_variable_holds_a_secret(service):
    for name, value in variables(service).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|CREDENTIAL", name):
            assert value == "" or value.startswith("/run/"), name


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml", "deploy/demo.env"])
def test_nothing_in_the_files_looks_like_a_secret(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"[A-Za-z0-9+=]{32,}|-----BEGIN", text)


def test_the_secrets_are_those_that_the_script_makes(tmp_path):
    subprocess.run(["/bin/sh", ROOT / "deploy" / "make-secrets.sh", tmp_path], check=True, capture_output=True)
    made = {path.name for path in tmp_path.iterdir()} - {".gitignore", "service_token"}  # which is the operator's alone
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == {f"./secrets/{name}" for name in made}


def test_each_secret_reaches_those_alone_that_need_it():
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


@pytest.mark.parametrize("name", SERVICES)
def test_only_what_runs_on_is_started_again_for_ever(name):
    service = SERVICES[name]
    assert (service["restart"] == "unless-stopped") == (name in RUNNING)
    assert ("stop_grace_period" in service) == (name in RUNNING)


def test_the_page_says_how_much_memory_all_limits_are():
    page = " ".join((ROOT / "deploy" / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"([\d.]+) GB, to which all limits add up", page)
    gigabytes = {"g": 1.0, "m": 1 / 1024}
    limits = {name: SERVICES[name]["deploy"]["resources"]["limits"]["memory"] for name in RUNNING}
    needed = {name: float(text[:-1]) * gigabytes[text[-1]] for name, text in limits.items()}
    assert sum(needed.values()) == float(said)
    assert not any(SERVICES[name].get("profiles") for name in RUNNING)


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
    assert SERVICES["watch"]["networks"] == ["store"]


def test_the_way_back_by_hand_waits_for_no_service_and_works_on_what_the_watch_does():
    by_hand, watch = SERVICES["registry"], SERVICES["watch"]
    assert "depends_on" not in by_hand
    places = {(source, target) for source, target, _ in mounts(by_hand)}
    assert places == {(source, target) for source, target, _ in mounts(watch)} - {("scorer-token", "/run/secrets")}
    assert variables(by_hand).items() <= variables(watch).items()
