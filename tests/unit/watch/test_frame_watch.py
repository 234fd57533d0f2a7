"""The job leaves each region's last frame as a file, and a disk that is full does not stop the scores."""

import errno
import logging
import os
from datetime import UTC, datetime

import pytest

from schemas.errors import SinkUnavailable
from schemas.fine import read_shares, shares_beside
from schemas.forecasts import OLDEST_S, FollowedChange
from schemas.frame import frame_path, hour_path, read_frames, read_hour
from streaming import watchers as frame_watch
from streaming.job_health import HealthWatch, in_words, read_health
from streaming.watchers import FrameWatch
from tests.harness.batch import MemorySink, Rows, publisher_to, scored_row
from tests.harness.points import points_in
from tests.harness.toy import toy_artifact, toy_published, toy_spec, toy_views

SPEC = toy_spec()
SQUARED = toy_spec(answered_by=("fire", "ems"), fine=2)


@pytest.fixture
def job(tmp_path):
    """(publisher, its store, its artifact, the region's file)"""
    folder, store = tmp_path / "frames", MemorySink()
    watch = FrameWatch(folder=folder, clock="wall", artifacts=folder)
    publisher = publisher_to(store, tmp_path, watchers=[watch.show])
    return publisher, store, toy_artifact(tmp_path / "artifacts", SPEC), frame_path(folder, SPEC.region)


def test_the_file_holds_what_was_published(job):
    publisher, _, artifact, path = job
    seen = []
    publisher.watchers.append(seen.append)
    publisher(Rows(scored_row(artifact, 1_764_000_000)), 0)
    found = read_frames(path)
    frame, over_all = seen[0].views[SPEC.region]
    assert frame is seen[0].frames[SPEC.region]
    assert found.digest == frame.digest()
    assert found.over_all.digest() == over_all.digest()


def test_a_change_that_the_scores_follow_is_in_the_file_and_in_the_store(job, monkeypatch):
    publisher, store, artifact, path = job
    follows = FollowedChange(1_764_000_000, 1_763_600_000, "05 to 08 h x 1.9")
    monkeypatch.setattr("streaming.flow.publish.change_followed", lambda follow_in, frame: follows)
    row = scored_row(artifact, 1_764_000_000)
    publisher(Rows(row), 0)
    assert (read_frames(path).change, b"change=" in store.writes[-1]) == ("", False)
    row["scores"]["followed"] = "1764000000"
    publisher(Rows(row), 1)
    assert (read_frames(path).change, read_frames(path).change_since_s) == ("05 to 08 h x 1.9", 1_763_600_000)
    fields = [fields for key, _, fields in points_in(store.writes[-1].decode()) if key.startswith("pipeline,")]
    assert [field["change"] for field in fields] == ['"since 20 Nov: 05 to 08 h x 1.9"']
    assert [float(field["followed_ago_s"]) for field in fields] == [0]


def test_what_cannot_be_followed_is_old_in_the_store_and_said_once_and_in_health(job, tmp_path, caplog):
    publisher, store, artifact, _ = job
    health = HealthWatch(checkpoint=tmp_path, clock="wall", trigger_s=0.5)
    publisher.watchers.append(health.show)
    for number, reason in enumerate(("file 1 is damaged", "file 1 is damaged", None, "file 2 is gone")):
        row = scored_row(artifact, 1_764_000_000 + 60 * number)
        row["scores"] |= {"followed": None if reason else "1763996400", "unfollowed": reason}
        publisher(Rows(row), number)
        (point,) = (fields for key, _, fields in points_in(store.writes[-1].decode()) if key.startswith("pipeline,"))
        assert float(point["followed_ago_s"]) == (OLDEST_S if reason else 3720)
        health.write()
        said, why_not = read_health(tmp_path, now := datetime.now(UTC))
        assert said.regions[SPEC.region].unfollowed == (reason or "")
        assert [line.partition("showed: ")[2] for line in in_words(said, why_not, now) if "showed" in line] == [
            reason
        ] * bool(reason)
    said = f"region={SPEC.region} its scores do not follow what the last weeks showed: "
    assert [record.getMessage() for record in caplog.records] == [said + "file 1 is damaged", said + "file 2 is gone"]


