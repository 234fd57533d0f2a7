"""deploy/influxdb/setup.sh against a stand-in of InfluxDB's CLI. Not run here: a real InfluxDB 2."""

import json
import os
import re
import sys

import pytest

from docs.measurements import MEASUREMENTS
from schemas.forecasts import GRACE_S
from schemas.limits import MAX_HORIZON_S
from tests.harness.compose_file import ROOT
from tests.harness.processes import run, stand_in

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
    task = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")
    copied = task[task.index("// Outcomes") :]
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
    task = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")
    named = re.findall(r"^(\w+) =\s+(from\(.*?)(?=^\S|\Z)", task, re.MULTILINE | re.DOTALL)
    streams = [name for name, text in named if "findRecord" not in text]  # that is one record, not a stream
    assert {name: task.count(name) for name in streams if len(re.findall(rf"\b{name}\b", task)) > 2} == {}
    assert task.count("from(") == 3


def test_an_hour_of_scores_is_their_mean_and_an_hour_of_counts_the_newest():
    """The highest of sixty scores would make each long range look worse than the map ever was."""
    task = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")
    results = re.findall(r"fn: (\w+), createEmpty: false.*?yield\(name: \"(\w+)\"\)", task, re.DOTALL)
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


def test_each_token_may_do_what_its_user_needs_and_no_more(store):
    set_up(store)
    buckets = {row["name"]: key for key, row in state_of(store)["bucket"].items()}
    rights = {
        name: (row.get("--write-bucket", []), row.get("--read-bucket", [])) for name, row in tokens(store).items()
    }
    assert rights == {WRITES: ([buckets["risk"]], []), READS: ([], [buckets["risk"], buckets["risk_long"]])}
    for name, file in ((WRITES, "scorer"), (READS, "grafana")):
        assert (store / file).read_text() == tokens(store)[name]["token"]
        assert (store / file).stat().st_mode & 0o777 == 0o444


def test_buckets_get_their_retention_and_the_task_its_script(store):
    set_up(store)
    state = state_of(store)
    kept = {row["name"]: row.get("--retention") for row in state["bucket"].values()}
    assert kept == {"risk": ["30d"], "risk_long": ["400d"], "_tasks": None}
    (task,) = state["task"].values()
    assert task["--file"][0].endswith("risk_long.flux")


def test_a_second_run_changes_nothing(store):
    set_up(store)
    before = state_of(store), (store / "scorer").read_text(), (store / "grafana").read_text()
    said = set_up(store)
    after = state_of(store), (store / "scorer").read_text(), (store / "grafana").read_text()
    assert said.count(": kept") == 2
    for kind in ("bucket", "auth", "task"):
        assert set(after[0][kind]) == set(before[0][kind])
    assert after[1:] == before[1:]


def test_a_token_whose_file_is_lost_is_replaced_and_ends(store):
    set_up(store)
    old = tokens(store)[WRITES]["token"]
    (store / "scorer").unlink()
    set_up(store)
    new = tokens(store)[WRITES]["token"]
    assert new != old
    assert (store / "scorer").read_text() == new
    assert len(state_of(store)["auth"]) == 2


def test_tokens_of_a_store_that_is_gone_are_replaced(store):
    set_up(store)
    old = (store / "grafana").read_text()
    write(store, {**state_of(store), "auth": {}, "next": 50})
    set_up(store)
    assert (store / "grafana").read_text() == tokens(store)[READS]["token"] != old


def test_no_token_stands_on_a_command_line_or_in_the_log(store):
    said = set_up(store)
    values = ["admin-token", *(row["token"] for row in tokens(store).values())]
    words = [word for command in state_of(store)["commands"] for word in command]
    assert not [value for value in values if value in said or value in words]


def test_a_wrong_admin_token_fails_and_makes_no_file(store):
    (store / "admin").write_text("another")
    with pytest.raises(AssertionError, match="unauthorized"):
        set_up(store)
    assert not (store / "scorer").exists()
