"""deploy/back-up.sh and restore.sh where something fails, docker being a stand-in. `make stack` runs them for real."""

import os

import pytest

from tests.harness.compose_file import ROOT
from tests.harness.processes import run

DOCKER = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    "volume ls"*) echo incident-risk-scorer_state ;;
    *" {fails} "*) echo "no space left on device" >&2; exit 1 ;;
esac
"""
AS_NO_ROOT = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")


@pytest.fixture
def script(tmp_path):
    """Runs a script in a folder with secrets: the process, and what it asked of docker."""
    log, program, folder = tmp_path / "log", tmp_path / "docker", tmp_path / "product"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "token").write_text("token")

    def ran(name, fails="nothing", before=()):
        program.write_text(DOCKER.format(log=log, fails=fails))
        program.chmod(0o755)
        log.write_text("")
        environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
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
    assert (asked[0], asked[-1]) == ("compose stop", "compose start")


def test_a_back_up_is_its_owners_alone_and_ends_with_the_services_started_once(script):
    process, asked = script("back-up.sh")
    assert process.returncode == 0
    assert [one for one in asked if one.startswith("compose")] == ["compose stop", "compose start"]
    folder = script.folder / "backup"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "incident-risk-scorer_state.tgz").stat().st_mode & 0o777 == 0o600


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
