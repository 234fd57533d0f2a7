"""Scripts of deploy/ against stand-ins of docker and InfluxDB's CLI: secrets, back-up, restore, set-up of the store."""

import json
import os
import re
import subprocess
import sys
from hashlib import sha256

import pytest

from docs.measurements import MEASUREMENTS
from schemas.forecasts import GRACE_S
from schemas.limits import MAX_HORIZON_S
from service.tokens import make_token, read_tokens
from tests.harness.compose_file import ROOT
from tests.harness.processes import run, stand_in

SCRIPT = ROOT / "deploy" / "make-secrets.sh"
TASK = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")


def make(folder, **options):
    return subprocess.run(["/bin/sh", SCRIPT, folder], check=True, capture_output=True, text=True, **options).stdout


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_drawn_never_shown_and_their_owners_alone_until_a_webhook_is_set_alerts_reach_nobody(tmp_path):
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        said = make(folder)
        drawn = [path for path in folder.iterdir() if path.name.startswith(("i", "grafana_ad"))]
        secrets = [path.read_text() for path in drawn]
        assert len(secrets) == 3
        assert all(len(value) == 48 and int(value, 16) >= 0 for value in secrets)
        assert not any(value in said for value in secrets)
        contents += secrets
        for told in (said, make(folder)):
            (line,) = (line for line in told.splitlines() if "alerts reach nobody" in line)
            assert str(folder / "grafana_alert_webhook") in line
        assert folder.stat().st_mode & 0o777 == 0o700
        # A container's user is another one than the owner, and reads the file through its mount.
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != ".gitignore"}
        assert modes.pop("service") == 0o755  # of which the service mounts the whole
        assert modes.pop("grafana_alert_webhook") == 0o644  # its owner writes the address into it
        assert modes.pop("service_token") == 0o400  # no container reads it
        assert set(modes.values()) == {0o444}
        assert (folder / ".gitignore").read_text() == "*\n"
    assert len(set(contents)) == 6


def test_a_secret_that_is_there_stays(tmp_path):
    folder = tmp_path / "secrets"
    make(folder)
    (folder / "grafana_alert_webhook").write_text("https://example.org/hook")
    (folder / "grafana_admin_password").unlink()
    (folder / "service" / "tokens").write_text("")  # every token was taken out of it
    before, said, after = contents(folder), make(folder), contents(folder)
    assert after.keys() - before.keys() == {folder / "grafana_admin_password"}
    assert before.items() <= after.items()
    assert said.count("is there already") == 4
    assert "alerts reach nobody" not in said


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_first_token_that_is_made_again_opens_and_takes_the_place_of_the_one_before(tmp_path, umask):
    tokens = tmp_path / "service" / "tokens"

    def again():
        make(tmp_path, umask=umask)
        make_token(tokens, "cad", [])
        assert tokens.parent.stat().st_mode & 0o777 == 0o755
        assert tokens.stat().st_mode & 0o777 == 0o644, "the service's user reads it"
        return {caller.name: caller.sha256 for caller in read_tokens(tokens)}

    before = again()
    (tmp_path / "service_token").unlink()
    after = again()
    assert set(before) == set(after) == {"first", "cad"}
    assert after["first"] == sha256((tmp_path / "service_token").read_bytes()).hexdigest() != before["first"]


