"""constraints-hashes.txt: every package that this project installs, pinned as in constraints.txt, with its hashes."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HASHED = (ROOT / "constraints-hashes.txt").read_text(encoding="utf-8")
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
HASHES = r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"
ENTRY = re.compile(rf"^([a-z0-9-]+)==([^ ]+)(?: ;[^\n\\]+)? \\\n{HASHES}", re.MULTILINE)


def test_the_file_is_nothing_but_pins_with_hashes():
    assert ENTRY.sub("", HASHED) == ""


def test_every_hashed_package_has_the_version_that_is_pinned():
    versions = {match[1]: match[2] for match in ENTRY.finditer(HASHED)}
    assert len(versions) > 90
    assert {name: PINNED.get(name) for name in versions} == versions, "run `make lock`"


def test_every_requirement_of_every_extra_is_hashed_in_a_version_that_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"], "uv"]
    wanted += [line for lines in extras.values() for line in lines]
    versions = {match[1]: match[2] for match in ENTRY.finditer(HASHED)}
    for line in wanted:
        requirement = Requirement(line)
        if requirement.name == project["project"]["name"]:
            assert requirement.extras <= set(extras), f"{line}: no such extra"
            continue
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line}: pin it in constraints.txt and run `make lock`"
        assert requirement.specifier.contains(version), line
