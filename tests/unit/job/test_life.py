"""What the health file and the audit log say of a job from its start to its end, without Spark."""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from incident_risk import app, main
from schemas.audit import record, records, verify
from schemas.errors import ArtifactError, AuditError, SinkRefused
from schemas.records import health_path
from streaming.artifacts_in_force import RosterWatch
from streaming.checkpoint import only_writer
from streaming.flow.rows import QueryFacts, Summary
from streaming.job import recorded
from streaming.job_health import HealthWatch, in_words, read_health
from tests.harness.service import waited
from tests.harness.toy import toy_artifact, toy_frame, toy_published, toy_spec

NOW_S = 1_764_000_000.0
TOTALS = dict.fromkeys(("duplicate", "repeated", "excluded", "rejected", "rejected_late"), 1)
TOTALS |= {"consumed": 11, "counted": 5, "corrected": 2}
SECRET = "numbat8087"


def summary(as_of_s, totals=TOTALS):
    return Summary(as_of_s=int(as_of_s), ledger=totals, totals=totals)


def published(batch_id=3, *, at_s=NOW_S, unaccounted=0, frames=None, **summaries):
    fields = {"frames": frames or {}, "summaries": summaries, "unaccounted": unaccounted}
    return toy_published(batch_id, done_s=at_s, acknowledged_s=at_s, facts=QueryFacts(lag_events=7.0), **fields)


@pytest.fixture
def settings(settings):
    return settings.with_options(influx_token=SECRET)


def health(settings):
    return json.loads((settings.checkpoint / "health.json").read_bytes())


def audit(settings):
    content = settings.audit.read_bytes()
    assert verify(content).faults == []
    return {entry.event: entry.details for entry in records(content)}


def artifacts_on_record(settings):
    seen = records(settings.audit.read_bytes())
    return [(entry.event, entry.details["folder"]) for entry in seen if "folder" in entry.details]


@dataclass
class Clock:
    now_s: float = NOW_S

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(settings, clock):
    return HealthWatch(checkpoint=settings.checkpoint, clock=settings.clock, trigger_s=settings.trigger_s, now_s=clock)


def written(watch, settings):
    watch.write()
    return health(settings)


def test_the_file_follows_the_job_and_does_not_wait_for_the_disk(settings, watch, clock, monkeypatch):
    monkeypatch.setattr("schemas.files.os.fsync", None)
    watch._started_s = clock.now_s
    clock.now_s += 0.0014
    at_the_start = {
        "ready": False,
        "reason": "starting: no batch has been stored yet",
        "phase": "running",
        "process": os.getpid(),
        "started_at": "2025-11-24T16:00:00Z",
        "written_at": "2025-11-24T16:00:00.001400Z",
        "clock": "wall",
        "trigger_s": settings.trigger_s,
        "last_batch": None,
        "regions": {},
        "ledger_balanced": True,
        "unbalanced": [],
        "unaccounted": 0,
        "kafka_away": False,
        "store_trouble": "",
        "withheld": "",
        "lag_events": 0.0,
        "error": "",
        "exit_code": None,
    }
    assert written(watch, settings) == at_the_start
    assert not watch.is_ready()
    watch.show(published(unaccounted=2, riverton=summary(NOW_S - 2)))
    as_of = {
        "as_of": "2025-11-24T15:59:58Z",
        "age_s": 2.001,
        "baseline_only": "",
        "unfollowed": "",
    }
    stored = {"last_batch": {"id": 3, "stored_at": "2025-11-24T16:00:00Z"}, "regions": {"riverton": as_of}}
    assert written(watch, settings) == at_the_start | stored | {
        "ready": True,
        "reason": "",
        "unaccounted": 2,
        "lag_events": 7.0,
    }
    assert watch.is_ready()
    clock.now_s += 61
    assert written(watch, settings)["reason"] == "no batch has been stored for 61 s"
    watch.show(published(4, at_s=clock.now_s, riverton=summary(clock.now_s)))
    watch.follow(is_kafka_away=lambda: True, store_trouble=lambda: "")
    file = written(watch, settings)
    assert (file["ready"], file["kafka_away"]) == (False, True)
    watch.follow(is_kafka_away=lambda: False, store_trouble=lambda: "no answer (connection refused)")
    file = written(watch, settings)
    assert file["reason"] == "the store has not accepted the batch: no answer (connection refused)"


