"""Spark's folders: the state that several machines may share, begun once; and the scratch, which a start empties."""

import os
import stat

import pytest

from schemas.errors import CheckpointError, SettingsError, SparkFailed
from streaming import spark as session
from streaming.checkpoint import last_begun, place_state, set_aside
from streaming.settings import Settings
from streaming.spark import emptied_scratch, scratch_of
from tests.harness.checkpoint import spark_files

NOON_S = 1_764_072_000


@pytest.fixture
def places(tmp_path):
    """(checkpoint, shared folder)"""
    for name in ("checkpoint", "shared"):
        (tmp_path / name).mkdir()
    return tmp_path / "checkpoint", tmp_path / "shared"


def test_the_state_begins_in_the_shared_folder_and_stays_there_and_without_one_nothing_is_placed(places):
    checkpoint, shared = places
    place_state(checkpoint, "", "state-0")
    assert list(checkpoint.iterdir()) == []
    place_state(checkpoint, str(shared), "state-1")
    spark_files(checkpoint, 0, read={"0": 10}, at_s=NOON_S)
    place_state(checkpoint, str(shared), "state-2")
    assert (checkpoint / "spark").resolve() == shared / "state-1"
    assert [path.name for path in shared.iterdir()] == ["state-1"]
    assert last_begun(checkpoint) == 0
    assert (shared / "state-1" / "offsets" / "0").exists()


def test_a_folder_that_is_not_mounted_is_an_error_and_begins_nothing(places):
    checkpoint, shared = places
    place_state(checkpoint, str(shared), "state-1")
    shared.rename(shared.with_name("elsewhere"))
    for given in (str(shared), ""):
        with pytest.raises(CheckpointError, match=r"state-1, which is not there: mount"):
            place_state(checkpoint, given, "state-2")
    with pytest.raises(CheckpointError, match="RISK_SPARK_STATE"):
        place_state(checkpoint.with_name("new"), str(shared), "state-2")


def test_a_state_of_this_machine_alone_is_not_shared_by_itself(places):
    checkpoint, shared = places
    spark_files(checkpoint, 0, read={"0": 10}, at_s=NOON_S)
    with pytest.raises(CheckpointError, match=r"on this machine alone.*make .* a link"):
        place_state(checkpoint, str(shared), "state-1")
    (checkpoint / "spark").rename(shared / "state-1")  # what the error asks for
    (checkpoint / "spark").symlink_to(shared / "state-1")
    place_state(checkpoint, str(shared), "state-2")
    assert last_begun(checkpoint) == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_a_reset_leaves_the_old_state_where_it_is_and_the_next_start_begins_another(places, is_there):
    checkpoint, shared = places
    place_state(checkpoint, str(shared), "state-1")
    if not is_there:
        (shared / "state-1").rmdir()
    old = set_aside(checkpoint, "20261128T000000Z", from_ms=0)
    assert (old / "spark").readlink() == shared / "state-1"
    place_state(checkpoint, str(shared), "state-2")
    assert (checkpoint / "spark").resolve() == shared / "state-2"


def test_a_cluster_without_a_shared_folder_is_refused():
    with pytest.raises(SettingsError, match=r"spark://a:7077 works on other machines: give RISK_SPARK_STATE"):
        Settings.from_environment({"RISK_MASTER": "spark://a:7077"})
    given = {"RISK_MASTER": "spark://a:7077", "RISK_SPARK_STATE": "/shared"}
    assert Settings.from_environment(given).spark_state == "/shared"
    assert Settings.from_environment({"RISK_MASTER": "local-cluster[2,1,1024]"}).spark_state == ""


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
    monkeypatch.setattr("streaming.spark.scratch_of", lambda _: folder)
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
        with session.spark_session(settings):
            if scratch.exists():
                leave(scratch)
            raise ConnectionError

    with pytest.raises(SparkFailed, match="killed"):
        run_until_java_is_killed()
    assert not scratch.exists() or list(scratch.iterdir()) == []
