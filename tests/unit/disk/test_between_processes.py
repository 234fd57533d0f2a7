"""Locks and logs between processes, and what the health check costs to import."""

import subprocess
import sys

import pytest

from schemas.audit import verify
from schemas.errors import CheckpointError
from streaming.disk.checkpoint import only_writer
from tests.harness.processes import run_python

HOLDS = """
import os, sys, time
from pathlib import Path
from streaming.disk.checkpoint import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    os._exit(9)
"""
WRITER = """
import sys
from pathlib import Path
from schemas.audit import record
path = Path(sys.argv[1])
for number in range(40):
    aside = path.with_name(f"{number}.aside") if sys.argv[2:] == ["a", "aside"] and number % 10 == 9 else None
    record(path, "stop", {"writer": sys.argv[2], "number": number}, at_s=1.0, aside=aside)
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


@pytest.mark.fault("F42")
def test_no_line_of_another_writer_is_lost_when_the_log_is_set_aside(tmp_path):
    path = tmp_path / "audit.jsonl"
    words = (("a", "aside"), ("b",))
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), *each]) for each in words]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    verdicts = [verify(log.read_bytes()) for log in (path, *tmp_path.glob("*.aside"))]
    assert [verdict.faults for verdict in verdicts] == [[]] * 5
    written = [(entry.details["writer"], entry.details["number"]) for of in verdicts for entry in of.records]
    assert {*written} == {(writer, number) for writer in "ab" for number in range(40)}
    assert len(written) == 80 + 4  # the record of each setting aside ends one log and begins the next


def test_the_health_check_imports_nothing_that_is_slow():
    slow = {"pyspark", "torch", "pandas", "pyarrow", "influxdb_client"}
    done = run_python(
        "-c", f"import sys, incident_risk, streaming.job_health; print(sorted({slow!r} & sys.modules.keys()))"
    )
    assert done.stdout.strip() == "[]"
