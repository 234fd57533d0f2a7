"""deploy/registry.yaml: MLflow's server keeps the rules of other services; its client alone reaches it."""

import configparser
import re
import subprocess

from tests.compose import test_rules as rules
from tests.harness.compose_file import ROOT, read_compose

FILE = read_compose("deploy/registry.yaml")
MLFLOW = FILE["services"]["mlflow"]


def test_the_rules_of_every_service_hold():
    rules.test_a_service_has_a_full_version_limits_and_no_rights_beyond_its_own(MLFLOW)
    rules.test_no_variable_holds_a_secret(MLFLOW)
    assert "ports" not in MLFLOW


def test_nothing_else_reaches_the_server_and_only_the_two_read_its_login():
    assert MLFLOW["networks"] == ["registry"]
    assert rules.COMPOSE["networks"]["registry"] == {"internal": True}
    reach = [name for name, service in rules.SERVICES.items() if "registry" in service.get("networks", [])]
    assert reach == ["registry"]
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
