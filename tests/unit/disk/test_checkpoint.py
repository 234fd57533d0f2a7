"""The checkpoint: its lock, its guard, Spark's files, and a reset that comes whole or is finished later."""

import errno
import fcntl
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from threading import Event
from unittest.mock import Mock

import pyspark
import pytest

from schemas.audit import records
from schemas.errors import ArtifactError, CheckpointError, EventsGone
from streaming.checkpoint import (
    STATE_LAYOUT,
    OffsetAudit,
    begin_ms,
    finish_reset,
    is_held,
    last_commit,
    only_writer,
    read_guard,
    read_until,
    set_aside,
    taken_offsets,
    unfinished_reset,
)
from streaming.job import run
from streaming.kafka import Topic
from streaming.settings import Settings
from tests.harness.checkpoint import TOPIC, begin_at, commit, spark_files, take_over, tree


@pytest.fixture
def settings(tmp_path):
    return Settings(checkpoint=tmp_path / "checkpoint", shuffle_partitions=2, audit=tmp_path / "audit.jsonl")


@pytest.fixture
def used(settings):
    """A checkpoint after ten batches."""
    take_over(settings)
    commit(settings.checkpoint, 9, {"0": 100, "1": 40})
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    return settings


def test_the_same_settings_and_topic_are_taken_and_those_of_the_last_run_kept_without_secrets(used):
    take_over(used)
    take_over(
        used.with_options(trigger_s=3, sink="influxdb", dead_letter_topic="other", top_k=7, influx_token="canary")
    )
    assert read_guard(used.checkpoint).settings["RISK_TOP_K"] == "7"
    assert b"canary" not in (used.checkpoint / "guard.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("RISK_TOPIC was incidents.v1 and is other", {"topic": "other"}),
        ("RISK_CLOCK was wall and is event", {"clock": "event"}),
        ("RISK_STARTING was earliest and is latest", {"starting": "latest"}),
        ("RISK_SHUFFLE_PARTITIONS was 2 and is 3", {"shuffle_partitions": 3}),
    ],
)
def test_a_changed_setting_that_spark_would_ignore_is_refused_once_there_are_counts(settings, name, changes):
    take_over(settings)
    take_over(settings.with_options(**changes))  # nothing is counted yet
    take_over(settings)
    commit(settings.checkpoint, 0, {"0": 1})
    with pytest.raises(
        CheckpointError, match=f"{name}.*restore the former values, or begin anew with `checkpoint --reset`"
    ):
        take_over(settings.with_options(**changes))
    take_over(settings)


def rewrite_guard(checkpoint, **fields):
    path = checkpoint / "guard.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields), encoding="utf-8")


def test_counts_in_another_layout_are_refused_before_anything_is_touched_and_replaced_where_there_are_none(settings):
    for layout in (STATE_LAYOUT - 1, STATE_LAYOUT + 1):
        take_over(settings)
        rewrite_guard(settings.checkpoint, state_layout=layout)
        take_over(settings)
        assert read_guard(settings.checkpoint).state_layout == STATE_LAYOUT
    commit(settings.checkpoint, 9, {"0": 100, "1": 40})
    for layout in (STATE_LAYOUT - 1, STATE_LAYOUT + 1):
        rewrite_guard(settings.checkpoint, state_layout=layout)
        before = tree(settings.checkpoint)
        refusal = f"stored in layout {layout}, and this version reads {STATE_LAYOUT}.*`checkpoint --reset`"
        with pytest.raises(CheckpointError, match=refusal):
            take_over(settings)
        assert tree(settings.checkpoint) == before


def test_another_spark_is_said_and_recorded_once(used, caplog):
    now = pyspark.__version__
    major, minor, _ = now.split(".", 2)
    for same in (now, f"{major}.{minor}.99"):
        rewrite_guard(used.checkpoint, spark=same)
        take_over(used)
    assert not used.audit.exists()
    rewrite_guard(used.checkpoint, spark=f"{major}.{int(minor) + 1}.0")
    for _ in range(2):
        take_over(used)
    (line,) = records(used.audit.read_bytes())
    assert (line.event, line.details) == ("other_spark", {"was": f"{major}.{int(minor) + 1}.0", "now": now})
    assert f"Spark {major}.{int(minor) + 1}.0 wrote the checkpoint, and Spark {now} reads it" in caplog.text