def test_a_region_without_its_network_is_named_until_it_has_it_again(settings, watch):
    now = datetime.fromtimestamp(NOW_S, UTC)
    for batch, model in enumerate(("baseline:network unusable", "20260101T000000Z-0a0a0a0a")):
        watch.show(published(batch, frames={"riverton": toy_frame(toy_spec(), model=model)}, riverton=summary(NOW_S)))
        watch.show(published(batch + 1, riverton=summary(NOW_S)))  # nothing new: it stays
        watch.write()
        with only_writer(settings.checkpoint):
            lines = list(in_words(*read_health(settings.checkpoint, now), now))
        assert lines[0] == "ready"
        [line] = [line for line in lines if line.startswith("scores of riverton")]
        assert line.endswith("0 s ago, without the network (baseline:network unusable)" if batch == 0 else "0 s ago")


def test_a_region_that_no_longer_ticks_makes_the_job_not_ready_and_messages_of_no_region_do_not(settings, watch, clock):
    watch.show(published(1, **{"": summary(NOW_S), "riverton": summary(NOW_S), "lakeside": summary(NOW_S)}))
    clock.now_s += 181
    watch.show(published(2, at_s=clock.now_s, lakeside=summary(clock.now_s)))
    assert "scores of riverton" in written(watch, settings)["reason"]
    watch.show(published(3, at_s=clock.now_s, riverton=summary(clock.now_s)))
    assert written(watch, settings)["ready"]


def test_totals_that_do_not_add_up_are_named(settings, watch):
    watch.show(published(1, **{"": summary(NOW_S, {"consumed": 1}), "riverton": summary(NOW_S)}))
    file = written(watch, settings)
    assert (file["ledger_balanced"], file["unbalanced"]) == (False, ["_unassigned"])
    assert "_unassigned does not balance" in file["reason"]


def test_a_health_file_that_cannot_be_written_is_said_once_each_time_and_ends_nothing(settings, watch, caplog):
    in_its_place = settings.checkpoint / ".health.json.part"
    for _ in range(2):
        in_its_place.mkdir()
        for _ in range(3):
            watch.write()
        in_its_place.rmdir()
        watch.write()
    said = "the health file cannot be written (Is a directory): `health` will say not ready"
    assert caplog.messages == [said] * 2


def test_the_file_is_written_again_and_again_while_the_job_runs(settings, watch, monkeypatch):
    monkeypatch.setattr("streaming.job_health._EVERY_S", 0.01)
    with watch.written_meanwhile(lambda error: (str(error), 1)):
        watch.show(published(5, riverton=summary(NOW_S)))
        assert waited(lambda: health(settings)["last_batch"], within_s=5)


def test_a_clean_life_is_recorded(settings):
    with only_writer(settings.checkpoint), recorded(settings) as job:
        assert health(settings)["phase"] == "running"
        job.show(published(5, riverton=summary(NOW_S)))
        job.is_clean = True
    assert (health(settings)["phase"], health(settings)["reason"]) == ("stopped", "stopped")
    seen = audit(settings)
    assert list(seen) == ["start", "settings", "stop"]
    assert seen["start"]["checkpoint"] == str(settings.checkpoint)
    assert seen["settings"]["RISK_CHECKPOINT"] == str(settings.checkpoint)
    assert (seen["stop"]["between_batches"], seen["stop"]["last_batch"]) == (True, 5)
    assert SECRET not in settings.audit.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (SinkRefused(f"token {SECRET} is not known"), "token *** is not known", 6),
        (KeyboardInterrupt(), "stopped at once by a second signal", 130),
        (ValueError(f"odd {SECRET}"), "ValueError, a fault of this program", 1),
    ],
    ids=["ours", "second signal", "a bug"],
)
def test_a_failure_is_on_record_with_its_exit_code_no_secret_and_who_did_not_answer(settings, error, text, code):
    def fail():
        with recorded(settings) as job:
            job.follow(is_kafka_away=lambda: True, store_trouble=lambda: "connection refused")
            raise error

    with pytest.raises(type(error)):
        fail()
    last = health(settings)
    assert (last["error"], last["exit_code"]) == (text, code)
    assert (last["kafka_away"], last["store_trouble"]) == (True, "connection refused")
    seen = audit(settings)
    assert list(seen) == ["start", "settings", "failure"]
    assert (seen["failure"]["error"], seen["failure"]["exit_code"]) == (text, code)


def test_no_job_runs_unrecorded(settings):
    settings.audit.mkdir()
    ran = []
    with pytest.raises(AuditError, match="RISK_AUDIT"), recorded(settings):
        ran.append("a batch")
    assert ran == []


