"""Locks, logs and health between processes, and what the health check costs to import."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from schemas.audit.verify import verify
from schemas.errors import CheckpointError
from schemas.left_behind.health import JobHealth, StoredBatch, health_path
from streaming.disk.locks import only_writer
from streaming.watch.health import judged, read_health
from tests.harness.processes import run_python

NOW = datetime(2026, 11, 25, 2, 14, tzinfo=UTC)
HOLDS = """
import os, sys, time
from pathlib import Path
from streaming.disk.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    os._exit(9)
"""
WRITER = """
import sys
from pathlib import Path
from schemas.audit.log import record
for number in range(40):
    record(Path(sys.argv[1]), "rebuild", {"writer": sys.argv[2], "number": number}, at_s=1.0)
"""


@pytest.mark.fault("F32")
def test_a_second_writer_is_refused_until_the_first_has_ended_however_it_ends(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path), "60"], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match=f"in use by process {first.pid} on"), only_writer(tmp_path):
            pass
        first.kill()
        first.wait()
    with only_writer(tmp_path):
        pass


@pytest.mark.fault("F42")
def test_two_writers_take_turns(tmp_path):
    path = tmp_path / "new" / "audit.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    verdict = verify(path.read_bytes())
    assert (len(verdict.records), verdict.faults) == (80, [])


def test_a_job_that_was_killed_is_not_ready_however_new_its_file(tmp_path):
    assert run_python("-c", HOLDS, tmp_path, "0").returncode == 9
    for seconds, said in ((200, "3 min ago"), (0, "0 s ago")):
        health = JobHealth(
            process=4242,
            started_at=NOW - timedelta(hours=1),
            written_at=NOW - timedelta(seconds=seconds),
            clock="wall",
            trigger_s=0.5,
            last_batch=StoredBatch(17, NOW - timedelta(seconds=seconds)),
        )
        health_path(tmp_path).write_bytes(msgspec.json.encode(judged(health)))
        reason = read_health(tmp_path, NOW)[1]
        assert reason == f"no job is running: process 4242 ended without a report, last wrote {said}"


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("streaming.watch.health", {"pyspark", "torch", "pandas", "pyarrow", "influxdb_client", "kafka", "numpy"}),
        ("streaming.__main__", {"pyspark", "torch", "pandas", "pyarrow", "influxdb_client"}),  # with all other commands
    ],
)
def test_the_check_imports_nothing_that_is_slow(module, slow):
    code = f"import sys, {module}; print(sorted({slow!r} & sys.modules.keys()))"
    done = run_python("-c", code)
    assert done.stdout.strip() == "[]"
