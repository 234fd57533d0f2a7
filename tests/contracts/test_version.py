"""pyproject.toml names the version; all that shows one asks there, or repeats it here in this test's sight."""

import re
import tomllib

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas import DISTRIBUTION, product_version
from service.app import document
from tests.contracts.test_readme import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TAGGED = ("compose.yaml", "compose.gpu.yaml", "deploy/cluster.yaml", "docs/how-to/operations.md")


def test_what_is_installed_has_the_projects_name_and_version():
    assert (DISTRIBUTION, product_version()) == (PROJECT["name"], PROJECT["version"]), "run `.ci/setup`"


def test_the_program_prints_the_version_whatever_else_is_wrong(monkeypatch):
    monkeypatch.setenv("RISK_NONSENSE", "1")
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"{DISTRIBUTION} {PROJECT['version']}\n")


@pytest.mark.parametrize("words", ["run", "feedback store", "gate end", "serve"])
def test_a_command_prints_its_help_whatever_setting_is_wrong(words, monkeypatch):
    monkeypatch.setenv("RISK_NONSENSE", "1")
    done = CliRunner().invoke(app, [*words.split(), "--help"])
    assert (done.exit_code, "Usage: " in done.output) == (0, True)


def test_the_interface_has_the_version():
    assert document()["info"]["version"] == PROJECT["version"]


@pytest.mark.parametrize("name", TAGGED)
def test_the_tag_of_the_image_is_the_version(name):
    tags = set(re.findall(rf"{DISTRIBUTION}:(\d+\.\d+\.\d+)", (ROOT / name).read_text(encoding="utf-8")))
    assert tags == {PROJECT["version"]}


def test_one_overlay_names_the_image_of_this_version_for_all():
    files = (ROOT / "deploy" / "kubernetes").rglob("kustomization.yaml")
    texts = "".join(path.read_text(encoding="utf-8") for path in files)
    assert re.findall(rf"{DISTRIBUTION}, newTag: (\S+)\}}", texts) == [PROJECT["version"]]


def test_no_other_file_repeats_it():
    """So that a new version is written into pyproject.toml and into the files above, and nowhere else."""
    files = [
        path
        for pattern in ("*.yaml", "*.md", "deploy/**/*", "docs/**/*.md", "streaming/Dockerfile")
        for path in ROOT.glob(pattern)
    ]
    naming = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.is_file() and f"{DISTRIBUTION}:{PROJECT['version']}".encode() in path.read_bytes()
    }
    assert naming == set(TAGGED)