def test_what_ended_the_job_is_not_hidden_by_a_log_that_can_no_longer_be_written(settings):
    def fail():
        settings.audit.unlink()
        settings.audit.mkdir()
        raise SinkRefused("the store said no")

    with pytest.raises(SinkRefused), recorded(settings):
        fail()
    assert health(settings)["exit_code"] == 6


def test_a_start_with_another_folder_of_artifacts_needs_one_that_fits_in_it(settings, tmp_path):
    spec = toy_spec(categories=("ems",))

    def publish(folder, of):
        return toy_artifact(tmp_path / folder, of)

    def start_with(folder):
        RosterWatch(settings.with_options(artifacts=tmp_path / folder)).look(1)

    first = publish("first", spec)
    start_with("first")
    (tmp_path / "empty").mkdir()
    publish("misfit", msgspec.structs.replace(spec, tick_s=30))
    for folder in ("empty", "misfit"):
        with pytest.raises(ArtifactError, match=f"set RISK_ARTIFACTS to {tmp_path / 'first'}"):
            start_with(folder)
    publish("misfit", msgspec.structs.replace(spec, region="another"))
    with pytest.raises(ArtifactError, match="set RISK_ARTIFACTS"):
        start_with("misfit")
    start_with("first")  # what was refused has left no trace
    second = publish("second", spec)
    start_with("second")
    in_force = [folder for event, folder in artifacts_on_record(settings) if event == "artifact_in_force"]
    assert in_force == [str(first), str(first), str(second)]


@pytest.mark.parametrize(
    ("clock", "ahead_s", "is_refused"), [("wall", 3600, True), ("wall", 60, False), ("event", 3600, False)]
)
def test_a_history_that_ends_in_the_future_is_refused_on_the_wall_clock(settings, clock, ahead_s, is_refused):
    spec = toy_spec(categories=("ems",))
    settings = settings.with_options(clock=clock)
    toy_artifact(settings.artifacts, spec, cutoff_s=int(time.time()) + ahead_s)
    watch = RosterWatch(settings)
    if is_refused:
        with pytest.raises(ArtifactError, match="in the future"):
            watch.look(1)
    else:
        watch.look(1)
        assert list(audit(settings)) == ["artifact_in_force"]


def test_a_fault_of_ours_ends_with_1_and_a_trace_that_shows_no_secret(monkeypatch, capsys):
    def quotes_its_header(*_):
        raise ValueError(f"Invalid header value {SECRET.encode()!r}")

    monkeypatch.setenv("INFLUXDB_V2_TOKEN", f"{SECRET}\n")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # `main` sets it
    monkeypatch.setattr("sys.argv", ["risk", "health"])
    monkeypatch.setattr("streaming.cli.job_commands.read_health", quotes_its_header)
    with pytest.raises(SystemExit) as ended:
        main()
    shown = "".join(capsys.readouterr())
    assert ended.value.code == 1
    assert "ValueError: Invalid header value b'***'" in shown
    assert SECRET not in shown


def command(settings, *words):
    environment = {f"RISK_{name.upper()}": str(getattr(settings, name)) for name in ("checkpoint", "audit", "frames")}
    return CliRunner().invoke(app, words, env=environment)


def test_a_reset_is_on_record_and_the_log_is_shown_and_verified_by_commands(settings):
    def said(*words, code=0):
        ran = command(settings, *words)
        assert (ran.exit_code, type(ran.exception)) == (code, SystemExit if code == 1 else type(None)), ran.output
        return ran.output

    (settings.checkpoint / "begin").write_text("5", encoding="utf-8")
    (settings.checkpoint / "spark").mkdir()
    health_path(settings.checkpoint).write_text("{}", encoding="utf-8")  # of the job before
    answer = said("checkpoint", "--reset", "latest")
    assert "the next run starts at latest" in answer
    (old,) = settings.checkpoint.glob("old-*")
    assert f"the former content is in {old}" in answer
    (settings.checkpoint / "reset-20261125T120000Z").write_text("7", encoding="utf-8")
    assert "interrupted (reset-20261125T120000Z)" in " ".join(said("checkpoint").split())
    head = verify(settings.audit.read_bytes()).head
    assert f"head {head}" in said("audit", "--head", head)
    answer = said("audit")
    assert f"compared with the head in {settings.checkpoint / 'audit-head'}, found" in answer
    assert f"checkpoint={settings.checkpoint}, from=latest" in answer
    assert f"checkpoint={settings.checkpoint}" not in said("audit", "--last", "0")
    assert "no job has run on" in said("health", code=1)


