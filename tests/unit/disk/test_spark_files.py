"""What Spark leaves in a checkpoint: how far it came, and state of a batch that it did not finish."""

from streaming.disk.spark_files import last_commit, read_until
from tests.harness.checkpoint import commit, verify


def test_progress_is_read_from_the_newest_committed_batch(used):
    assert last_commit(used.checkpoint)[0] == 10
    assert read_until(used.checkpoint) == {0: 120, 1: 40}
    (used.checkpoint / "spark" / "commits" / "10").unlink()
    assert read_until(used.checkpoint) == {0: 100, 1: 40}


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
