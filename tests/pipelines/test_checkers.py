"""What others' tools say of the CIs' files. `make pipelines-check` gets them all."""

import json
import shutil

import pytest

from tests.harness.compose_file import ROOT, tool
from tests.harness.pipelines import GITLAB, JENKINS, WORKFLOWS
from tests.harness.processes import run

pytestmark = pytest.mark.package

NODE_PROGRAMS = ROOT / ".venv" / "node" / "node_modules" / ".bin"
REFUSED = """
name: label
on: pull_request_target
jobs:
  label:
    permissions: write-all
    runs-on: ubuntu-24.04
    steps:
      - uses: somebody/label@v1
      - run: echo "${{ github.event.pull_request.title }}"
"""


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


def zizmor(*paths):
    configuration = ROOT / ".github" / "zizmor.yml"
    options = ("--offline", "--no-progress", "--quiet", "--format", "json", "--config", configuration)
    ran = run(needed("zizmor"), *options, *paths)
    return ran, {finding["ident"] for finding in json.loads(ran.stdout)}


def test_the_security_linter_finds_nothing_in_the_workflows():
    ran, kinds = zizmor(*WORKFLOWS)
    assert (ran.returncode, kinds) == (0, set()), ran.stdout


def test_the_security_linter_finds_rights_injections_and_actions_without_a_hash(tmp_path):
    (tmp_path / "label.yml").write_text(REFUSED)
    ran, kinds = zizmor(tmp_path / "label.yml")
    assert ran.returncode != 0
    assert {"dangerous-triggers", "excessive-permissions", "template-injection", "unpinned-uses"} <= kinds


def actionlint(*paths):
    return run(needed("actionlint"), "-no-color", "-config-file", ROOT / ".github" / "actionlint.yaml", *paths)


def test_actionlint_finds_nothing_in_the_workflows():
    ran = actionlint(*WORKFLOWS)
    assert (ran.returncode, ran.stdout) == (0, "")


def groovy(path):
    program = needed("npm-groovy-lint", shutil.which("npm-groovy-lint", path=NODE_PROGRAMS))
    ran = run(program, "--noserver", "--failon", "error", "--output", "json", path)
    return ran.returncode, json.loads(ran.stdout)["summary"]


@pytest.mark.nightly
def test_the_linter_of_groovy_finds_no_error_in_the_jenkinsfile():
    code, summary = groovy(JENKINS)
    assert (code, summary["totalFoundErrorNumber"]) == (0, 0)
