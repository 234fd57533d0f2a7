"""What others' tools say of compose.yaml and the Dockerfile. `make compose-check` installs them all."""

import json
import subprocess

import pytest

from tests.compose.compose_file import ROOT, SERVICES, tool

FILES = (("compose.yaml",), ("compose.yaml", "compose.gpu.yaml"))


def run(*command):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


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
    return run(found, *arguments)


@pytest.mark.parametrize("files", FILES, ids=" ".join)
def test_docker_compose_accepts_the_files(files):
    options = [word for name in files for word in ("-f", name)]
    ran = docker_compose(*options, "config", "-q")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_docker_compose_starts_the_demo_with_its_own_services_and_without_it_none_of_them(monkeypatch):
    monkeypatch.delenv("COMPOSE_PROFILES", raising=False)
    demo = {name for name, service in SERVICES.items() if service.get("profiles")}
    assert set(docker_compose("config", "--services").stdout.split()) == set(SERVICES) - demo
    with_demo = docker_compose("--env-file", "deploy/demo.env", "config", "--services")
    assert set(with_demo.stdout.split()) == set(SERVICES)


def test_the_gpu_reaches_the_scorer_alone():
    ran = docker_compose("-f", "compose.yaml", "-f", "compose.gpu.yaml", "config", "--format", "json")
    services = json.loads(ran.stdout)["services"]
    reserved = {name for name, one in services.items() if "reservations" in one["deploy"]["resources"]}
    assert reserved == {"scorer"}
    scorer = services["scorer"]
    assert scorer["build"]["args"] == {"TORCH": "cuda"}
    assert set(scorer["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert scorer["cap_drop"] == ["ALL"]
    assert scorer["environment"]["RISK_SINK"] == "influxdb"


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_a_file_keeps_the_schema_of_compose(name):
    ran = run(needed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", name)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("files", FILES, ids=" ".join)
def test_the_security_linter_finds_nothing_high(files):
    ran = run(needed("compose-lint"), "check", "--no-env", "--format", "json", *files)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dockerfiles_linter_finds_nothing():
    ran = run(needed("hadolint"), "--format", "json", "streaming/Dockerfile")
    assert json.loads(ran.stdout) == []
