"""The archive on S3: the product's commands against a server of S3."""

import pytest
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.archive import ArchiveTable, archive_region
from lifecycle.feed import FeedLog
from models.files.incident_archive import read_archive
from schemas.errors import SinkError, SinkRefused
from tests.harness.kept_world import KeptWorld
from tests.harness.object_store import SECRET
from tests.unit.counting.test_count_state import CALL, SPEC, incidents
from tests.unit.lifecycle.archive.test_archive import TODAY


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