def test_a_frame_that_the_store_did_not_take_is_not_left(job):
    publisher, store, artifact, path = job
    publisher(Rows(scored_row(artifact, 1_764_000_000)), 0)
    store.is_there = False
    with pytest.raises(SinkUnavailable):
        publisher(Rows(scored_row(artifact, 1_764_000_060)), 1)
    assert read_frames(path).by_category.as_of_s == 1_764_000_000


def shown(minute):
    """A batch of that minute."""
    return toy_published(minute, views={SPEC.region: toy_views(SPEC, as_of_s=1_764_000_000 + 60 * minute)})


def test_a_full_disk_is_said_once_and_leaves_the_old_frame(tmp_path, monkeypatch, caplog):
    watch = FrameWatch(folder=tmp_path, clock="wall", artifacts=tmp_path)
    watch.show(shown(0))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("schemas.frame.replace_file", full)
        watch.show(shown(1))
        watch.show(shown(2))
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert "stale" in caplog.text
    path = frame_path(tmp_path, SPEC.region)
    assert read_frames(path).by_category.as_of_s == 1_764_000_000
    watch.show(shown(3))
    assert read_frames(path).by_category.as_of_s == 1_764_000_180
    with monkeypatch.context() as patch:
        patch.setattr("schemas.frame.replace_file", full)
        watch.show(shown(1))
    assert len(caplog.records) == 2  # of another time
    assert frame_watch.log.name.startswith("streaming")  # `run` shows these
    assert read_hour(hour_path(tmp_path, SPEC.region, 1_764_000_180)).by_category.as_of_s == 1_764_000_000


def test_an_hour_that_cannot_be_kept_is_said_once_and_the_frame_is_new(tmp_path, caplog):
    (tmp_path / "hours").write_text("in the way")
    watch = FrameWatch(folder=tmp_path, clock="wall", artifacts=tmp_path)
    for minute in (0, 1):
        watch.show(shown(minute))
    assert read_frames(frame_path(tmp_path, SPEC.region)).by_category.as_of_s == 1_764_000_060
    (said,) = [record.getMessage() for record in caplog.records]
    assert "will lack its squares or a picture of this hour" in said


def show_squares(watch, folder):
    """A batch of the version in the folder."""
    views = {SQUARED.region: toy_views(SQUARED, as_of_s=1_764_000_000)}
    watch.show(toy_published(0, artifacts={SQUARED.region: folder.name}, views=views))


def test_the_shares_of_the_version_that_scores_stand_beside_the_frames_and_those_of_old_ones_go(tmp_path, caplog):
    frames, watch = tmp_path / "frames", FrameWatch(folder=tmp_path / "frames", clock="wall", artifacts=tmp_path)
    made = [toy_artifact(tmp_path, SQUARED, created=f"2026010{day}T000000Z") for day in range(1, 6)]

    for folder in made:
        show_squares(watch, folder)
        assert read_shares(frames, SQUARED, folder.name).share.shape == (0, 4)
    assert sorted((frames / "fine" / SQUARED.region).iterdir()) == [
        shares_beside(frames, SQUARED.region, folder.name) for folder in made[-3:]
    ]
    show_squares(watch, made[0])  # a rollback
    assert read_shares(frames, SQUARED, made[0].name).share.shape == (0, 4)
    show_squares(watch, tmp_path / "toyville" / "gone")
    assert "will lack its squares" in caplog.text


def test_shares_that_were_damaged_are_written_again_at_a_start_and_when_their_version_comes_into_force(tmp_path):
    frames = tmp_path / "frames"
    old, new = (toy_artifact(tmp_path, SQUARED, created=f"2026010{day}T000000Z") for day in (1, 2))
    first, restarted = (FrameWatch(folder=frames, clock="wall", artifacts=tmp_path) for _ in range(2))
    path = shares_beside(frames, SQUARED.region, old.name)

    show_squares(first, old)
    sound = path.read_bytes()
    half, flipped = sound[: len(sound) // 2], bytes([sound[0] ^ 1]) + sound[1:]
    path.write_bytes(half)
    show_squares(first, old)
    assert path.read_bytes() == half  # it reads no file in each batch
    show_squares(restarted, old)
    assert path.read_bytes() == sound
    path.write_bytes(flipped)
    for version in (new, old):
        show_squares(restarted, version)
    assert path.read_bytes() == sound
    path.unlink()
    show_squares(restarted, old)
    assert path.read_bytes() == sound
