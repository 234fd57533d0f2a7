"""The audit log of a job as the commands show and verify it."""

import json

import pytest
from typer.testing import CliRunner

from schemas.audit.log import record
from schemas.audit.verify import verify
from schemas.errors import AuditError
from schemas.left_behind.health import health_path
from streaming.__main__ import app
from streaming.job.record import recorded

NOW_S = 1_764_000_000.0


def command(settings, *words):
    environment = {"RISK_CHECKPOINT": str(settings.checkpoint), "RISK_AUDIT": str(settings.audit)}
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
    assert f"with RISK_CHECKPOINT={old}, `rebuild` writes scores of the time before" in answer
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


def test_a_log_that_was_moved_away_is_begun_anew_without_a_fault(settings):
    for _ in range(2):
        with recorded(settings):
            pass
        kept = json.loads((settings.checkpoint / "audit-head").read_bytes())
        verdict = verify(settings.audit.read_bytes(), heads=[kept["head"]])
        assert (len(verdict.records), verdict.faults, verdict.head) == (3, [], kept["head"])
        settings.audit.rename(settings.audit.with_suffix(".away"))


def test_a_head_that_cannot_be_kept_or_read_lets_nothing_run(settings):
    head = settings.checkpoint / "audit-head"
    head.mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be read"), recorded(settings):
        raise AssertionError
    head.rmdir()
    head.with_name(".audit-head.part").mkdir()
    with pytest.raises(AuditError, match=r"audit-head.* cannot be written"), recorded(settings):
        raise AssertionError
