"""An object store: Spark's part of the checkpoint is read and guarded there as on a disk; the archive on it."""

import socket

import pytest
from pyarrow.fs import FileSelector
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.archive import ArchiveTable, FeedLog, archive_region
from models.files.incident_archive import read_archive
from schemas.errors import CheckpointError, SinkError, SinkRefused
from streaming.checkpoint import (
    SparkFolder,
    _object_store,
    batch_time_ms,
    begin_offsets,
    drop_unfinished,
    end_offsets,
    last_begun,
    last_commit,
    open_batch,
    place_state,
    refuse_unshared,
    set_aside,
    spark_address,
    taken_offsets,
)
from tests.harness.checkpoint import KeptWorld, begin_at, commit
from tests.harness.fake_stores import SECRET
from tests.unit.counting.test_count_state import CALL, SPEC, incidents
from tests.unit.lifecycle.archive.test_archive import TODAY


@pytest.fixture(scope="module")
def bucket(s3):
    s3.make_bucket("state")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        yield "s3a://state/ours"


@pytest.fixture
def checkpoints(tmp_path, bucket):
    """(one on a disk, one in the bucket), with the same files of Spark's."""
    near, far = tmp_path / "near", tmp_path / "far"
    begin_at(near, {"0": 3, "1": 0})
    for batch in range(12):
        commit(near, batch, {"0": 10 + batch, "1": 4}, is_done=batch < 11)
    state = near / "spark" / "state" / "0" / "0"
    state.mkdir(parents=True)
    for name in ("11.changelog", "12.changelog", ".12.changelog.crc", "11.zip", "12.zip", "13.zip", "_metadata"):
        (state / name).write_bytes(b"x")
    far.mkdir()
    place_state(far, bucket, f"state-{tmp_path.name}")
    folder = SparkFolder.of(far)
    for path in (near / "spark").rglob("*"):
        if path.is_file():
            folder.write(path.read_bytes(), *path.relative_to(near / "spark").parts)
    return near, far


def test_what_is_read_is_the_same_as_on_a_disk(checkpoints):
    found = [
        (
            begin_offsets(checkpoint),
            last_commit(checkpoint)[0],
            last_begun(checkpoint),
            open_batch(checkpoint),
            [(end_offsets(checkpoint, batch), taken_offsets(checkpoint, batch)) for batch in range(12)],
            batch_time_ms(checkpoint, 11),
        )
        for checkpoint in checkpoints
    ]
    assert found[0] == found[1]
    assert found[1][:3] == ({0: 3, 1: 0}, 10, 11)
    near, far = (last_commit(checkpoint)[1] for checkpoint in checkpoints)
    assert abs(near - far) < 60


def test_the_state_of_an_unfinished_batch_is_removed_as_on_a_disk(checkpoints):
    left = []
    for checkpoint in checkpoints:
        drop_unfinished(checkpoint)
        left.append({info.base_name for info in SparkFolder.of(checkpoint).listed("state", deep=True)})
    assert left == [{"11.changelog", "11.zip", "_metadata"}] * 2


def test_an_offset_file_that_is_missing_is_damage_also_there(checkpoints):
    for checkpoint in checkpoints:
        with pytest.raises(CheckpointError, match="is damaged: 99 of its offsets cannot be read"):
            end_offsets(checkpoint, 99)


def test_a_state_begins_once_and_an_empty_one_never_takes_its_place(tmp_path, bucket):
    place_state(tmp_path, bucket, "one")
    for shared in (bucket, "", str(tmp_path / "elsewhere")):
        place_state(tmp_path, shared, "two")
    assert spark_address(tmp_path) == f"{bucket}/one"
    folder = SparkFolder.of(tmp_path)
    for info in folder.files.get_file_info(FileSelector(folder.root)):
        folder.delete(info)
    with pytest.raises(CheckpointError, match="s3a://state/ours/one, where nothing is: bring it back"):
        place_state(tmp_path, bucket, "three")
    old = set_aside(tmp_path, "20261128T000000Z", from_ms=0)
    assert spark_address(old) == f"{bucket}/one"
    place_state(tmp_path, bucket, "three")
    assert spark_address(tmp_path) == f"{bucket}/three"


def test_a_state_of_this_machine_alone_is_moved_by_a_person(tmp_path, bucket):
    commit(tmp_path, 0, {"0": 1})
    with pytest.raises(CheckpointError, match=r"move \S+/spark to s3a://state/ours/one, and make .* a file with the"):
        place_state(tmp_path, bucket, "one")
    place_state(tmp_path, "", "one")
    assert last_begun(tmp_path) == 0


def test_a_bucket_that_does_not_exist_is_an_error(tmp_path, bucket):
    with pytest.raises(CheckpointError, match="s3a://nowhere/ours/one, where Spark's state is, cannot be reached"):
        place_state(tmp_path, "s3a://nowhere/ours", "one")
    assert not (tmp_path / "spark").exists()
    with pytest.raises(CheckpointError, match="s3a://nowhere/ours, where Spark's state is, cannot be reached"):
        refuse_unshared("s3a://nowhere/ours")
    refuse_unshared(f"{bucket}/tried/")
    assert not SparkFolder.at(f"{bucket}/tried").listed()


def test_a_store_that_is_away_is_no_damage(tmp_path, s3, bucket, monkeypatch):
    s3.make_bucket("away")
    place_state(tmp_path, "s3a://away/ours", "one")
    _object_store.cache_clear()  # as in a process that starts later
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(CheckpointError, match=r"cannot be reached .*nothing is lost: start again once it can"):
            last_commit(tmp_path)


@pytest.fixture(scope="module")
def options(s3):
    """Storage options of a server with an empty bucket `archive`."""
    s3.make_bucket("archive")
    return {**s3.environment, "AWS_ALLOW_HTTP": "true"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = KeptWorld(tmp_path_factory.mktemp("world"), SPEC)
    for day in range(TODAY, TODAY + 6):
        clock = day * 86_400 + 9 * 3600
        made.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    return made


def test_the_commands_write_and_read_s3(options, world, monkeypatch):
    environment = {
        "RISK_CHECKPOINT": str(world.checkpoint),
        "RISK_ARCHIVE": "s3://archive/counts",
        "RISK_ARCHIVE_STORAGE": ",".join(f"{key}={value}" for key, value in options.items()),
    }
    for written in ("2", "0"):
        ran = CliRunner().invoke(app, ["archive"], env=environment, catch_exceptions=False)
        assert next(line.split()[1] for line in ran.stdout.splitlines() if line.startswith("toyville")) == written
        assert SECRET not in ran.output
    for name, value in options.items():
        monkeypatch.setenv(name, value)  # as `train` finds them
    archived = read_archive("archive:s3://archive/counts@2")
    assert len(archived.table) == 2
    assert archived.version == 2


def test_two_writers_on_s3_do_not_double_a_day(options, world):
    one, two = (ArchiveTable("s3://archive/both", options) for _ in range(2))
    archive_region(one, FeedLog(world.checkpoint), SPEC)
    with pytest.raises(SinkError, match="another process writes the archive"):
        archive_region(two, FeedLog(world.checkpoint), SPEC)
    assert one.days("toyville") == {TODAY + 1, TODAY + 2}


def test_a_bucket_that_does_not_exist_is_named_without_secrets(options):
    with pytest.raises(SinkRefused, match="s3://nowhere/counts cannot be used") as caught:
        ArchiveTable("s3://nowhere/counts", options)
    assert SECRET not in str(caught.value)
    assert "\x1b" not in str(caught.value)
