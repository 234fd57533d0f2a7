"""What others' tools say of the CIs' files. `make pipelines-check` gets them all."""

import json
import shutil

import pytest

from tests.harness.compose_file import ROOT, tool
from tests.harness.pipelines import GITLAB, JENKINS, WORKFLOWS
from tests.harness.processes import run

pytestmark = pytest.mark.package

NODE_PROGRAMS = ROOT / ".venv" / "node" / "node_modules" / ".bin"


def needed(name, program=None):
    program = program or tool(name)
    if program is None:
        pytest.skip(f"{name} is not installed: `make pipelines-check` does it")
    return program


def schema(kind, path):
    options = ["--data-transform", "gitlab-ci"] if kind == "gitlab-ci" else []
    return run(needed("check-jsonschema"), "--builtin-schema", f"vendor.{kind}", *options, path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_keeps_githubs_schema(path):
    ran = schema("github-workflows", path)
    assert ran.returncode == 0, ran.stdout


def test_gitlabs_file_keeps_its_schema():
    ran = schema("gitlab-ci", GITLAB)
    assert ran.returncode == 0, ran.stdout


def test_the_security_linter_finds_nothing_in_the_workflows():
    options = ("--offline", "--no-progress", "--quiet", "--config", ROOT / ".github" / "zizmor.yml")
    ran = run(needed("zizmor"), *options, *WORKFLOWS)
    assert ran.returncode == 0, ran.stdout


def test_actionlint_finds_nothing_in_the_workflows():
    program, configuration = needed("actionlint"), ROOT / ".github" / "actionlint.yaml"
    ran = run(program, "-no-color", "-config-file", configuration, *WORKFLOWS)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.nightly
def test_the_linter_of_groovy_finds_no_error_in_the_jenkinsfile():
    program = needed("npm-groovy-lint", shutil.which("npm-groovy-lint", path=NODE_PROGRAMS))
    ran = run(program, "--noserver", "--failon", "error", "--output", "json", JENKINS)
    assert (ran.returncode, json.loads(ran.stdout)["summary"]["totalFoundErrorNumber"]) == (0, 0)
