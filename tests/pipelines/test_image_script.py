"""deploy/image.sh with a stand-in for docker: what it asks Docker to do, and when it refuses the image."""

import json
import re
import shutil
import tomllib
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.compose_file import ROOT
from tests.harness.processes import commit_all, git, run, stand_in

pytestmark = pytest.mark.package

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"{PROJECT['name']}:{PROJECT['version']}"
LABEL = "org.opencontainers.image."
DOCKER = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word" >> {log}; done
printf -- '--\\n' >> {log}
case "$*" in
    *"--target bill"*) mkdir -p out/image && echo '{{}}' > out/image/sbom.json ;;
    run*) echo "{says}" ;;
    "image inspect"*) echo '{{"labels": "here"}}' ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A committed checkout with what the script reads."""
    folder = tmp_path / "checkout"
    for name in ("deploy/image.sh", "pyproject.toml", "streaming/Dockerfile", ".gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    commit_all(folder)
    return folder


@pytest.fixture
def image(checkout, tmp_path):
    """Gives `image(*words, says, **environment)`: the process, and each call of docker as words."""

    def ran(*words, says=f"{PROJECT['name']} {PROJECT['version']}", **environment):
        log = tmp_path / "log"
        log.write_text("")
        path = stand_in("docker", tmp_path / "programs", DOCKER.format(log=log, says=says))
        done = run("/bin/sh", "deploy/image.sh", *words, cwd=checkout, env={"PATH": path, **environment})
        return done, [call.splitlines() for call in log.read_text().split("--\n") if call.strip()]

    return ran


def labels(words):
    pairs = (words[number + 1].split("=", 1) for number, word in enumerate(words) if word == "--label")
    return {name.removeprefix(LABEL): value for name, value in pairs}


def test_the_image_says_where_it_comes_from(image, checkout):
    done, (build, start, bill, look) = image(SOURCE_URL="https://example.org/a/b")
    assert done.returncode == 0, done.stderr
    told = labels(build)
    created = datetime.fromisoformat(told.pop("created"))
    assert timedelta() <= datetime.now(UTC) - created < timedelta(minutes=1)
    assert told == {
        "title": PROJECT["name"],
        "version": PROJECT["version"],
        "licenses": PROJECT["license"],
        "revision": git(checkout, "rev-parse", "HEAD"),
        "source": "https://example.org/a/b",
    }
    common = ["--file", "streaming/Dockerfile", "--build-arg", "TORCH=cpu"]
    assert build[:7] == ["build", *common, "--tag", NAME]
    assert " ".join(start) == f"run --rm --network none --entrypoint python {NAME} -m incident_risk --version"
    assert bill == ["build", *common, "--target", "bill", "--output", "type=local,dest=out/image", "."]
    assert look[:2] == ["image", "inspect"]
    left = {path.name: json.loads(path.read_text()) for path in (checkout / "out" / "image").iterdir()}
    assert left == {"sbom.json": {}, "labels.json": {"labels": "here"}}


def test_a_name_and_cuda_can_be_asked_for(image):
    _, (build, *_) = image("example.org/risk:1", TORCH="cuda")
    assert build[build.index("--tag") + 1] == "example.org/risk:1"
    assert "TORCH=cuda" in build


def test_a_tree_with_changes_is_not_said_to_be_its_commit(image, checkout):
    (checkout / "new.py").write_text("")
    _, (build, *_) = image()
    assert labels(build)["revision"] == f"{git(checkout, 'rev-parse', 'HEAD')}-changed"


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://ci:token@example.org/a/b.git", "https://example.org/a/b.git"),
        ("/srv/git/b.git", ""),
        (None, ""),
    ],
)
def test_neither_a_token_nor_a_path_of_this_machine_becomes_the_source(image, checkout, remote, source):
    if remote:
        git(checkout, "remote", "add", "origin", remote)
    done, (build, *_) = image()
    assert labels(build)["source"] == source
    assert "token" not in done.stdout + done.stderr


def test_an_image_of_another_version_is_refused(image):
    done, commands = image(says=f"{PROJECT['name']} 9.9.9")
    assert done.returncode == 1
    assert "9.9.9" in done.stderr
    assert len(commands) == 2


def test_the_stage_of_the_bill_lists_the_python_that_the_image_has():
    dockerfile = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")
    stage = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    (listed,) = (text for text in stage if text.startswith("product AS listed"))
    assert "cyclonedx-py environment --output-reproducible --output-file /bill/sbom.json /opt/venv/bin/python" in listed
    assert stage[-1].startswith("base\n")  # the image itself is still the last stage
