"""deploy/back-up.sh and restore.sh, docker being a stand-in that keeps files. `make stack` runs them for real."""

import os

import pytest

from tests.harness.compose_file import ROOT
from tests.harness.processes import run, stand_in

DOCKER = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    "compose config") echo "name: incident-risk-scorer" ;;
    "volume ls"*) echo incident-risk-scorer_state ;;
    *" {fails} "*) echo "no space left on device" >&2; exit 1 ;;
esac
"""
ENGINE = """#!/bin/sh
set -eu
echo "$*" >> {log}
project=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env | grep . || echo incident-risk-scorer)
case "$*" in
    "compose config") echo "name: $project" ;;
    "volume ls --quiet --filter label=com.docker.compose.project="*) ls {volumes} | grep "^${{5##*=}}_" || : ;;
    "volume ls"*) ls {volumes} ;;
    "compose down --volumes") rm -rf {volumes}/"$project"_* ;;
    "compose create")
        [ -e image ] || exit 1
        mkdir -p {volumes}/"$project"_state {volumes}/"$project"_kafka ;;
    run*)
        while [ "$1" != -v ]; do shift; done
        shift
        volume={volumes}/${{1%%:*}}
        [ "$4" = -C ] && exec tar "${{3}}f" - -C "$volume" ${{6:-}} ;;
esac
"""
VOLUMES = ("incident-risk-scorer_kafka", "incident-risk-scorer_state")
AS_NO_ROOT = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")


@pytest.fixture
def script(tmp_path):
    """Runs a script in a folder with secrets: the process, and what it asked of docker."""
    log, folder = tmp_path / "log", tmp_path / "product"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "token").write_text("token")

    def ran(name, fails="nothing", before=(), engine=""):
        path = stand_in("docker", tmp_path / "bin", engine or DOCKER.format(log=log, fails=fails))
        log.write_text("")
        environment = os.environ | {"PATH": path}
        process = run(*before, "/bin/sh", ROOT / "deploy" / name, cwd=folder, env=environment)
        return process, log.read_text().splitlines()

    ran.folder = folder
    return ran


def test_the_services_start_again_after_a_back_up_that_failed(script):
    assert script("back-up.sh")[0].returncode == 0
    (script.folder / "secrets" / "token").write_text("another")
    process, asked = script("back-up.sh", fails="cz")
    assert process.returncode == 1
    assert (script.folder / "backup" / "secrets" / "token").read_text() == "token", "the back-up before is gone"
    assert [one for one in asked if one.startswith("compose")][1:] == ["compose stop", "compose start"]


def test_a_back_up_is_its_owners_alone_and_ends_with_the_services_started_once(script):
    process, asked = script("back-up.sh")
    assert process.returncode == 0
    assert [one for one in asked if one.startswith("compose")] == ["compose config", "compose stop", "compose start"]
    folder = script.folder / "backup"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "state.tgz").stat().st_mode & 0o777 == 0o600


def test_a_back_up_holds_nothing_that_the_one_before_it_left(script):
    (script.folder / "secrets" / "gone").write_text("old")
    assert script("back-up.sh")[0].returncode == 0
    (script.folder / "secrets" / "gone").unlink()
    assert script("back-up.sh")[0].returncode == 0
    assert [path.name for path in (script.folder / "backup" / "secrets").iterdir()] == ["token"]
    assert [path.name for path in script.folder.glob("backup*")] == ["backup"]


def test_a_second_back_up_replaces_secrets_that_nobody_may_write(script):
    """By a user who is not root, or is root without the right to write everywhere."""
    (script.folder / "secrets" / "token").chmod(0o444)
    assert script("back-up.sh")[0].returncode == 0
    (script.folder / "secrets" / "token").chmod(0o644)
    (script.folder / "secrets" / "token").write_text("another")
    (script.folder / "secrets" / "token").chmod(0o444)
    process, _ = script("back-up.sh", before=AS_NO_ROOT if os.getuid() == 0 else ())
    assert process.returncode == 0, process.stderr
    assert (script.folder / "backup" / "secrets" / "token").read_text() == "another"


def test_nothing_is_deleted_where_there_is_no_back_up(script):
    process, asked = script("restore.sh")
    assert (process.returncode, asked) == (1, [])
    assert "there is no back-up in backup" in process.stderr


def test_a_project_without_volumes_is_not_stopped_and_no_other_one_is_copied(script, tmp_path):
    (tmp_path / "volumes" / "incident-risk-scorer_state").mkdir(parents=True)
    (script.folder / ".env").write_text("COMPOSE_PROJECT_NAME=other\n")
    process, asked = script("back-up.sh", engine=ENGINE.format(log=tmp_path / "log", volumes=tmp_path / "volumes"))
    assert process.returncode == 1
    assert "the project 'other' has no volume here" in process.stderr
    assert "compose stop" not in asked
    assert not list(script.folder.glob("backup*"))


@pytest.mark.parametrize("lacks", ["the end of a file", "an image"])
def test_a_restore_that_cannot_be_brought_to_its_end_deletes_nothing(script, tmp_path, lacks):
    state = tmp_path / "volumes" / "incident-risk-scorer_state"
    state.mkdir(parents=True)
    (state / "counts").write_bytes(os.urandom(5000))
    (script.folder / ".env").write_text("")
    (script.folder / "image").write_text("")
    engine = ENGINE.format(log=tmp_path / "log", volumes=tmp_path / "volumes")
    assert script("back-up.sh", engine=engine)[0].returncode == 0
    if lacks == "an image":
        (script.folder / "image").unlink()
    else:
        archive = script.folder / "backup" / "state.tgz"
        archive.write_bytes(archive.read_bytes()[:-100])
    process, asked = script("restore.sh", engine=engine)
    assert process.returncode == 1, process.stderr
    assert ("backup/state.tgz is damaged, so nothing was deleted" in process.stderr) == (lacks != "an image")
    assert (state / "counts").exists()
    assert "compose down --volumes" not in asked


def test_what_was_spoilt_after_a_back_up_comes_back_byte_for_byte_and_nothing_else(script, tmp_path):
    volumes = tmp_path / "volumes"
    kafka, state, foreign = (volumes / name for name in (*VOLUMES, "of_another_project"))
    files = [
        *(script.folder / name for name in (".env", "secrets/token", "data/artifacts/mycity/weights")),
        *(folder / "deep" / "file" for folder in (state, kafka, foreign)),
    ]
    for number, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(256)) * (number + 1))
    (script.folder / "image").write_text("")
    before = {path: path.read_bytes() for path in files}
    engine = ENGINE.format(log=tmp_path / "log", volumes=volumes)

    process, _ = script("back-up.sh", engine=engine)
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in (script.folder / "backup").glob("*.tgz")) == ["kafka.tgz", "state.tgz"]
    for path in files[:-1]:
        path.write_bytes(b"spoilt")
    (kafka / "later").write_bytes(b"written after the back-up")
    process, asked = script("restore.sh", engine=engine)
    assert process.returncode == 0, process.stderr
    assert {path: path.read_bytes() for path in files} == before
    assert not (kafka / "later").exists(), "it does not fit to the rest"
    assert asked[-1] == "compose up --detach"
