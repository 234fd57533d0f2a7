import errno
import fcntl
import json
import os
import shutil
import threading

import pyspark
import pytest

from schemas.audit_verify import records
from schemas.errors import CheckpointError, EventsGone
from streaming.disk.guard import STATE_LAYOUT, read_guard, refuse_lost
from streaming.disk.locks import is_held, only_writer
from streaming.disk.spark_files import last_commit, read_until
from streaming.settings import Settings
from streaming.topics.admin import Topic
from tests.harness.checkpoint import TOPIC, begin_at, commit, spark_files, verify


@pytest.fixture
def settings(tmp_path):
    return Settings(checkpoint=tmp_path / "checkpoint", shuffle_partitions=2, audit=tmp_path / "audit.jsonl")


@pytest.fixture
def used(settings):
    """A checkpoint after ten batches."""
    verify(settings)
    commit(settings.checkpoint, 9, {"0": 100, "1": 40})
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    return settings


def test_progress_is_read_from_the_newest_committed_batch(used):
    assert last_commit(used.checkpoint)[0] == 10
    assert read_until(used.checkpoint) == {0: 120, 1: 40}
    (used.checkpoint / "spark" / "commits" / "10").unlink()
    assert read_until(used.checkpoint) == {0: 100, 1: 40}


def test_the_same_settings_and_topic_are_taken(used):
    verify(used)
    verify(used.with_options(trigger_s=3, sink="influxdb", dead_letter_topic="other"))


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
    verify(settings)
    verify(settings.with_options(**changes))  # nothing is counted yet
    verify(settings)
    commit(settings.checkpoint, 0, {"0": 1})
    with pytest.raises(
        CheckpointError, match=f"{name}.*restore the former values, or begin anew with `checkpoint reset`"
    ):
        verify(settings.with_options(**changes))
    verify(settings)


def rewrite_guard(checkpoint, **fields):
    """`fields`: None takes one away."""
    path = checkpoint / "guard.json"
    kept = json.loads(path.read_bytes()) | fields
    path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("kept", "named"), [(None, 1), (STATE_LAYOUT - 1, STATE_LAYOUT - 1), (STATE_LAYOUT + 1, STATE_LAYOUT + 1)]
)
def test_counts_in_another_layout_are_refused_before_anything_is_touched(used, kept, named):
    """A guard that names none is of the first layout."""
    rewrite_guard(used.checkpoint, state_layout=kept)
    before = everything(used.checkpoint)
    refusal = f"stored in layout {named}, and this version reads {STATE_LAYOUT}.*`checkpoint reset`"
    with pytest.raises(CheckpointError, match=refusal):
        verify(used)
    assert everything(used.checkpoint) == before


def test_another_layout_without_counts_is_replaced(settings):
    verify(settings)
    rewrite_guard(settings.checkpoint, state_layout=None)
    verify(settings)
    assert read_guard(settings.checkpoint).state_layout == STATE_LAYOUT


def test_another_spark_is_said_and_recorded_once(used, caplog):
    now = pyspark.__version__
    major, minor, _ = now.split(".", 2)
    for same in (now, f"{major}.{minor}.99", None):
        rewrite_guard(used.checkpoint, spark=same)
        verify(used)
    assert not used.audit.exists()
    rewrite_guard(used.checkpoint, spark=f"{major}.{int(minor) + 1}.0")
    for _ in range(2):
        verify(used)
    (line,) = records(used.audit.read_bytes())
    assert (line.event, line.details) == ("other_spark", {"was": f"{major}.{int(minor) + 1}.0", "now": now})
    assert f"Spark {major}.{int(minor) + 1}.0 wrote the checkpoint, and Spark {now} reads it" in caplog.text


@pytest.mark.fault("F09")
def test_a_topic_that_was_made_anew_is_refused(used):
    with pytest.raises(CheckpointError, match="deleted and created again"):
        verify(used, Topic(id="77aa", first_offsets={0: 0, 1: 0}, end_offsets={}))


def test_events_that_kafka_deleted_before_they_were_read_are_counted_by_partition(used):
    verify(used, firsts({0: 120, 1: 40, 2: 0}))
    with pytest.raises(EventsGone, match=r"5 of partition 2 \(offsets 0 to 4\)"):  # added since, and never read
        verify(used, firsts({0: 120, 1: 40, 2: 5}))
    with pytest.raises(EventsGone, match=r"80 of partition 0 \(offsets 120 to 199\), 1 of partition 1"):
        verify(used, firsts({0: 200, 1: 41}))


