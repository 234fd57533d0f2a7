"""What `pip install incident-risk-scorer` brings is enough for all commands but those that need an extra by name."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from {package}.__main__ import main
sys.argv = {argv!r}
main()
"""


def modules_of_extras():
    """Top-level modules of the packages that only an extra asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    extra = {canonicalize_name(Requirement(one).name) for name in ("archive", "evaluate", "serve", "dev", "bench")
             for one in project["optional-dependencies"][name]} - base  # fmt: skip
    own = canonicalize_name(project["name"])
    found = {module: {canonicalize_name(one) for one in by} for module, by in packages_distributions().items()}
    return {module for module, by in found.items() if by & extra and own not in by}


def run(package, *words):
    names = modules_of_extras() - {"packaging"}
    script = WITHOUT.format(names=names, package=package, argv=[package, *words])
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_modules_that_are_taken_away_are_those_of_the_extras():
    names = modules_of_extras()
    assert {"sklearn", "optuna", "matplotlib", "hypothesis", "pytest"} <= names
    assert not names & {"torch", "numpy", "pyspark", "models", "streaming", "scipy"}


@pytest.mark.parametrize("package", ["models", "streaming", "service"])
def test_every_command_explains_itself(package):
    ran = run(package, "--help")
    assert ran.returncode == 0, ran.stderr


def test_a_first_artifact_is_made_and_the_extra_is_named_where_it_is_needed(tmp_path):
    words = ["cold-start", "--region", "town", "--timezone", "UTC", "--bounds", "40.99,-87.01,41.05,-86.94"]
    ran = run("models", *words, "--per-day", "fire=30", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    ran = run("models", "evaluate", "chicago-3km-daily", "--out", str(tmp_path))
    assert (ran.returncode, "pip install -c constraints.txt '.[evaluate]'" in ran.stderr) == (2, True), ran.stderr


def test_the_extra_of_the_service_is_named_where_it_is_needed():
    ran = run("service", "serve")
    assert (ran.returncode, "pip install -c constraints.txt '.[serve]'" in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("lifecycle", ["archive"]),
        ("models", ["train", "--data", "archive:days", "--region", "town"]),
    ],
)
def test_the_extra_of_the_archive_is_named_where_it_is_needed(package, words, monkeypatch, tmp_path):
    monkeypatch.setenv("RISK_ARCHIVE", str(tmp_path))
    if words[0] == "train":
        words = [*words, "--out", str(tmp_path)]
    ran = run(package, *words)
    assert (ran.returncode, "pip install -c constraints.txt '.[archive]'" in ran.stderr) == (2, True), ran.stderr
