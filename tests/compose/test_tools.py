"""What others' tools say of compose.yaml and the Dockerfile. `make compose-check` installs them all."""

import json
import re
from itertools import combinations

import pytest

from schemas import product_version
from tests.harness.compose_file import ROOT, tool
from tests.harness.processes import run

pytestmark = pytest.mark.package

EXTERNAL = ("compose.yaml", "deploy/external-kafka.yaml")
MORE = ("compose.gpu.yaml", *(f"deploy/{name}.yaml" for name in ("external-kafka", "registry", "cluster", "digests")))
FILES = [("compose.yaml", *chosen) for number in range(len(MORE) + 1) for chosen in combinations(MORE, number)]
WITH_EXTERNAL = [word for name in EXTERNAL for word in ("-f", name)]
GPU_IMAGE = f"incident-risk-scorer:{product_version()}-cuda"
TOLD = {"RISK_KAFKA_BOOTSTRAP": "kafka.example.org:9093", "RISK_KAFKA_USERNAME": "scorer"}


@pytest.fixture(autouse=True)
def what_stands_in_env(monkeypatch):
    for name, value in (TOLD | {"SCORER_IMAGE": GPU_IMAGE}).items():
        monkeypatch.setenv(name, value)


def needed(name):
    found = tool(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make compose-check` does it")
    return found


def docker_compose(*arguments):
    found = needed("docker-compose")
    version = run(found, "version", "--short").stdout.strip().removeprefix("v")
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < (2, 24):
        pytest.skip(f"docker-compose {version} is too old, 2.24 is needed: `make compose-check` brings one")
    return run(found, *arguments, cwd=ROOT)


def config(*options):
    """The whole configuration as Compose reads it."""
    ran = docker_compose(*options, "config", "--format", "json")
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", MORE)
def test_the_line_for_env_in_a_files_head_makes_compose_take_the_file(monkeypatch, tmp_path, name):
    lines = re.findall(r"^#   ([A-Z_]+=\S+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    (tmp_path / ".env").write_text("\n".join(lines))
    taken = config("--env-file", str(tmp_path / ".env"))
    (tmp_path / ".env").write_text("\n".join(line for line in lines if "COMPOSE_FILE" not in line))
    assert taken == config("--env-file", str(tmp_path / ".env"), "-f", "compose.yaml", "-f", name)


@pytest.mark.parametrize("files", FILES, ids=" ".join)
def test_every_image_of_ours_is_built_by_a_service(monkeypatch, files):
    """So that no service waits for an image that nobody builds, or starts an old one."""
    if "compose.gpu.yaml" not in files:
        monkeypatch.delenv("SCORER_IMAGE")
    services = config(*(word for name in files for word in ("-f", name)), "--profile", "*")["services"].values()
    built = {service["image"] for service in services if "build" in service}
    assert {service["image"] for service in services if service["image"].startswith("incident-risk")} == built
    if "compose.gpu.yaml" in files:
        assert GPU_IMAGE in built


def test_the_digests_are_of_every_image_that_is_pulled_and_of_the_versions_that_are_named():
    plain, pinned = (
        config("-f", "compose.yaml", *more, "--profile", "*") for more in ((), ("-f", "deploy/digests.yaml"))
    )
    for name, service in plain["services"].items():
        digest = pinned["services"][name]["image"].removeprefix(service["image"])
        assert re.fullmatch("" if "risk-scorer" in service["image"] else "@sha256:[0-9a-f]{64}", digest), name
    ((base, context),) = pinned["services"]["scorer"]["build"]["additional_contexts"].items()
    assert re.fullmatch(rf"docker-image://{re.escape(base)}@sha256:[0-9a-f]{{64}}", context)
    assert f"FROM {base} AS base" in (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")


def test_a_gpu_without_an_image_of_its_own_is_refused(monkeypatch):
    monkeypatch.delenv("SCORER_IMAGE")
    ran = docker_compose("-f", "compose.yaml", "-f", "compose.gpu.yaml", "config", "-q")
    assert ran.returncode != 0
    assert f"SCORER_IMAGE={GPU_IMAGE}" in ran.stderr


def test_the_gpu_reaches_the_scorer_alone():
    services = config("-f", "compose.yaml", "-f", "compose.gpu.yaml")["services"]
    reserved = {name for name, one in services.items() if "reservations" in one["deploy"]["resources"]}
    assert reserved == {"scorer"}
    scorer = services["scorer"]
    assert scorer["build"]["args"] == {"TORCH": "cuda"}
    assert set(scorer["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert scorer["cap_drop"] == ["ALL"]
    assert scorer["environment"]["RISK_SINK"] == "influxdb"


def test_with_an_external_kafka_ours_does_not_run_and_the_scorer_signs_in_by_files():
    found = config(*WITH_EXTERNAL)
    assert not {"kafka", "topics"} & set(found["services"])
    scorer = found["services"]["scorer"]
    needed_ones = {name for name, one in scorer["depends_on"].items() if one["required"]}
    assert needed_ones == {"influxdb", "influxdb-setup"}
    kafka = {name: value for name, value in scorer["environment"].items() if "KAFKA" in name}
    mounted = {mount["target"]: mount["source"] for mount in scorer["secrets"]}
    assert kafka == {
        **TOLD,
        "RISK_KAFKA_SECURITY": "sasl_ssl",
        "RISK_KAFKA_PASSWORD": "",
        "RISK_KAFKA_PASSWORD_FILE": "/run/kafka/password",
        "RISK_KAFKA_CA": "/run/kafka/ca.pem",
    }
    assert mounted == {kafka["RISK_KAFKA_PASSWORD_FILE"]: "kafka_password", kafka["RISK_KAFKA_CA"]: "kafka_ca"}
    assert found["secrets"]["kafka_password"]["file"] == str(ROOT / "secrets" / "kafka_password")
    users = [name for name, one in found["services"].items() if "kafka_password" in str(one.get("secrets"))]
    assert sorted(users) == ["feedback", "scorer"]


@pytest.mark.parametrize("name", TOLD)
def test_an_external_kafka_must_be_named(monkeypatch, name):
    monkeypatch.delenv(name)
    ran = docker_compose(*WITH_EXTERNAL, "config", "-q")
    assert ran.returncode != 0
    assert f"set {name} in .env" in ran.stderr


@pytest.mark.parametrize("name", ["compose.yaml", *MORE])
def test_a_file_keeps_the_schema_of_compose(name):
    ran = run(needed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", name, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("files", [("compose.yaml",), *(("compose.yaml", name) for name in MORE)], ids=" ".join)
def test_the_security_linter_finds_nothing_high(files):
    ran = run(needed("compose-lint"), "check", "--no-env", "--format", "json", *files, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["streaming/Dockerfile", "deploy/mlflow/Dockerfile"])
def test_the_dockerfiles_linter_finds_nothing(name):
    ran = run(needed("hadolint"), "--format", "json", name, cwd=ROOT)
    assert json.loads(ran.stdout) == []