@pytest.mark.parametrize("begun", [False, True], ids=["no batch yet", "first batch begun"])
def test_events_that_kafka_deleted_before_the_first_commit_are_missed_as_well(settings, begun):
    verify(settings, firsts({0: 5000}))  # no query yet: 5000 is where it begins
    begin_at(settings.checkpoint, {"0": 5000})
    if begun:
        commit(settings.checkpoint, 0, {"0": 5600}, is_done=False)
    verify(settings, firsts({0: 5000, 1: 0}))
    with pytest.raises(EventsGone, match=r"7 of partition 0 \(offsets 5000 to 5006\)"):
        verify(settings, firsts({0: 5007}))


def test_a_topic_of_outside_series_can_neither_join_nor_leave_a_checkpoint(settings):
    both = settings.with_options(covariates_topic="covariates.v1")
    for first, then, fault in (
        (settings, both, "RISK_COVARIATES_TOPIC was not set and is covariates.v1"),
        (both, settings, "RISK_COVARIATES_TOPIC was covariates.v1 and is not set"),
    ):
        verify(first)
        begin_at(settings.checkpoint, {"0": 0})
        with pytest.raises(CheckpointError, match=fault) as refused:
            verify(then)
        assert "begin anew" in refused.value.remedy
        verify(first)
        (settings.checkpoint / "spark" / "sources" / "0" / "0").unlink()


@pytest.mark.fault("F09")
def test_a_topic_of_outside_series_that_was_made_anew_is_refused_and_one_that_the_guard_does_not_know_is_taken(
    settings,
):
    both = settings.with_options(covariates_topic="covariates.v1")
    verify(both, outside_id="0c1d")
    begin_at(both.checkpoint, {"0": 0})
    verify(both, outside_id="0c1d")
    refusal = (
        r"topic covariates\.v1 was deleted and created again.*\(id 0c1d, now 9e9e\).*read the new topic, begin anew"
    )
    with pytest.raises(CheckpointError, match=refusal):
        verify(both, outside_id="9e9e")
    assert read_guard(both.checkpoint).covariates_topic_id == "0c1d"
    rewrite_guard(both.checkpoint, covariates_topic_id=None)  # as older versions wrote it
    verify(both, outside_id="9e9e")
    with pytest.raises(CheckpointError, match="deleted and created again"):
        verify(both, outside_id="0c1d")


def test_lost_messages_of_outside_series_are_found_by_their_own_offsets(settings):
    verify(settings.with_options(covariates_topic="covariates.v1"))
    spark_files(settings.checkpoint, 0, read={"0": 120}, at_s=7, beside={"covariates.v1": {"0": 50}})
    commits = settings.checkpoint / "spark" / "commits"
    commits.mkdir()
    (commits / "0").write_text("v1\n{}\n", encoding="utf-8")
    refuse_lost(settings.checkpoint, Topic(id="1", first_offsets={0: 50}, end_offsets={0: 50}), "covariates.v1")
    with pytest.raises(EventsGone, match=r"deleted events of covariates\.v1 .*3 of partition 0"):
        refuse_lost(settings.checkpoint, Topic(id="1", first_offsets={0: 53}, end_offsets={0: 60}), "covariates.v1")
    with pytest.raises(EventsGone, match=r"lost events of covariates\.v1"):
        refuse_lost(settings.checkpoint, Topic(id="1", first_offsets={0: 0}, end_offsets={0: 49}), "covariates.v1")


def test_settings_are_compared_as_soon_as_spark_has_kept_where_it_begins(settings):
    verify(settings)
    begin_at(settings.checkpoint, {"0": 0})
    with pytest.raises(CheckpointError, match="RISK_STARTING was earliest and is latest"):
        verify(settings.with_options(starting="latest"))


def firsts(at):
    return Topic(id=TOPIC.id, first_offsets=at, end_offsets={})


def ends(at):
    return Topic(id="5f0c", first_offsets=TOPIC.first_offsets, end_offsets=at)


