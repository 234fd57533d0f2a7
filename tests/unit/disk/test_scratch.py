"""The folder for what Spark shuffles is the job's own, and a start empties it and nothing else."""

import os
import stat

import pytest

from schemas.errors import CheckpointError, SparkFailed
from streaming.disk.scratch import emptied_scratch, scratch_of
from streaming.job import session
from streaming.job.diagnosis import Diagnosis
from streaming.settings import Settings


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "checkpoint"


def leave(folder):
    """What a job that was killed leaves: folders, files, links."""
    (folder / "blockmgr-1" / "0c").mkdir(parents=True)
    (folder / "blockmgr-1" / "0c" / "shuffle_0_0_0.data").write_bytes(b"a payload")
    (folder / "libx.so").write_bytes(b"x")
    (folder / "nowhere").symlink_to(folder / "gone")


def test_nobody_else_can_read_it_whatever_the_umask(checkpoint):
    before = os.umask(0)
    try:
        folder = emptied_scratch(checkpoint)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert stat.S_IMODE(emptied_scratch(checkpoint).stat().st_mode) == 0o700


def test_a_start_empties_what_a_job_on_this_checkpoint_left_and_no_other(checkpoint, tmp_path):
    kept = tmp_path / "kept"
    leave(kept)
    ours, other = emptied_scratch(checkpoint), emptied_scratch(tmp_path / "other")
    leave(ours)
    leave(other)
    (ours / "link").symlink_to(kept)
    (tmp_path / "same").symlink_to(checkpoint)
    assert emptied_scratch(tmp_path / "same") == ours != other
    assert list(ours.iterdir()) == []
    assert (other / "blockmgr-1" / "0c" / "shuffle_0_0_0.data").exists()
    assert (kept / "blockmgr-1" / "0c" / "shuffle_0_0_0.data").exists()


def test_a_link_a_file_or_another_users_folder_in_its_place_is_refused(checkpoint, tmp_path, monkeypatch):
    folder = scratch_of(checkpoint)
    leave(tmp_path / "kept")
    folder.symlink_to(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="is a link or another user's: remove it, or set TMPDIR"):
        emptied_scratch(checkpoint)
    assert (tmp_path / "kept" / "blockmgr-1").exists()
    folder.unlink()
    folder.touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        emptied_scratch(checkpoint)
    folder.unlink()
    folder.mkdir()
    leave(folder)
    monkeypatch.setattr("streaming.disk.scratch.scratch_of", lambda _: folder)
    monkeypatch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(CheckpointError, match="another user's"):
        emptied_scratch(checkpoint)
    assert (folder / "libx.so").exists()


@pytest.mark.parametrize("master", ["local[2,4]", "spark://host:7077"])
def test_it_is_empty_again_when_java_is_gone_and_a_clusters_machines_have_their_own(checkpoint, monkeypatch, master):
    settings = Settings(checkpoint=checkpoint, master=master, spark_state="/shared")
    scratch = scratch_of(checkpoint)

    class Session:
        def stop(self):
            raise ConnectionError

    def start(settings, log, *, scratch):
        assert (scratch is None) == master.startswith("spark")
        return Session()

    monkeypatch.setattr(session, "start_session", start)

    def run_until_java_is_killed():
        with session.spark_session(settings, Diagnosis.of(settings)):
            if scratch.exists():
                leave(scratch)
            raise ConnectionError

    with pytest.raises(SparkFailed, match="killed"):
        run_until_java_is_killed()
    assert not scratch.exists() or list(scratch.iterdir()) == []
