"""Rules that every service keeps, and what the services promise each other."""

import re
import subprocess

import pytest

from generator.alerts import ALERTS
from schemas.spec import DAY_S
from service.tokens import Tokens
from streaming.job.supervise import _COMMIT_WAIT_S, WRITES
from streaming.settings import Settings, environment_names
from tests.harness.compose_file import COMPOSE, OUR_SERVICES, ROOT, SERVICES, mounts, read_compose, variables

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
RUNNING = ("kafka", "influxdb", "scorer", "serve", "feedback", "archive", "judge", "retrain", "grafana")
MADE = {"data/artifacts"}  # by `python -m models train`


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
    assert neighbours == {"influxdb", "influxdb-setup", "scorer", "feedback", "judge", "grafana"}


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


@pytest.mark.parametrize(("owner", "readers"), [("scorer", ["scorer", "feedback", "judge"]), ("grafana", ["grafana"])])
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
    """Of what runs on: always, and with each profile."""
    page = " ".join((ROOT / "deploy" / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"add up to ([\d.]+) GB, ([\d.]+) GB with `retrain`", page)
    always, retrain = (float(figure) for figure in said.groups())
    gigabytes = {"g": 1.0, "m": 1 / 1024}
    limits = {name: SERVICES[name]["deploy"]["resources"]["limits"]["memory"] for name in RUNNING}
    needed = {name: float(text[:-1]) * gigabytes[text[-1]] for name, text in limits.items()}
    assert sum(needed.values()) == retrain
    assert retrain - needed["retrain"] == always
    assert {name for name in RUNNING if SERVICES[name].get("profiles")} == {"retrain"}


def test_retraining_writes_where_the_scorer_and_the_archive_are():
    its = {source: (target, is_read_only) for source, target, is_read_only in mounts(SERVICES["retrain"])}
    for name, of in (("artifacts", "scorer"), ("state", "scorer"), ("archive", "archive")):
        (target,) = (target for source, target, _ in mounts(SERVICES[of]) if source == name)
        assert its[name] == (target, name == "archive")
    assert variables(SERVICES["retrain"])["RISK_ARCHIVE"] == variables(SERVICES["archive"])["RISK_ARCHIVE"]
    assert its["registry"] == (variables(SERVICES["retrain"])["RISK_REGISTRY"], False)
    assert its["./deploy/gate.toml"] == (variables(SERVICES["retrain"])["RISK_GATE_PLAN"], True)
    assert SERVICES["retrain"]["network_mode"] == "none"


def test_the_way_back_by_hand_waits_for_no_service_and_works_on_what_retrain_does():
    by_hand, retrain = SERVICES["registry"], SERVICES["retrain"]
    assert "depends_on" not in by_hand
    assert set(mounts(by_hand)) == set(mounts(retrain))
    assert variables(retrain).items() - variables(by_hand).items() == {("RISK_BY", "retrain")}


def test_the_judge_reads_what_the_scorer_left_and_the_token_of_the_store_alone_lets_it_out():
    its = {source: (target, is_read_only) for source, target, is_read_only in mounts(SERVICES["judge"])}
    (state,) = (target for source, target, _ in mounts(SERVICES["scorer"]) if source == "state")
    assert its == {
        "state": (state, False), "artifacts": ("/artifacts", True), "scorer-token": ("/run/secrets", True)
    }  # fmt: skip
    assert SERVICES["judge"]["networks"] == ["store"]


def test_the_scorer_is_given_the_time_that_a_clean_stop_may_take():
    longest_s = WRITES * Settings().write_timeout_s + _COMMIT_WAIT_S
    assert seconds(SERVICES["scorer"]["stop_grace_period"]) >= longest_s + 15  # Spark and Java end after that


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_our_services_are_given_settings_that_exist_and_can_be_read(name, tmp_path):
    environment = variables(SERVICES[name])
    if "INFLUXDB_V2_TOKEN_FILE" in environment:
        (tmp_path / "token").write_text("t")
        environment["INFLUXDB_V2_TOKEN_FILE"] = str(tmp_path / "token")
    settings = Settings.from_environment(environment)
    assert settings.kafka_bootstrap == "kafka:19092"
    assert "INTERNAL://kafka:19092" in variables(SERVICES["kafka"])["KAFKA_ADVERTISED_LISTENERS"]


def test_the_operators_days_reach_the_store_and_its_setup():
    services = read_compose(RAW_DAYS="45", LONG_DAYS="800")["services"]
    setup = variables(services["influxdb-setup"])
    assert (setup["RAW_DAYS"], setup["LONG_DAYS"]) == ("45", "800")
    for of in (services, SERVICES):
        days = variables(of["influxdb-setup"])["RAW_DAYS"]
        assert variables(of["influxdb"])["DOCKER_INFLUXDB_INIT_RETENTION"] == f"{days}d"


def test_as_many_days_are_kept_as_the_alerts_and_the_task_look_back():
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    least = int(re.search(r"^#RAW_DAYS=.*# .*; (\d+) or more", example, re.MULTILINE)[1])
    task = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")
    days = [int(number) for number in re.findall(r"range\(start: -(\d+)d\)", task)]
    days += [alert.looks_back_s / DAY_S for alert in ALERTS]
    assert least >= max(days) > 7


def test_the_stores_queries_are_bounded_below_the_memory_of_its_service():
    """One query over everything must be refused, not end the store."""
    influxdb = SERVICES["influxdb"]
    bounds = {name: int(value) for name, value in variables(influxdb).items() if name.startswith("INFLUXD_QUERY_")}
    limit = int(influxdb["deploy"]["resources"]["limits"]["memory"].removesuffix("g")) * 2**30
    most = bounds["INFLUXD_QUERY_MAX_MEMORY_BYTES"]
    assert bounds["INFLUXD_QUERY_INITIAL_MEMORY_BYTES"] * bounds["INFLUXD_QUERY_CONCURRENCY"] <= most
    assert bounds["INFLUXD_QUERY_MEMORY_BYTES"] <= most <= limit / 2
    assert most < int(variables(influxdb)["GOMEMLIMIT"].removesuffix("MiB")) * 2**20 < limit
    assert bounds["INFLUXD_QUERY_QUEUE_SIZE"] > 117  # all queries of all pages at once


def test_one_service_builds_the_image_and_the_others_never_ask_a_registry_for_it():
    ours = {name: service for name, service in SERVICES.items() if service["image"] == SERVICES["scorer"]["image"]}
    assert [name for name, service in ours.items() if "build" in service] == ["scorer"]
    assert {service.get("pull_policy") for name, service in ours.items() if name != "scorer"} == {"never"}


def test_a_topics_name_set_by_the_operator_reaches_all_that_use_it():
    services = read_compose(RISK_TOPIC="calls", RISK_DEAD_LETTER_TOPIC="calls.dlq")["services"]
    for name in ("topics", "scorer", "replay"):
        environment = variables(services[name])
        assert (environment["RISK_TOPIC"], environment["RISK_DEAD_LETTER_TOPIC"]) == ("calls", "calls.dlq")


def test_kafka_tells_producers_the_port_that_is_open():
    kafka = read_compose(KAFKA_PORT="19999")["services"]["kafka"]
    assert kafka["ports"] == ["127.0.0.1:19999:9092"]
    assert "HOST://127.0.0.1:19999," in variables(kafka)["KAFKA_ADVERTISED_LISTENERS"]


def test_java_may_load_the_libraries_that_it_unpacks():
    for name in ("kafka", "topics", "scorer"):
        (tmp,) = (mount for mount in SERVICES[name]["tmpfs"] if mount.startswith("/tmp:"))  # noqa: S108
        assert "exec" in tmp.partition(":")[2].split(","), name


def test_every_variable_of_the_files_is_documented():
    used = set()
    for name in ("compose.yaml", "compose.gpu.yaml"):
        used |= set(re.findall(r"\$\{(\w+)", (ROOT / name).read_text(encoding="utf-8")))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    ours = dict(re.findall(r"^#(\w+)=(\S+) +# \S", example, re.MULTILINE))
    assert all((ROOT / name).is_file() for name in ours.pop("COMPOSE_FILE").split(":"))  # Compose's own variable
    assert set(ours) == used - set(environment_names())
    for name, default in ours.items():
        text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
        flat = re.sub(r"(\$\{\w+:-[^{}]*)\$\{\w+:-([^{}]*)\}", r"\1\2", text)  # a default within a default
        assert f"${{{name}:-{default}}}" in flat
