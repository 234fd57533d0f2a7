"""What doctor finds on a machine where little is right, without any service."""

import shutil
import socket

import msgspec
import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import record
from schemas.errors import SinkError
from schemas.records import Heartbeat, Pointer, WatchedPart, write_heartbeat, write_pointer
from streaming.artifacts_in_force import refresh_roster
from streaming.checkpoint import STATE_LAYOUT, only_writer
from streaming.cli.doctor import examine
from streaming.kafka import Topic
from streaming.settings import Settings
from streaming.sinks.sink import open_sink
from tests.harness.checkpoint import commit, take_over
from tests.harness.toy import toy_artifact, toy_spec

NOW_S = 1_767_225_600
SPEC = toy_spec(3, 3, categories=("ems", "fire"))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.cli.doctor._java", lambda: iter(()))  # each look would start Java
    return Settings(
        kafka_bootstrap="127.0.0.1:1",  # nothing listens there
        artifacts=tmp_path / "artifacts",
        checkpoint=tmp_path / "checkpoint",
        sink=f"file:{tmp_path / 'scores.lp'}",
        cache=tmp_path / "cache",
    )


def findings(settings):
    return {finding.what: finding for finding in examine(settings, now_s=NOW_S)}


def graded(settings, what="artifact"):
    """Of findings whose name begins so, the name, the grade and the first word of what was seen."""
    found = (finding for finding in examine(settings, now_s=NOW_S) if finding.what.startswith(what))
    return [(finding.what, finding.grade, finding.seen.split()[0]) for finding in found]


def put_in_force(settings, *, cutoff_s=NOW_S):
    folder = toy_artifact(settings.artifacts, SPEC, cutoff_s=cutoff_s)
    refresh_roster(settings.checkpoint / "roster.json", settings.artifacts)
    return folder


@pytest.mark.skipif(shutil.which("java") is None, reason="doctor's check of Java needs Java")
def test_every_fault_is_named_with_its_remedy_and_none_hides_the_next(settings, monkeypatch):
    monkeypatch.undo()
    found = findings(settings)
    assert found["Java"].grade == "ok"
    assert found["Kafka"].grade == "fail"
    assert "127.0.0.1:1" in found["Kafka"].seen
    assert "RISK_KAFKA_BOOTSTRAP" in found["Kafka"].remedy
    assert found["artifacts"].grade == "fail"
    assert found["store"].grade == "ok"
    assert found["Kafka connector"].grade == "warn"


def test_where_run_could_not_write_or_listen_is_wrong(settings, tmp_path):
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        nowhere = {"frames": tmp_path / "file", "audit": tmp_path / "file" / "audit.jsonl", "metrics": address}
        found = findings(settings.model_copy(update=nowhere))
    assert {found[what].grade for what in ("frames", "audit log", "metrics")} == {"fail"}
    assert "RISK_FRAMES=" in found["frames"].seen
    assert "RISK_AUDIT=" in found["audit log"].seen
    assert f"RISK_METRICS={address}: nothing can listen there" in found["metrics"].seen
    free = {"frames": tmp_path / "frames", "audit": tmp_path / "audit.jsonl", "metrics": address}
    found = findings(settings.model_copy(update=free))
    assert {found[what].grade for what in ("frames", "audit log", "metrics")} == {"ok"}