def test_a_topic_that_ends_before_what_was_read_has_lost_events(used):
    verify(used, ends({0: 120, 1: 40, 2: 0}))
    lost = r"partition 0 ends before offset 119, and was read up to offset 119.*`checkpoint reset --from TIME`"
    with pytest.raises(EventsGone, match=lost) as caught:
        verify(used, ends({0: 119, 1: 40}))
    assert caught.value.exit_code == 9
    with pytest.raises(EventsGone, match=r"partition 0 ends .* offset 119, partition 1 ends before offset 0, and was"):
        verify(used, ends({0: 7, 1: 0}))


def test_what_a_batch_without_a_commit_has_asked_for_counts_as_read(used):
    """It is repeated with the very same offsets, which other events may take meanwhile."""
    commit(used.checkpoint, 11, {"0": 150, "1": 40}, is_done=False)
    verify(used, ends({0: 150, 1: 40}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 120, and was read up to offset 149"):
        verify(used, ends({0: 120, 1: 40}))


def test_a_topic_that_ends_before_the_place_to_begin_at_has_lost_events(settings):
    begin_at(settings.checkpoint, {"0": 5000})
    verify(settings, ends({0: 5000}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 80"):
        verify(settings, ends({0: 80}))


def state_files(checkpoint):
    return {str(path.relative_to(checkpoint)) for path in (checkpoint / "spark" / "state").rglob("*.*")}


def test_state_of_a_batch_without_a_commit_is_removed_and_all_other_state_stays(used):
    folder = used.checkpoint / "spark" / "state" / "0" / "1"
    (folder / "SSTs").mkdir(parents=True)
    kept = ["9.zip", "11.changelog", ".11.changelog.crc", "SSTs/000012-2f.sst"]  # batch 10 leads to version 11
    for name in [*kept, "12.changelog", ".12.changelog.crc", "12.zip", "113.zip"]:
        (folder / name).write_bytes(b"x")
    verify(used)
    assert state_files(used.checkpoint) == {f"spark/state/0/1/{name}" for name in kept}


def test_state_of_a_first_batch_without_a_commit_is_removed(settings):
    verify(settings)
    commit(settings.checkpoint, 0, {"0": 1}, is_done=False)
    (settings.checkpoint / "spark" / "state").mkdir()
    (settings.checkpoint / "spark" / "state" / "1.changelog").write_bytes(b"x")
    verify(settings)
    assert state_files(settings.checkpoint) == set()


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    before = everything(used.checkpoint)
    with pytest.raises(CheckpointError, match=f"damaged: .*{named}.*Nothing was written"):
        verify(used.with_options(clock="event"), Topic(id="77aa", first_offsets={}, end_offsets={}))
    assert everything(used.checkpoint) == before


def test_settings_are_compared_from_the_first_offsets_on_as_spark_keeps_them(settings):
    verify(settings)
    commit(settings.checkpoint, 0, {"0": 1}, is_done=False)
    with pytest.raises(CheckpointError, match="RISK_SHUFFLE_PARTITIONS was 2 and is 3"):
        verify(settings.with_options(shuffle_partitions=3))


def test_the_settings_of_the_last_run_are_kept_without_secrets(used):
    verify(used.with_options(top_k=7, influx_token="canary"))
    assert read_guard(used.checkpoint).settings["RISK_TOP_K"] == "7"
    assert b"canary" not in (used.checkpoint / "guard.json").read_bytes()


def test_a_lock_that_cannot_be_had_or_signed_is_told_or_done_without(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(os, "ftruncate", full)
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CheckpointError, match="No locks available"), only_writer(tmp_path):
        pass


def test_a_guard_that_cannot_be_read_is_refused(used):
    (used.checkpoint / "guard.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"guard\.json"):
        verify(used)


def test_whether_a_job_holds_the_checkpoint_can_be_seen_without_disturbing_it(tmp_path):
    assert not is_held(tmp_path / "never made")
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_two_looks_at_once_do_not_take_each_other_for_a_job(tmp_path):
    """`health` is asked every few seconds, also beside a command: none may see a job that there is not."""
    with only_writer(tmp_path):
        pass
    with (tmp_path / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not is_held(tmp_path)


def test_a_start_waits_for_a_look_that_has_the_lock_for_a_moment(tmp_path):
    with only_writer(tmp_path):
        pass
    with (tmp_path / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(look, fcntl.LOCK_UN)).start()
        with only_writer(tmp_path):
            assert is_held(tmp_path)
