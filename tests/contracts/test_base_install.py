"""What `pip install incident-risk-scorer` brings is enough for all commands but those that need an extra by name."""

import json
import os
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
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


@cache
def modules_of_extras():
    """Top-level modules of the packages that only an extra asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    extra = {canonicalize_name(Requirement(text).name) for name in ("archive", "evaluate", "serve", "dev", "bench")
             for text in project["optional-dependencies"][name]} - base  # fmt: skip
    own = canonicalize_name(project["name"])
    packages = {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}
    return {module for module, names in packages.items() if names & extra and own not in names}


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