@pytest.fixture
def verify_refuses(settings):
    """What `audit` says of a changed log."""

    def said(content, *, checkpoint=settings.checkpoint):
        settings.audit.write_bytes(content)
        ran = command(settings.with_options(checkpoint=checkpoint), "audit")
        assert isinstance(ran.exception, AuditError)
        assert ran.exception.exit_code == 10
        return str(ran.exception)

    return said


def test_what_was_done_to_the_log_is_told_by_the_command(settings, verify_refuses, tmp_path):
    with recorded(settings):
        pass
    first, second, last = settings.audit.read_bytes().splitlines(keepends=True)
    kept = f"compared with the head in {settings.checkpoint / 'audit-head'}"
    removed = verify_refuses(first + second)
    assert "the last lines are missing" in removed
    assert kept in removed
    assert "missing before line 2: record 2" in verify_refuses(first + last)
    assert "line 3 was edited" in verify_refuses(first + second + last.replace(b"stop", b"stob"))
    assert kept in verify_refuses(b"")
    nothing_kept = verify_refuses(b"", checkpoint=tmp_path / "elsewhere")
    assert "it was emptied" in nothing_kept
    assert f"no head, as {tmp_path / 'elsewhere' / 'audit-head'} has none of this file" in nothing_kept


def test_a_copy_of_the_log_is_compared_with_no_head_and_that_is_said(settings, tmp_path):
    """A copy may well be older than the head."""
    record(settings.audit, "start", {}, at_s=NOW_S, checkpoint=settings.checkpoint)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(settings.audit.read_bytes())
    record(settings.audit, "stop", {}, at_s=NOW_S, checkpoint=settings.checkpoint)
    ran = command(settings.with_options(audit=copy), "audit")
    assert ran.exit_code == 0, ran.exception
    assert "has none of this file" in ran.output
    assert "nothing else shows that last lines are gone" in ran.output


@pytest.mark.parametrize("spelling", ["relative", "a way back", "a link", "a link to its folder"])
def test_the_log_by_another_spelling_of_its_path_is_compared_with_its_head(settings, tmp_path, monkeypatch, spelling):
    record(settings.audit, "start", {}, at_s=NOW_S, checkpoint=settings.checkpoint)
    (tmp_path / "file").symlink_to(settings.audit)
    (tmp_path / "folder").symlink_to(settings.audit.parent)
    monkeypatch.chdir(settings.audit.parent)
    audit = {
        "relative": Path(settings.audit.name),
        "a way back": settings.checkpoint / ".." / settings.audit.name,
        "a link": tmp_path / "file",
        "a link to its folder": tmp_path / "folder" / settings.audit.name,
    }[spelling]
    ran = command(settings.with_options(audit=audit), "audit")
    assert f"compared with the head in {settings.checkpoint / 'audit-head'}, found" in ran.output
    settings.audit.write_bytes(b"")
    ran = command(settings.with_options(audit=audit), "audit")
    assert "the whole log was written again" in str(ran.exception)


@pytest.mark.fault("F42")
@pytest.mark.parametrize("left", [b"a line less", b"", None], ids=["shortened", "emptied", "missing"])
def test_a_log_that_lost_lines_stops_no_record_and_is_told_for_ever(settings, verify_refuses, tmp_path, left):
    """The head that is kept then is the new one, with which the changed log would agree."""
    with recorded(settings):
        pass
    content = settings.audit.read_bytes()
    lost, lines = verify(content).head, content.splitlines(keepends=True)
    settings.audit.unlink() if left is None else settings.audit.write_bytes(b"".join(lines[:-1]) if left else b"")
    told = command(settings.with_options(frames=tmp_path), "withhold", "it counts too few")
    assert told.exit_code == 0, told.exception
    first = len(lines) if left else 1
    for _ in range(2):
        with recorded(settings):
            pass
        content = settings.audit.read_bytes()
        answer = verify_refuses(content)
        assert f"record {first} notes that the lines up to hash {lost} were missing" in answer
    noted = [json.loads(line)["event"] for line in content.splitlines()[first - 1 : first + 1]]
    assert noted == ["head_missing", "scores_withheld"]


def test_a_head_that_cannot_be_kept_or_read_lets_nothing_run(settings):
    head = settings.checkpoint / "audit-head"
    head.mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be read"), recorded(settings):
        raise AssertionError
    head.rmdir()
    head.with_name(".audit-head.part").mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be written"), recorded(settings):
        raise AssertionError