ENGINE = """#!/bin/sh
set -eu
echo "$*" >> {log}
project=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env | grep . || echo incident-risk-scorer)
case "$*" in
    *" {fails} "*) echo "no space left on device" >&2; exit 1 ;;
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
    """Runs a script in a folder with secrets, beside a volume: the process, and what it asked of docker."""
    log, folder, volumes = tmp_path / "log", tmp_path / "product", tmp_path / "volumes"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "token").write_text("token")
    for name in (".env", "image"):
        (folder / name).touch()
    (volumes / "incident-risk-scorer_state").mkdir(parents=True)

    def ran(name, fails="nothing", before=()):
        path = stand_in("docker", tmp_path / "bin", ENGINE.format(log=log, fails=fails, volumes=volumes))
        log.write_text("")
        environment = os.environ | {"PATH": path}
        process = run(*before, "/bin/sh", ROOT / "deploy" / name, cwd=folder, env=environment)
        return process, log.read_text().splitlines()

    ran.folder, ran.volumes = folder, volumes
    return ran


def test_the_services_start_again_after_a_back_up_that_failed(script):
    assert script("back-up.sh")[0].returncode == 0
    (script.folder / "secrets" / "token").write_text("another")
    process, asked = script("back-up.sh", fails="cz")
    assert process.returncode == 1
    assert (script.folder / "backup" / "secrets" / "token").read_text() == "token", "the back-up before is gone"
    assert [one for one in asked if one.startswith("compose")][1:] == ["compose stop", "compose start"]


def test_a_back_up_is_its_owners_alone_replaces_the_one_before_it_and_starts_the_services_once(script):
    """Also secrets that nobody may write are replaced, by a user who is not root, or root without that right."""
    folder, secrets = script.folder / "backup", script.folder / "secrets"
    (secrets / "gone").write_text("old")
    (secrets / "token").chmod(0o444)
    process, asked = script("back-up.sh")
    assert process.returncode == 0
    assert [one for one in asked if one.startswith("compose")] == ["compose config", "compose stop", "compose start"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "state.tgz").stat().st_mode & 0o777 == 0o600
    (secrets / "gone").unlink()
    (secrets / "token").chmod(0o644)
    (secrets / "token").write_text("another")
    (secrets / "token").chmod(0o444)
    process, _ = script("back-up.sh", before=AS_NO_ROOT if os.getuid() == 0 else ())
    assert process.returncode == 0, process.stderr
    assert {path.name: path.read_text() for path in (folder / "secrets").iterdir()} == {"token": "another"}
    assert [path.name for path in script.folder.glob("backup*")] == ["backup"]


def test_nothing_is_deleted_where_there_is_no_back_up(script):
    process, asked = script("restore.sh")
    assert (process.returncode, asked) == (1, [])
    assert "there is no back-up in backup" in process.stderr


def test_a_project_without_volumes_is_not_stopped_and_no_other_one_is_copied(script):
    (script.folder / ".env").write_text("COMPOSE_PROJECT_NAME=other\n")
    process, asked = script("back-up.sh")
    assert process.returncode == 1
    assert "the project 'other' has no volume here" in process.stderr
    assert "compose stop" not in asked
    assert not list(script.folder.glob("backup*"))


@pytest.mark.parametrize("lacks", ["the end of a file", "an image"])
def test_a_restore_that_cannot_be_brought_to_its_end_deletes_nothing(script, lacks):
    counts = script.volumes / "incident-risk-scorer_state" / "counts"
    counts.write_bytes(os.urandom(5000))
    assert script("back-up.sh")[0].returncode == 0
    if lacks == "an image":
        (script.folder / "image").unlink()
    else:
        archive = script.folder / "backup" / "state.tgz"
        archive.write_bytes(archive.read_bytes()[:-100])
    process, asked = script("restore.sh")
    assert process.returncode == 1, process.stderr
    assert ("backup/state.tgz is damaged, so nothing was deleted" in process.stderr) == (lacks != "an image")
    assert counts.exists()
    assert "compose down --volumes" not in asked


def test_what_was_spoilt_after_a_back_up_comes_back_byte_for_byte_and_nothing_else(script):
    files = [script.folder / name for name in (".env", "secrets/token", "data/artifacts/mycity/weights")]
    files += [script.volumes / name / "deep" / "file" for name in (*VOLUMES, "of_another_project")]
    for number, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(256)) * (number + 1))
    before = {path: path.read_bytes() for path in files}
    process, _ = script("back-up.sh")
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in (script.folder / "backup").glob("*.tgz")) == ["kafka.tgz", "state.tgz"]
    for path in files[:-1]:
        path.write_bytes(b"spoilt")
    later = script.volumes / VOLUMES[0] / "later"
    later.write_bytes(b"written after the back-up")
    process, asked = script("restore.sh")
    assert process.returncode == 0, process.stderr
    assert {path: path.read_bytes() for path in files} == before
    assert not later.exists(), "it does not fit to the rest"
    assert asked[-1] == "compose up --detach"


BUCKET = "b000000000000000"
WRITES, READS = "scorer: writes risk", "grafana: reads risk and risk_long"


@pytest.fixture
def store(tmp_path):
    """A store after InfluxDB's own set-up: the admin token and one bucket."""
    fake = (ROOT / "tests" / "harness" / "fake_influx.py").read_text(encoding="utf-8")
    stand_in("influx", tmp_path / "bin", fake.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    (tmp_path / "admin").write_text("admin-token")
    state = {"admin": "admin-token", "next": 1, "commands": [], "task": {}, "auth": {}}
    write(tmp_path, {**state, "bucket": {BUCKET: {"name": "risk"}, "b1": {"name": "_tasks"}}})
    return tmp_path


def test_outcomes_reach_the_bucket_for_long_ranges_however_late_their_horizon_closes():
    """An outcome bears the time of its forecast: the task must look back as far as one can come."""
    copied = TASK[TASK.index("// Outcomes") :]
    only_of_now = {"risk", "top", "unusual", "pipeline", "following_hour", "following_cell"}
    only_of_now |= {"retrain", "decided"}
    of_a_forecast = set(MEASUREMENTS) - only_of_now  # or copied by another part of the task
    assert all(f'r._measurement == "{name}"' in copied for name in of_a_forecast)
    days = int(re.search(r"range\(start: -(\d+)d\)", copied)[1])
    late_s = 7 * 86_400 + GRACE_S  # the longest late limit that a spec may have
    latest_s = 3600 + MAX_HORIZON_S + late_s + 2 * 3600  # forecast within the hour, closed, and two runs of the task
    assert days * 86_400 >= latest_s


def test_the_task_reads_the_store_anew_for_each_result():
    """A stream with two readers is read whole into the store's memory: no filter and no window reaches the disk."""
    named = re.findall(r"^(\w+) =\s+(from\(.*?)(?=^\S|\Z)", TASK, re.MULTILINE | re.DOTALL)
    assert [name for name, text in named if "findRecord" not in text] == []  # that is one record, not a stream
    assert TASK.count("from(") == 3


def test_an_hour_of_scores_is_their_mean_and_an_hour_of_counts_the_newest():
    """The highest of sixty scores would make each long range look worse than the map ever was."""
    results = re.findall(r"fn: (\w+), createEmpty: false.*?yield\(name: \"(\w+)\"\)", TASK, re.DOTALL)
    assert {name: function for function, name in results} == {"scores": "mean", "seen": "last", "ledger": "last"}


def write(store, state):
    (store / "state.json").write_text(json.dumps(state))


def state_of(store):
    return json.loads((store / "state.json").read_text())


def set_up(store):
    files = [store / "admin", ROOT / "deploy" / "influxdb" / "risk_long.flux", store / "scorer", store / "grafana"]
    environment = {"PATH": f"{store / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAKE_INFLUX": str(store / "state.json")}
    script = ROOT / "deploy" / "influxdb" / "setup.sh"
    ran = run(script, *files, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def tokens(store):
    return {row["name"]: row for row in state_of(store)["auth"].values()}


def test_a_set_up_makes_buckets_task_and_tokens_with_few_rights_tells_no_token_and_made_again_changes_nothing(store):
    said, state = set_up(store), state_of(store)
    buckets = {row["name"]: key for key, row in state["bucket"].items()}
    rights = {
        name: (row.get("--write-bucket", []), row.get("--read-bucket", [])) for name, row in tokens(store).items()
    }
    assert rights == {WRITES: ([buckets["risk"]], []), READS: ([], [buckets["risk"], buckets["risk_long"]])}
    files = {WRITES: store / "scorer", READS: store / "grafana"}
    for name, file in files.items():
        assert file.read_text() == tokens(store)[name]["token"]
        assert file.stat().st_mode & 0o777 == 0o444
    kept = {row["name"]: row.get("--retention") for row in state["bucket"].values()}
    assert kept == {"risk": ["30d"], "risk_long": ["400d"], "_tasks": None}
    (task,) = state["task"].values()
    assert task["--file"][0].endswith("risk_long.flux")
    values = ["admin-token", *(row["token"] for row in tokens(store).values())]
    words = [word for command in state["commands"] for word in command]
    assert not [value for value in values if value in said or value in words]

    before = [file.read_text() for file in files.values()]
    assert set_up(store).count(": kept") == 2
    for kind in ("bucket", "auth", "task"):
        assert set(state_of(store)[kind]) == set(state[kind])
    assert [file.read_text() for file in files.values()] == before


@pytest.mark.parametrize(("lost", "name", "file"), [("file", WRITES, "scorer"), ("store", READS, "grafana")])
def test_a_token_whose_file_or_store_is_lost_is_replaced_and_ends(store, lost, name, file):
    set_up(store)
    old = tokens(store)[name]["token"]
    if lost == "file":
        (store / file).unlink()
    else:
        write(store, {**state_of(store), "auth": {}, "next": 50})
    set_up(store)
    assert (store / file).read_text() == tokens(store)[name]["token"] != old
    assert len(state_of(store)["auth"]) == 2


def test_a_wrong_admin_token_fails_and_makes_no_file(store):
    (store / "admin").write_text("another")
    with pytest.raises(AssertionError, match="unauthorized"):
        set_up(store)
    assert not (store / "scorer").exists()
