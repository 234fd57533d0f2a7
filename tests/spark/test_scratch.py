"""What Spark shuffles, with refused payloads and places, outlives a killed job only where nobody else can read it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.harness.file_job import FileJob
from tests.harness.random_world import NOW
from tests.harness.region_bench import empty_history
from tests.harness.toy import iso, toy_record

PAYLOAD = b"zebrafinch7731"
JOB = """
import os, signal, sys
from pathlib import Path
from streaming.spark import spark_session
from tests.harness.file_job import FileJob


class Deadly(list):
    def append(self, published):  # what is published stands in a batch that has not ended
        if published.summaries:
            os.killpg(0, signal.SIGKILL)


folder, cache = map(Path, sys.argv[1:])
settings = FileJob(session=None, folder=folder).settings
settings = settings.with_options(cache=cache, master="local[1,4]", shuffle_partitions=2)
with spark_session(settings) as session:
    job = FileJob(session=session, folder=folder, published=Deadly())
    job.start()
    job.wait_for_end()
"""


def content(*folders):
    """Of all files in them. Other tests remove theirs meanwhile."""
    whole = b""
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):
                whole += path.read_bytes() if path.is_file() and path.stat().st_size < 1_000_000 else b""
    return whole


@pytest.fixture
def temporary():
    """A folder with a short name: that of a socket in it has 107 characters at most."""
    with TemporaryDirectory(prefix="r-") as name:
        yield Path(name)


@pytest.mark.jvm
def test_a_killed_job_leaves_nothing_that_others_can_read_and_the_next_start_clears_it(
    tmp_path, toy, publish, jar_cache, temporary
):
    spec, folder = toy("riverton"), tmp_path / "job"
    job = FileJob(session=None, folder=folder)
    job.artifacts.mkdir(parents=True)
    publish(job.artifacts, spec, history=empty_history(spec))
    lat, lon = 41.01, -87.99

    def killed(number):
        """Of a job in a process group of its own, once it has counted all; with whatever it started."""
        call = toy_record(region="riverton", occurred_at=iso(NOW), category="ems", lat=lat, lon=lon)
        call = json.dumps({**call, "incident_id": str(number)}).encode()
        refused = b'{"region": "riverton", ' + PAYLOAD
        job.send([(call, 0, 2 * number, NOW * 1000), (refused, 0, 2 * number + 1, NOW * 1000)])
        words = [sys.executable, "-c", JOB, folder, jar_cache]
        environment = {**os.environ, "TMPDIR": str(temporary)}
        process = subprocess.Popen(words, env=environment, process_group=0)
        assert process.wait(240) == -signal.SIGKILL

    killed(0)
    (scratch,) = temporary.glob("incident-risk-*")
    assert (scratch.stat().st_mode & 0o777, scratch.stat().st_uid) == (0o700, os.getuid())
    assert PAYLOAD in content(scratch)  # else this test would show nothing
    usual = Path("/tmp")  # noqa: S108 - where Java puts it otherwise, whatever TMPDIR says
    outside = content(*(folder for name in ("blockmgr-*", "spark-*") for folder in usual.glob(name)))
    assert PAYLOAD not in outside
    before = set(scratch.rglob("*"))
    assert {".so", ".sock", ".data"} <= {path.suffix for path in before}
    killed(1)
    assert not before & set(scratch.rglob("*"))
