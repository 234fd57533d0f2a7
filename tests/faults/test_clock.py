"""The machine's clock is set back while the job runs: the real job, Java too, under a clock of its own; the recount."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.sent import events

COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (Debian: apt-get install gcc libc6-dev)"),
]


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    library = tmp_path_factory.mktemp("clock") / "set_back.so"
    source = Path(__file__).with_name("set_back.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.mark.fault("F20")
def test_a_machines_clock_that_is_set_back_an_hour_stops_no_score(preloaded, job, record_property):
    scorer, region, sent = job()
    off_by = scorer.folder / "off_by"
    off_by.write_text("0", encoding="utf-8")
    scorer.start(LD_PRELOAD=str(preloaded), CLOCK_OFF_BY=str(off_by))
    sent.send(events(region, range(30)))
    sent.wait()
    off_by.write_text("-3600", encoding="utf-8")
    began = time.monotonic()
    sent.send(events(region, range(30, 60)))
    sent.recovers(began, record_property)
    assert "set back by 3600 s" in " ".join(scorer.output.split())
    assert scorer.end(signal.SIGTERM) == 0
    sent.check()
