"""What runs beside a job: each part at its time, and a part that fails keeps no other one back and is never hidden."""

import os
import signal
import time

import msgspec
import pytest

from lifecycle.watch import Part, Watch
from schemas.records import (
    LONGEST_SILENCE_S,
    Heartbeat,
    WatchedPart,
    heartbeat_path,
    read_heartbeat,
    watched_until_s,
    write_heartbeat,
)
from tests.harness.checkpoint import KeptWorld
from tests.harness.toy import toy_spec

NOW_S = 1_800_000_000


@pytest.fixture
def checkpoint(tmp_path):
    return KeptWorld(tmp_path, toy_spec()).checkpoint


@pytest.fixture
def watch(checkpoint):
    """A watch of commands that end in a second: one well, one badly."""
    parts = {"judge": Part(("--version",), 900, 60), "archive": Part(("no-such",), 86_400, 60)}
    return Watch(checkpoint, parts, os.environ)


def settled(watch, now_s):
    """Look until nothing runs any more. Gives what ran."""
    watch.look(now_s)
    started, end = set(watch._runs), time.monotonic() + 60
    while watch._runs:
        assert time.monotonic() < end
        time.sleep(0.02)
        watch.look(now_s)
    return started


def test_a_part_runs_when_it_is_due_and_one_that_fails_keeps_no_other_back(watch, checkpoint, capfd):
    assert settled(watch, NOW_S) == {"judge", "archive"}
    heartbeat = read_heartbeat(checkpoint)
    assert heartbeat.parts["judge"] == WatchedPart(ended_s=NOW_S)
    failed = heartbeat.parts["archive"]
    assert (failed.ended_s, failed.failing_s) == (0, NOW_S)
    assert failed.fault
    err = capfd.readouterr().err
    assert "No such command 'no-such'" in err
    assert f"watch: archive has failed, and is tried again in 5 minutes: {failed.fault}" in err
    assert settled(watch, NOW_S + 299) == set()
    assert settled(watch, NOW_S + 300) == {"archive"}
    assert settled(watch, NOW_S + 900) == {"judge", "archive"}
    heartbeat = read_heartbeat(checkpoint)
    assert heartbeat.parts["archive"].failing_s == heartbeat.well_s == watched_until_s(checkpoint) == NOW_S
    assert heartbeat.parts["judge"].ended_s == NOW_S + 900
    watch.parts = {"archive": Part(("--version",), 86_400, 60)}
    assert settled(watch, NOW_S + 1200) == {"archive"}
    assert "watch: archive is well again" in capfd.readouterr().err
    assert read_heartbeat(checkpoint).well_s == NOW_S + 1200


def test_a_day_goes_on_over_a_restart_and_a_clock_that_is_set_back_stops_nothing(watch, checkpoint):
    write_heartbeat(checkpoint, Heartbeat(at_s=NOW_S, parts={"archive": WatchedPart(ended_s=NOW_S)}))
    parts = {"archive": Part(("--version",), 86_400, 60)}
    assert settled(Watch(checkpoint, parts, os.environ), NOW_S + 86_399) == set()
    assert settled(Watch(checkpoint, parts, os.environ), NOW_S + 86_400) == {"archive"}
    assert settled(Watch(checkpoint, parts, os.environ), NOW_S - 86_400) == {"archive"}


def test_parts_that_need_much_memory_take_turns_and_none_runs_twice_at_a_time(checkpoint):
    parts = {name: Part(("--version",), 900, 60) for name in ("archive", "retrain")}
    parts["judge"] = Part(("--version",), 0, 60)
    watch = Watch(checkpoint, parts, os.environ)
    watch.look(NOW_S)
    processes = {name: run.process.pid for name, run in watch._runs.items()}
    assert set(processes) == {"archive", "judge"}
    watch.look(NOW_S + 900)
    assert {name: run.process.pid for name, run in watch._runs.items()} == processes
    watch.parts = parts | {"judge": Part(("--version",), 900, 60)}
    settled(watch, NOW_S)
    went = read_heartbeat(checkpoint).parts
    assert {name: part.ended_s for name, part in went.items()} == dict.fromkeys(parts, NOW_S)


def test_a_part_that_hangs_is_ended_and_said(checkpoint):
    watch = Watch(checkpoint, {"judge": Part(("--version",), 900, 0)}, os.environ)
    settled(watch, NOW_S)
    assert read_heartbeat(checkpoint).parts["judge"].fault.startswith("it was ended after 0 h: ")


