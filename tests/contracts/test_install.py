"""What is installed: names, version, hashes, and a base that is enough for all commands but those of an extra."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from incident_risk import app
from schemas import DISTRIBUTION, product_version
from service.app import document

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"^(?:schemas|models|streaming|lifecycle|service)(?:/|\.py,)", re.MULTILINE)


def test_no_other_distribution_installs_a_file_under_our_names():
    owners = {
        distribution.metadata["Name"]
        for distribution in distributions()
        if OURS.search(distribution.read_text("RECORD") or "")
    }
    assert owners <= {"incident-risk-scorer"}


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
TAGGED = {"compose.yaml", "compose.gpu.yaml", "deploy/cluster.yaml", "docs/how-to/operations.md"}


def test_what_is_installed_what_the_program_prints_and_the_interface_have_the_projects_version(monkeypatch):
    """Whatever else is wrong."""
    assert (DISTRIBUTION, product_version()) == (PROJECT["name"], PROJECT["version"]), "run `.ci/setup`"
    assert document()["info"]["version"] == PROJECT["version"]
    monkeypatch.setenv("RISK_NONSENSE", "1")
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"{DISTRIBUTION} {PROJECT['version']}\n")


@pytest.mark.parametrize("words", ["run", "feedback store", "gate end", "serve"])
def test_a_command_prints_its_help_whatever_setting_is_wrong(words, monkeypatch):
    monkeypatch.setenv("RISK_NONSENSE", "1")
    done = CliRunner().invoke(app, [*words.split(), "--help"])
    assert (done.exit_code, "Usage: " in done.output) == (0, True)


def test_the_tag_of_the_image_is_the_version_and_stands_in_these_files_alone():
    """So that a new version is written into pyproject.toml and into them, and nowhere else."""
    tags = {}
    for pattern in ("*.yaml", "*.md", "deploy/**/*", "docs/**/*.md", "streaming/Dockerfile"):
        for path in filter(Path.is_file, ROOT.glob(pattern)):
            if found := re.findall(rf"{DISTRIBUTION}:(\d+\.\d+\.\d+)".encode(), path.read_bytes()):
                tags[path.relative_to(ROOT).as_posix()] = set(found)
    assert tags == {name: {PROJECT["version"].encode()} for name in TAGGED}
    overlays = (path.read_text(encoding="utf-8") for path in (ROOT / "deploy").rglob("kustomization.yaml"))
    assert re.findall(rf"{DISTRIBUTION}, newTag: (\S+)\}}", "".join(overlays)) == [PROJECT["version"]]


HASHED = (ROOT / "constraints-hashes.txt").read_text(encoding="utf-8")
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
HASHES = r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"
ENTRY = re.compile(rf"^([a-z0-9-]+)==([^ ]+)(?: ;[^\n\\]+)? \\\n{HASHES}", re.MULTILINE)
VERSIONS = {match[1]: match[2] for match in ENTRY.finditer(HASHED)}


def test_the_file_is_nothing_but_pins_with_hashes_each_of_the_version_that_is_pinned():
    assert ENTRY.sub("", HASHED) == ""
    assert len(VERSIONS) > 90
    assert {name: PINNED.get(name) for name in VERSIONS} == VERSIONS, "run `make lock`"


def test_every_requirement_of_every_extra_is_hashed_in_a_version_that_it_allows():
    of_extras = [line for lines in EXTRAS.values() for line in lines]
    for line in (*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"], "uv", *of_extras):
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            assert requirement.extras <= set(EXTRAS), f"{line}: no such extra"
            continue
        version = VERSIONS.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line}: pin it in constraints.txt and run `make lock`"
        assert requirement.specifier.contains(version), line


WITHOUT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import incident_risk

results = []
for sys.argv in {commands!r}:
    code, written = 0, io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(written):
        try:
            incident_risk.main()
        except SystemExit as end:
            code = end.code
    results.append((code or 0, written.getvalue()))
print(json.dumps(results))
"""
WORKS = [
    "risk --help",
    "risk train --help",
    "risk run --help",
    "risk serve --help",
    "risk train --region town --timezone UTC --bounds 40.99,-87.01,41.05,-86.94 --per-day fire=30 --out made",
]
NEEDS = {
    "risk evaluate task.toml --out made": "evaluate",
    "risk posts --region town --units 2 --out made": "evaluate",
    "risk train --data archive:days --region town --out made": "archive",
    "risk archive": "archive",
    "risk serve": "serve",
}


def modules_of_extras():
    """Top-level modules of the packages that only an extra asks for."""
    named = [line for name in ("archive", "evaluate", "serve", "dev", "bench") for line in EXTRAS[name]]
    base, extra = (
        {canonicalize_name(Requirement(line).name) for line in lines} for lines in (PROJECT["dependencies"], named)
    )
    packages = {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}
    own = canonicalize_name(PROJECT["name"])
    return {module for module, names in packages.items() if names & (extra - base) and own not in names}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """By command its exit code and standard error, all in one process without the modules of the extras."""
    commands = [*WORKS, *NEEDS]
    names = modules_of_extras() - {"packaging"}
    script = WITHOUT.format(names=names, commands=[command.split() for command in commands])
    folder = tmp_path_factory.mktemp("base")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RISK_ARCHIVE": str(folder), "COLUMNS": "200"}
    ran = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return dict(zip(commands, json.loads(ran.stdout), strict=True))


def test_the_modules_that_are_taken_away_are_those_of_the_extras():
    names = modules_of_extras()
    assert {"sklearn", "optuna", "matplotlib", "hypothesis", "pytest"} <= names
    assert not names & {"torch", "numpy", "pyspark", "models", "streaming", "scipy"}


@pytest.mark.parametrize("command", WORKS)
def test_a_command_works_without_any_extra(ended, command):
    code, told = ended[command]
    assert code == 0, told


@pytest.mark.parametrize(("command", "extra"), NEEDS.items())
def test_a_command_names_the_extra_that_it_needs(ended, command, extra):
    code, told = ended[command]
    assert (code, f"pip install -c constraints.txt '.[{extra}]'" in told) == (2, True), told
