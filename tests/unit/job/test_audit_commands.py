"""The audit log of a job as the commands show and verify it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import record, verify
from schemas.errors import AuditError
from schemas.records import health_path
from streaming.job import recorded

NOW_S = 1_764_000_000.0


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


def test_lines_that_were_removed_before_the_next_start_stay_missing(settings, verify_refuses):
    """The head that is kept then is the new one, with which the shortened log would agree."""
    with recorded(settings):
        pass
    content = settings.audit.read_bytes()
    *left, removed = content.splitlines(keepends=True)
    settings.audit.write_bytes(b"".join(left))
    with recorded(settings):
        pass
    lost = json.loads(removed)["hash"]
    answer = verify_refuses(settings.audit.read_bytes())
    assert f"record 3 notes that the lines up to hash {lost} were missing" in answer


@pytest.mark.fault("F42")
@pytest.mark.parametrize("is_there", [True, False], ids=["emptied", "missing"])
def test_a_wiped_log_stops_no_record_and_is_told_for_ever(settings, verify_refuses, tmp_path, is_there):
    with recorded(settings):
        pass
    lost = verify(settings.audit.read_bytes()).head
    settings.audit.write_bytes(b"") if is_there else settings.audit.unlink()
    told = command(settings.with_options(frames=tmp_path), "withhold", "it counts too few")
    assert told.exit_code == 0, told.exception
    for _ in range(2):
        with recorded(settings):
            pass
        content = settings.audit.read_bytes()
        answer = verify_refuses(content)
        assert f"record 1 notes that the lines up to hash {lost} were missing" in answer
    assert [json.loads(line)["event"] for line in content.splitlines()[:2]] == ["head_missing", "scores_withheld"]


def test_a_head_that_cannot_be_kept_or_read_lets_nothing_run(settings):
    head = settings.checkpoint / "audit-head"
    head.mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be read"), recorded(settings):
        raise AssertionError
    head.rmdir()
    head.with_name(".audit-head.part").mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be written"), recorded(settings):
        raise AssertionError