def test_nothing_runs_before_a_job_has_begun(tmp_path):
    watch = Watch(tmp_path, {"judge": Part(("--version",), 900, 60)}, os.environ)
    assert settled(watch, NOW_S) == set()
    assert read_heartbeat(tmp_path).faults(NOW_S) == []


def test_a_heartbeat_that_cannot_be_written_ends_nothing_and_is_said(watch, checkpoint, capfd):
    (checkpoint / ".watch.json.part").mkdir()
    settled(watch, NOW_S)
    assert settled(watch, NOW_S + 900) == {"judge", "archive"}
    assert "watch.json cannot be written (Is a directory): free disk space" in capfd.readouterr().err
    assert watched_until_s(checkpoint) is None
    heartbeat_path(checkpoint).write_bytes(b"{")
    assert watched_until_s(checkpoint) == 0


def test_a_heartbeat_says_which_part_fails_and_that_it_is_old():
    well = Heartbeat(at_s=NOW_S, parts={"judge": WatchedPart(ended_s=NOW_S - 1000)})
    assert well.faults(NOW_S + LONGEST_SILENCE_S) == []
    assert [fault.partition(":")[0] for fault in well.faults(NOW_S + LONGEST_SILENCE_S + 1)] == [
        "nothing is watched since 2027-01-15T08"
    ]
    failing = WatchedPart(failing_s=NOW_S - 500, fault="the disk is full: free disk space")
    ill = msgspec.structs.replace(well, parts=well.parts | {"archive": failing})
    assert ill.faults(NOW_S) == ["archive fails since 2027-01-15T07:51:40Z: the disk is full: free disk space"]
    assert (well.well_s, ill.well_s) == (NOW_S, NOW_S - 500)


def test_beside_a_job_the_three_run_and_an_archive_that_fails_is_seen_everywhere(commands, tmp_path, checkpoint):
    """Judge and retraining end well meanwhile; repaired, the archive is tried at once after a restart."""
    (tmp_path / "archive").write_text("in the way")
    environment = os.environ | {
        "RISK_CHECKPOINT": str(checkpoint),
        "RISK_ARTIFACTS": str(tmp_path / "artifacts"),
        "RISK_ARCHIVE": str(tmp_path / "archive"),
        "RISK_REGISTRY": str(tmp_path / "registry"),
        "RISK_AUDIT": str(tmp_path / "audit.jsonl"),
        "RISK_SINK": f"file:{tmp_path / 'points'}",
        "RISK_BY": "ann",
    }

    def until(is_so, *words):
        with (tmp_path / "log").open("w+b") as log:
            process = commands.popen("incident_risk", "watch", *words, out=(log, log), env=environment)
            end = time.monotonic() + 120
            while not ((heartbeat := read_heartbeat(checkpoint)) and is_so(heartbeat.parts)):
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        return (tmp_path / "log").read_text()

    def check(module, *words):
        return commands.run(module, *words, env=environment)

    assert check("incident_risk", "watch", "--check").returncode == 1
    said = until(lambda parts: all(part.ended_s or part.failing_s for part in parts.values()))
    parts = read_heartbeat(checkpoint).parts
    assert {name for name, part in parts.items() if part.ended_s} == {"judge", "retrain"}
    assert f"the archive {tmp_path / 'archive'} cannot be used" in parts["archive"].fault
    assert parts["archive"].fault.endswith("check its address, its permissions and RISK_ARCHIVE_STORAGE")
    assert parts["archive"].fault in said
    ill = check("incident_risk", "watch", "--check")
    assert (ill.returncode, parts["archive"].fault in ill.stdout) == (1, True)
    assert parts["archive"].fault in check("incident_risk", "health").stdout
    (tmp_path / "archive").unlink()
    said = until(lambda parts: parts["archive"].ended_s)
    assert "toyville" in said
    well = check("incident_risk", "watch", "--check")
    assert (well.returncode, well.stdout) == (0, "well\n")
    until(lambda parts: set(parts) == {"judge"}, "--without", "archive", "--without", "retrain")
    wrong = check("incident_risk", "watch", "--without", "sleep")
    assert (wrong.returncode, "--without sleep names no part" in wrong.stderr) == (2, True)