def test_an_audit_log_that_was_emptied_is_not_called_right(settings, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    at = settings.with_options(audit=tmp_path / "audit.jsonl", checkpoint=tmp_path / "checkpoint")
    record(at.audit, "scores_withheld", {}, at_s=0.0, checkpoint=at.checkpoint)
    assert findings(at)["audit log"].grade == "ok"
    at.audit.write_bytes(b"")
    found = findings(at)["audit log"]
    assert (found.grade, found.remedy) == ("warn", "look at it with `audit`")
    assert "the last lines are missing" in found.seen


@pytest.mark.parametrize("place", ["file", "file/below", "folder"])
def test_a_checkpoint_is_tried_as_run_would(settings, tmp_path, place):
    (tmp_path / "file").touch()
    found = findings(settings.with_options(checkpoint=tmp_path / place))["checkpoint"]
    assert found.grade == ("ok" if place == "folder" else "fail")
    assert (f"RISK_CHECKPOINT={tmp_path / place} cannot be written" in found.seen) == (place != "folder")


@pytest.mark.parametrize(("heap", "grade"), [("60g", "fail"), ("63g", "fail"), ("900m", "ok")])
def test_a_heap_is_held_against_the_memory_that_there_is(settings, monkeypatch, tmp_path, heap, grade):
    """A machine of 64 GiB, with a container's limit of 4 GiB or without one."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("streaming.cli.doctor._LIMITS", (limit, tmp_path / "none"))
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 << 20}.get)
    settings = settings.with_options(driver_memory=heap)
    assert findings(settings)["memory"].grade == {"60g": "ok", "63g": "warn", "900m": "ok"}[heap]
    for content, of in (("max\n", 64), (str(1 << 62), 64), (str(4 << 30), 4)):
        limit.write_text(content, encoding="utf-8")
        found = findings(settings)["memory"]
        assert f"of {of}.0 GiB" in found.seen
    assert found.grade == grade
    assert ("RISK_DRIVER_MEMORY" in found.remedy) == (grade != "ok")


def test_without_a_terminal_a_finding_is_one_line_whatever_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.cli.doctor._java", lambda: iter(()))
    far = tmp_path / "a-folder-with-a-long-name" / "and-another-one-with-a-long-name"
    names = {"RISK_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RISK_SINK": f"file:{tmp_path / 's.lp'}", "COLUMNS": "80"}
    folders = ("ARTIFACTS", "CHECKPOINT", "CACHE", "AUDIT", "FRAMES")
    names |= {f"RISK_{name}": str(far / name.lower()) for name in folders}
    ran = CliRunner().invoke(app, ["doctor"], env=names)
    assert ran.exit_code == 1
    lines = ran.output.splitlines()
    assert f"wrong  artifacts: {far / 'artifacts'} is not a folder" in "\n".join(lines)
    assert any(line.strip().startswith("train a model with") for line in lines)
    assert f"ok     frames: {far / 'frames'} can be written" in lines


@pytest.mark.parametrize("is_there", [True, False])
def test_sparks_shared_folder_is_tried_and_nothing_stays_in_it(settings, tmp_path, is_there):
    shared = tmp_path / ("shared" if is_there else "gone")
    (tmp_path / "shared").mkdir()
    finding = findings(settings.model_copy(update={"spark_state": str(shared)}))["Spark's state"]
    assert finding.grade == ("ok" if is_there else "fail")
    assert f"{'' if is_there else 'RISK_SPARK_STATE='}{shared} can" in finding.seen
    assert not list((tmp_path / "shared").iterdir())


def test_a_watch_that_never_ran_or_that_fails_is_a_note_with_its_remedy(settings):
    found = findings(settings)["watch"]
    assert (found.grade, found.seen) == ("warn", "none has run yet")
    assert "risk watch" in found.remedy
    settings.checkpoint.mkdir(exist_ok=True)
    fault = "the disk is full: free disk space"
    for part, grade, seen in (
        (WatchedPart(failing_s=NOW_S - 60, fault=fault), "warn", f"archive fails since 2025-12-31T23:59:00Z: {fault}"),
        (WatchedPart(ended_s=NOW_S), "ok", ""),
    ):
        write_heartbeat(settings.checkpoint, Heartbeat(at_s=NOW_S, parts={"archive": part}))
        found = findings(settings)["watch"]
        assert (found.grade, found.seen.startswith(seen)) == (grade, True)


def test_rights_on_each_topic_that_run_reads_or_writes_are_asked(settings, monkeypatch):
    asked = []
    monkeypatch.setattr("streaming.cli.doctor.topic_faults", lambda _, needed: asked.append(needed) or {})
    findings(settings)
    assert asked == [{settings.topic: "READ", settings.dead_letter_topic: "WRITE"}]


def test_a_text_that_holds_a_colon_is_not_cut_for_the_remedy(settings, tmp_path):
    place = tmp_path / "day: one; two"
    place.write_text("a file where a folder is needed", encoding="utf-8")
    settings = settings.with_options(sink=f"file:{place / 'scores.lp'}")
    with pytest.raises(SinkError) as error:
        open_sink(settings).check()
    finding = findings(settings)["store"]
    assert (finding.seen, finding.remedy) == (error.value.message, error.value.remedy)
    assert str(place) in finding.seen
    assert finding.remedy


def test_an_artifact_of_another_spec_than_the_checkpoint_is_found(settings):
    put_in_force(settings)
    assert findings(settings)["checkpoint toyville"].grade == "ok"
    shutil.rmtree(settings.artifacts)
    changed = msgspec.structs.replace(SPEC, tick_s=30)
    toy_artifact(settings.artifacts, changed, cutoff_s=NOW_S, created="20260102T000000Z")
    finding = findings(settings)["checkpoint toyville"]
    assert finding.grade == "fail"
    assert SPEC.fingerprint() in finding.seen
    assert "checkpoint --reset" in finding.remedy


def test_what_run_would_refuse_is_no_artifact_that_is_ready(settings):
    in_force = put_in_force(settings, cutoff_s=NOW_S - 100)
    other = msgspec.structs.replace(SPEC, tick_s=30)
    newer = toy_artifact(settings.artifacts, other, cutoff_s=NOW_S, created="20260102T000000Z")
    shutil.copytree(settings.artifacts / "toyville", settings.artifacts / "misnamed")
    future = toy_artifact(settings.artifacts, msgspec.structs.replace(SPEC, region="tomorrow"), cutoff_s=NOW_S + 86_400)
    assert set(graded(settings)) == {
        ("artifact toyville", "warn", newer.name),
        *(("artifact misnamed", "fail", each.name) for each in (in_force, newer)),
        ("artifact tomorrow", "fail", future.name),
        ("artifact toyville", "ok", "version"),
    }
    in_order = f"version {in_force.name}, spec {SPEC.fingerprint()}, untrained, 0 days old"
    assert findings(settings)["artifact toyville"].seen == in_order
    found = findings(settings.with_options(artifacts=settings.artifacts / "misnamed"))["artifacts"]
    assert (found.grade, found.remedy[:18]) == ("fail", "set RISK_ARTIFACTS")


def test_a_pointer_to_a_version_that_the_job_refuses_is_wrong(settings):
    in_force = put_in_force(settings)
    other = toy_artifact(settings.artifacts, toy_spec(4, 4, categories=("ems", "fire")), created="20260102T000000Z")
    for named in ({"champion": other.name}, {"champion": in_force.name, "challenger": other.name}):
        write_pointer(settings.artifacts, "toyville", Pointer(**named))
        assert ("artifact toyville", "fail", other.name) in graded(settings)


def test_a_setting_that_spark_would_silently_ignore_is_found(settings):
    put_in_force(settings)
    take_over(settings.with_options(shuffle_partitions=5), Topic(id="1", first_offsets={}, end_offsets={}))
    commit(settings.checkpoint, 7, {})
    assert "checkpoint layout" not in findings(settings)
    finding = findings(settings)["checkpoint"]
    assert finding.grade == "fail"
    assert "RISK_SHUFFLE_PARTITIONS was 5 and is 1" in finding.seen
    assert "checkpoint --reset" in finding.remedy
    guard = settings.checkpoint / "guard.json"
    guard.write_bytes(guard.read_bytes().replace(f'"state_layout": {STATE_LAYOUT}'.encode(), b'"state_layout": 1'))
    finding = findings(settings)["checkpoint layout"]
    assert (finding.grade, "stored in layout 1" in finding.seen) == ("fail", True)
    assert "checkpoint --reset" in finding.remedy


BROKEN = {
    "a file cut": lambda artifact: (artifact / "history.npz").write_bytes(b"PK"),
    "a file missing": lambda artifact: (artifact / "history.npz").unlink(),
    "no manifest": lambda artifact: (artifact / "manifest.json").unlink(),
    "the folder of all": lambda artifact: artifact.parents[1].rename(artifact.parents[2] / "away"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_wrong_with_an_artifact_hides_nothing_of_the_checkpoint(settings, broken):
    put_in_force(settings)
    take_over(settings.with_options(shuffle_partitions=5), Topic(id="1", first_offsets={}, end_offsets={}))
    commit(settings.checkpoint, 0, {})
    newer = toy_artifact(settings.artifacts, SPEC, cutoff_s=NOW_S, created="20260102T000000Z")
    BROKEN[broken](newer)
    found = findings(settings)
    assert "RISK_SHUFFLE_PARTITIONS was 5 and is 1" in found["checkpoint"].seen
    if broken != "the folder of all":
        assert found["checkpoint toyville"].grade == "ok"
        assert [each[1:] for each in graded(settings, "artifact toyville")] == [("warn", newer.name), ("ok", "version")]


def test_beside_a_running_job_its_file_is_left_to_it(settings):
    sink = open_sink(settings)
    sink.check()
    assert findings(settings)["store"].grade == "fail"
    with only_writer(settings.checkpoint):
        found = findings(settings)
    sink.close()
    assert found["checkpoint"].grade == "ok"
    assert (found["store"].grade, "the job that runs now writes it" in found["store"].seen) == ("ok", True)
