"""`make release`: what it refuses, and what the wheel has when it is away from the checkout."""

import ast
import re
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.release import ROOT, changelog_entry, try_commands, version_to_release, write_sums
from schemas import product_version
from schemas.errors import RiskError
from tests.harness.processes import commit_all, git, run, run_python

pytestmark = pytest.mark.package

PACKAGES = ("schemas", "models", "streaming", "lifecycle", "service")
OF_A_SITE = {"deploy/gate.toml"}  # a default below the folder of work; RISK_GATE_PLAN names another
ENTRY = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n\n### Added\n\n- A sink.\n\n## [1.2.2] - 2026-11-01\n"
)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.fixture
def tree(tmp_path):
    """A committed project of version 1.2.3."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(ENTRY)
    commit_all(tmp_path)
    return tmp_path


def test_what_is_committed_and_told_of_may_be_released_with_its_own_tag_alone(tree):
    assert version_to_release(tree) == "1.2.3"
    git(tree, "tag", "v1.2.3")
    assert version_to_release(tree) == "1.2.3"
    git(tree, "tag", "--delete", "v1.2.3")
    git(tree, "tag", "v1.2.2")
    with pytest.raises(RiskError, match=r"tag v1\.2\.2 and the version 1\.2\.3"):
        version_to_release(tree)


@pytest.mark.parametrize("name", ["new.py", "pyproject.toml"])
def test_a_tree_with_changes_is_not_released(tree, name):
    with (tree / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(RiskError, match=f"not committed: .*{name}"):
        version_to_release(tree)


@pytest.mark.parametrize("version", ["1.2.2", "1.2", "11.2.3", "1x2x3"])
def test_a_version_that_the_changelog_does_not_tell_of_is_not_released(tree, version):
    """1.2.2 has a heading and nothing below it."""
    (tree / "pyproject.toml").write_text(f'[project]\nname = "a"\nversion = "{version}"\n')
    git(tree, "commit", "--quiet", "--all", "--message", "another version")
    with pytest.raises(RiskError, match=f"says nothing of {version}"):
        version_to_release(tree)


def test_an_entry_ends_where_the_next_one_begins_and_the_changelog_keeps_its_form():
    """Keep a Changelog: Unreleased first, then versions from the newest to the oldest, changes by their kind."""
    assert changelog_entry(ENTRY, "1.2.3") == "### Added\n\n- A sink."
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *released = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", heading).groups() for heading in released]
    keys = [(tuple(map(int, parts)), day) for *parts, day in versions]
    assert keys == sorted(keys, reverse=True)
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= KINDS


def test_the_sums_are_those_that_sha256sum_finds(tmp_path):
    for name in ("a.whl", "b.tar.gz"):
        (tmp_path / name).write_bytes(name.encode())
    write_sums([tmp_path / "a.whl", tmp_path / "b.tar.gz"])
    assert run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path).returncode == 0
    (tmp_path / "a.whl").write_bytes(b"another")
    assert run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path).returncode == 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the sdist, as `make release` does, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    sdist = built("sdist", ROOT, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return built("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


def built(kind, source, folder):
    ran = run_python("-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=source)
    assert ran.returncode == 0, ran.stderr
    (path,) = folder.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return path


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of tracked files")
    listed = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PACKAGES, "incident_risk.py", cwd=ROOT
    ).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == tracked
    of_data = ".html .js .css .j2 .json .csv .geojson .md .npz .safetensors"  # .md: whose data the sample is
    assert {Path(name).suffix for name in held} > set(of_data.split())


def test_nothing_in_the_packages_names_a_file_that_the_wheel_has_not():
    """A text that is the path of a file in the checkout, and is not in a package, is read from the checkout alone."""
    named = {
        node.value
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "/" in node.value.strip("/")
    }
    assert {name for name in named if len(name) < 200 and is_ours_outside_packages(name)} == OF_A_SITE


def is_ours_outside_packages(name):
    parts = Path(name).parts
    return parts[0] not in (*PACKAGES, "data", "out", "..", "/") and (ROOT / name).is_file()


WATCHED = """
import os, sys
def look(event, arguments, root=os.environ["CHECKOUT"], own=sys.prefix):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(root + os.sep):
        if not arguments[0].startswith(own + os.sep):
            sys.stderr.write(f"opened {arguments[0]}\\n")
            os._exit(99)
sys.addaudithook(look)
"""


@pytest.fixture
def away(wheel, tmp_path, monkeypatch):
    """A Python that finds the product in the wheel alone, and ends when it opens a file of the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - our own
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCHED)
    program = tmp_path / "python"
    exports = f"PYTHONPATH={tmp_path / 'site'} CHECKOUT={ROOT} PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"
    program.write_text(f'#!/bin/sh\n{exports} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    return program, tmp_path / "work"


def test_the_wheel_alone_is_enough_for_the_commands_of_a_release(away):
    program, folder = away
    names = ", ".join(PACKAGES)
    where = run(program, "-c", f"import {names}; print({names})", cwd=folder).stdout
    assert where.count(str(folder.parent / "site")) == len(PACKAGES)
    try_commands(program, product_version(), folder, now=datetime.now(UTC))
    assert (folder / "cells" / "montgomery.geojson").is_file()


def test_a_file_that_lies_in_the_checkout_alone_would_be_found(away):
    program, folder = away
    ran = run(program, "-c", f"open({str(ROOT / 'pyproject.toml')!r})", cwd=folder)
    assert (ran.returncode, "opened" in ran.stderr) == (99, True)


def test_a_wheel_of_another_version_is_refused(away):
    program, folder = away
    with pytest.raises(RiskError, match=r"of the wheel says incident-risk-scorer .*, not 9\.9\.9"):
        try_commands(program, "9.9.9", folder, now=datetime.now(UTC))
