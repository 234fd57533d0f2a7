"""The archive on S3: the product's commands against moto's server, which answers as S3 does over HTTP.

moto needs other versions of packages than the product, so uv runs it in an environment of its own.
"""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.files.archive import read_archive
from schemas.errors import SinkError, SinkRefused
from streaming.__main__ import app
from streaming.archive.collect import archive_region
from streaming.archive.feed import FeedLog
from streaming.archive.table import ArchiveTable
from tests.harness.kept_world import KeptWorld
from tests.unit.archive.test_archive import TODAY
from tests.unit.counting.test_count_state import CALL, SPEC, incidents

pytestmark = pytest.mark.stack
MOTO = "moto[s3,server]==5.2.5"
UV = Path(sys.executable).with_name("uv")
SECRET = "hidden-key"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """Storage options of a server with an empty bucket `archive`."""
    folder = tmp_path_factory.mktemp("moto")
    words = [UV, "tool", "run", "--from", MOTO, "moto_server"]
    fetched = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"moto could not be fetched: {fetched.stderr[-300:]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*words, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log) as server,
    ):
        try:
            _make_bucket(f"{address}/archive")
            yield {
                "AWS_ACCESS_KEY_ID": "me",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": address,
                "AWS_ALLOW_HTTP": "true",
            }
        finally:
            server.terminate()


def _make_bucket(address):
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=5).close()  # noqa: S310
            return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = KeptWorld(tmp_path_factory.mktemp("world"), SPEC)
    for day in range(TODAY, TODAY + 6):
        clock = day * 86_400 + 9 * 3600
        made.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    return made


def test_the_commands_write_and_read_s3(s3, world, monkeypatch):
    environment = {
        "RISK_CHECKPOINT": str(world.checkpoint),
        "RISK_ARCHIVE": "s3://archive/counts",
        "RISK_ARCHIVE_STORAGE": ",".join(f"{key}={value}" for key, value in s3.items()),
    }
    for written in ("2", "0"):
        ran = CliRunner().invoke(app, ["archive"], env=environment, catch_exceptions=False)
        assert next(line.split()[1] for line in ran.stdout.splitlines() if line.startswith("toyville")) == written
        assert SECRET not in ran.output
    for name, value in s3.items():
        monkeypatch.setenv(name, value)  # as `train` finds them
    archived = read_archive("archive:s3://archive/counts@2")
    assert len(archived.table) == 2
    assert archived.version == 2


def test_two_writers_on_s3_do_not_double_a_day(s3, world):
    one, two = (ArchiveTable("s3://archive/both", s3) for _ in range(2))
    archive_region(one, FeedLog(world.checkpoint), SPEC)
    with pytest.raises(SinkError, match="another process writes the archive"):
        archive_region(two, FeedLog(world.checkpoint), SPEC)
    assert one.days("toyville") == {TODAY + 1, TODAY + 2}


def test_a_bucket_that_does_not_exist_is_named_without_secrets(s3):
    with pytest.raises(SinkRefused, match="s3://nowhere/counts cannot be used") as caught:
        ArchiveTable("s3://nowhere/counts", s3)
    assert SECRET not in str(caught.value)
    assert "\x1b" not in str(caught.value)