@pytest.mark.parametrize(
    "begun",
    [lambda folder: begin_at(folder, {"0": 0}), lambda folder: commit(folder, 0, {"0": 1}, is_done=False)],
    ids=["where it begins", "its first offsets"],
)
def test_settings_are_compared_as_soon_as_spark_has_kept(settings, begun):
    take_over(settings)
    begun(settings.checkpoint)
    with pytest.raises(CheckpointError, match="RISK_SHUFFLE_PARTITIONS was 2 and is 3"):
        take_over(settings.with_options(shuffle_partitions=3))


@pytest.mark.fault("F31")
@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("spark/commits", "commit of batch 9 is missing"),
        ("guard.json", r"guard\.json.* is missing"),
        ("spark/commits/9 spark/commits/10", "commit of batch 9 is missing"),
    ],
)
def test_a_checkpoint_that_lost_a_part_is_refused_before_anything_is_touched(used, lost, named):
    """Without its commits all of the state would look like that of an unfinished batch, and be removed."""
    (used.checkpoint / "spark" / "state").mkdir()
    (used.checkpoint / "spark" / "state" / "10.changelog").write_bytes(b"counts")
    for name in lost.split():
        path = used.checkpoint / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = tree(used.checkpoint)
    with pytest.raises(CheckpointError, match=f"damaged: .*{named}.*Nothing was written"):
        take_over(used.with_options(clock="event"), Topic(id="77aa", first_offsets={}, end_offsets={}))
    assert tree(used.checkpoint) == before
    (used.checkpoint / "guard.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"guard\.json"):
        take_over(used)


def test_whether_a_job_holds_the_checkpoint_can_be_seen_without_disturbing_it(tmp_path):
    """`health` looks every few seconds, also beside a command: two looks are no job, and a start waits for a look."""
    assert not is_held(tmp_path / "never made")
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    with (tmp_path / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not is_held(tmp_path)
        threading.Timer(0.02, lambda: fcntl.flock(look, fcntl.LOCK_UN)).start()
        with only_writer(tmp_path):
            assert is_held(tmp_path)


def test_a_lock_that_cannot_be_had_or_signed_is_told_or_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "ftruncate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(CheckpointError, match="No locks available"), only_writer(tmp_path):
        pass


def test_progress_is_read_from_the_newest_committed_batch(used):
    assert last_commit(used.checkpoint)[0] == 10
    assert read_until(used.checkpoint) == {0: 120, 1: 40}
    (used.checkpoint / "spark" / "commits" / "10").unlink()
    assert read_until(used.checkpoint) == {0: 100, 1: 40}


def state_files(checkpoint):
    return {str(path.relative_to(checkpoint)) for path in (checkpoint / "spark" / "state").rglob("*.*")}


def test_state_of_a_batch_without_a_commit_is_removed_and_all_other_state_stays(settings):
    take_over(settings)
    commit(settings.checkpoint, 0, {"0": 1}, is_done=False)
    folder = settings.checkpoint / "spark" / "state" / "0" / "1"
    (folder / "SSTs").mkdir(parents=True)
    (folder / "1.changelog").write_bytes(b"x")  # of a first batch
    take_over(settings)
    assert state_files(settings.checkpoint) == set()
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    kept = ["9.zip", "11.changelog", ".11.changelog.crc", "SSTs/000012-2f.sst"]  # batch 10 leads to version 11
    for name in [*kept, "12.changelog", ".12.changelog.crc", "12.zip", "113.zip"]:
        (folder / name).write_bytes(b"x")
    take_over(settings)
    assert state_files(settings.checkpoint) == {f"spark/state/0/1/{name}" for name in kept}


@pytest.fixture
def batch(tmp_path):
    """batch(number, ends, begin=): its offsets stand in the checkpoint."""

    def write(number, ends, begin=None):
        spark_files(tmp_path, number, read=ends, at_s=1_764_000_000, begin=begin)

    return write


def test_batches_that_consume_what_kafka_handed_over_leave_nothing(batch, tmp_path, caplog):
    audit, added = OffsetAudit(tmp_path), {"0": 10, "1": 9, "2": 3}  # a partition
    given = {"begin": {"0": 5, "1": 7}}
    for number, (end, consumed) in enumerate([({"0": 9, "1": 7}, 4), ({"0": 9, "1": 7}, 0), (added, 6)]):
        batch(number, end, **given if not number else {})
        assert audit.missing(number, consumed) == 0
    assert not caplog.messages
    for number in (6, 7):  # a job that was started again begins with the batch it finds
        batch(number, {"0": 10 * number}, begin={"0": 0})
    assert OffsetAudit(tmp_path).missing(7, 10) == 0


def test_a_message_that_is_lost_or_doubled_shows_for_good_is_said_once_and_of_a_repeat_the_last_try_counts(
    batch, tmp_path, caplog
):
    audit = OffsetAudit(tmp_path)
    seen = []
    with caplog.at_level(logging.WARNING):
        for number, (end, consumed) in enumerate([(10, 10), (20, 9), (30, 9), (40, 10), (50, 12)]):
            batch(number, {"0": end}, begin={"0": 0})
            seen.append(audit.missing(number, consumed))
    assert seen == [0, 1, 2, 2, 0]
    assert [message.split(".")[0] for message in caplog.messages] == [
        "batch 1: Kafka has 10 messages by its offsets, the ledger 9"
    ]
    audit = OffsetAudit(tmp_path)
    assert [audit.missing(*tried) for tried in ((0, 8), (1, 9), (1, 9), (1, 10))] == [2, 3, 3, 2]


def test_a_checkpoint_that_has_read_a_second_topic_is_refused(tmp_path):
    """Earlier versions read one for forecasts as issued: whose offsets are the incidents' cannot be told by a guess."""
    spark_files(tmp_path, 0, read={"0": 10}, at_s=7, begin={"0": 0}, beside={"covariates.v1": {"0": 100}})
    with pytest.raises(
        CheckpointError, match=r"has read covariates\.v1 and incidents\.v1, .*reads one topic"
    ) as refused:
        taken_offsets(tmp_path, 0)
    assert "begin anew with `checkpoint --reset TIME`" in refused.value.remedy


def firsts(at):
    return Topic(id=TOPIC.id, first_offsets=at, end_offsets={})


def ends(at):
    return Topic(id=TOPIC.id, first_offsets=TOPIC.first_offsets, end_offsets=at)


def test_events_that_kafka_deleted_before_they_were_read_are_counted_by_partition(used):
    take_over(used, firsts({0: 120, 1: 40, 2: 0}))
    with pytest.raises(EventsGone, match=r"5 of partition 2 \(offsets 0 to 4\)"):  # added since, and never read
        take_over(used, firsts({0: 120, 1: 40, 2: 5}))
    with pytest.raises(EventsGone, match=r"80 of partition 0 \(offsets 120 to 199\), 1 of partition 1"):
        take_over(used, firsts({0: 200, 1: 41}))


@pytest.mark.parametrize("begun", [False, True], ids=["no batch yet", "first batch begun"])
def test_events_that_are_gone_before_the_first_commit_are_missed_as_well(settings, begun):
    take_over(settings, firsts({0: 5000}))  # no query yet: 5000 is where it begins
    begin_at(settings.checkpoint, {"0": 5000})
    take_over(settings, ends({0: 5000}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 80"):
        take_over(settings, ends({0: 80}))
    if begun:
        commit(settings.checkpoint, 0, {"0": 5600}, is_done=False)
    take_over(settings, firsts({0: 5000, 1: 0}))
    with pytest.raises(EventsGone, match=r"7 of partition 0 \(offsets 5000 to 5006\)"):
        take_over(settings, firsts({0: 5007}))


def test_a_topic_that_ends_before_what_was_read_or_asked_for_has_lost_events(used):
    take_over(used, ends({0: 120, 1: 40, 2: 0}))
    lost = r"partition 0 ends before offset 119, and was read up to offset 119.*`checkpoint --reset TIME`"
    with pytest.raises(EventsGone, match=lost) as caught:
        take_over(used, ends({0: 119, 1: 40}))
    assert caught.value.exit_code == 9
    with pytest.raises(EventsGone, match=r"partition 0 ends .* offset 119, partition 1 ends before offset 0, and was"):
        take_over(used, ends({0: 7, 1: 0}))
    # A batch without a commit is repeated with the very same offsets, which other events may take meanwhile.
    commit(used.checkpoint, 11, {"0": 150, "1": 40}, is_done=False)
    take_over(used, ends({0: 150, 1: 40}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 120, and was read up to offset 149"):
        take_over(used, ends({0: 120, 1: 40}))


KEPT = {"spark", "batches", "outcomes", "roster.json", "guard.json", "begin"}


@pytest.fixture
def kept(tmp_path):
    """A checkpoint that was once begun at 3 ms, with all that a job keeps in it."""
    settings = Settings(checkpoint=tmp_path / "checkpoint", artifacts=tmp_path / "none", audit=tmp_path / "audit.jsonl")
    take_over(settings)
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    for name in ("batches", "outcomes/riverton"):
        (settings.checkpoint / name).mkdir(parents=True)
    for name, text in {"roster.json": "{}", "begin": "3", "lock": "", "health.json": "{}"}.items():
        (settings.checkpoint / name).write_text(text, encoding="utf-8")
    return settings


def test_the_old_state_is_kept_aside_and_nothing_stays_that_the_next_counts_could_be_judged_by(kept):
    """What a job writes beside the checkpoint and reads again: only the lock and the health file may stay."""
    old = set_aside(kept.checkpoint, "stamp", from_ms=5)
    assert {path.name for path in kept.checkpoint.iterdir()} == {"old-stamp", "begin", "lock", "health.json"}
    assert {path.name for path in old.iterdir()} == KEPT
    assert (read_guard(kept.checkpoint), last_commit(kept.checkpoint), read_until(kept.checkpoint)) == (None, None, {})
    assert (begin_ms(kept.checkpoint), begin_ms(old), read_until(old)) == (5, 3, {0: 120, 1: 40})
    take_over(kept.with_options(clock="event"), Topic(id="77aa", first_offsets={0: 500}, end_offsets={}))
    assert begin_ms(kept.checkpoint) == 5
    set_aside(kept.checkpoint, "again", from_ms=8)
    assert begin_ms(kept.checkpoint) == 8


class PowerCut(BaseException):
    """Nothing of ours runs after it."""


def cut_short(monkeypatch, checkpoint, moves, failure):
    """A reset that ends with `failure` after so many moves."""
    left = [moves]

    def rename(path, target):
        if not left[0]:
            raise failure
        left[0] -= 1
        return move(path, target)

    move = Path.rename
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        set_aside(checkpoint, "stamp", from_ms=5)


@pytest.mark.parametrize("moves", range(len(KEPT) + 1))
def test_a_reset_that_was_cut_short_anywhere_is_finished(kept, monkeypatch, tmp_path, caplog, moves):
    whole, again = tmp_path / "whole", tmp_path / "again"
    shutil.copytree(kept.checkpoint, whole)
    set_aside(whole, "stamp", from_ms=5)
    with pytest.raises(PowerCut):
        cut_short(monkeypatch, kept.checkpoint, moves, PowerCut())
    assert unfinished_reset(kept.checkpoint) is not None
    shutil.copytree(kept.checkpoint, again)
    with caplog.at_level(logging.WARNING):
        finish_reset(kept.checkpoint)
    assert tree(kept.checkpoint) == tree(whole)
    assert f"read from 1970-01-01T00:00:00Z; the former content is in {kept.checkpoint / 'old-stamp'}" in caplog.text
    set_aside(again, "later", from_ms=9)
    assert (begin_ms(again), (again / "old-later").exists()) == (9, False)  # nothing was kept since
    assert tree(again / "old-stamp") == tree(whole / "old-stamp")


def test_a_full_disk_is_told_and_the_next_run_finishes(kept, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CheckpointError, match=r"No space left on device.*the next `run` or `checkpoint --reset`"):
        cut_short(monkeypatch, kept.checkpoint, 2, full)
    with pytest.raises(ArtifactError):  # the run ends for want of artifacts, but not before that
        run(kept, stop=Event(), watchers=[])
    assert (begin_ms(kept.checkpoint), unfinished_reset(kept.checkpoint)) == (5, None)


def test_a_disk_that_is_full_from_the_start_moves_nothing(kept, monkeypatch):
    before, full = tree(kept.checkpoint), Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("streaming.checkpoint.replace_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*nothing was moved"):
        set_aside(kept.checkpoint, "stamp", from_ms=5)
    assert tree(kept.checkpoint) == before
