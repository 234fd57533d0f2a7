"""The command `archive`, killed at each step of a commit and repeated: no day is lost, torn or there twice."""

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from incident_risk import app
from tests.harness.kept_world import KeptWorld, rows_of
from tests.harness.processes import run_python
from tests.unit.counting.test_count_state import CALL, HOUR, SPEC, incidents
from tests.unit.lifecycle.archive.test_archive import TODAY, days_in, recounted

COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (Debian: apt-get install gcc libc6-dev)")
ROOT = Path(__file__).parents[4]
DAYS = range(TODAY + 1, TODAY + 5)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A week of incidents, some corrected a day later."""
    draw = random.Random(1)
    made = KeptWorld(tmp_path_factory.mktemp("killed"), SPEC)
    for number in range(2 * 24 * 4):
        clock = TODAY * 86_400 + number * HOUR
        key, place = number + 1, {"cell": draw.randrange(4), "category": draw.randrange(2)}
        events = [{**CALL, **place, "key": key, "ago_s": draw.randrange(HOUR)}]
        if number > 24:
            events.append({**CALL, **place, "key": key - 24, "revision": 1, "ago_s": 25 * HOUR})
        made.batch(clock, incidents(events, clock))
    return made


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    library = tmp_path_factory.mktemp("killer") / "kill_at.so"
    source = Path(__file__).with_name("kill_at.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return str(library)


@pytest.mark.parametrize(
    ("file", "when", "committed"),
    [("data", "before", 0), ("data", "after", 0), ("log", "before", 0), ("log", "after", 1)],
)
def test_a_kill_at_any_step_of_a_commit_loses_and_doubles_nothing(world, killer, tmp_path, file, when, committed):
    """At the second day's commit: one day is there, and two are to come."""
    path = tmp_path / "archive"
    hit = {"data": "2", "log": "3"}[file]  # to make the table is a commit, too
    settings = {"RISK_CHECKPOINT": str(world.checkpoint), "RISK_ARCHIVE": str(path)}
    kill = {"LD_PRELOAD": killer, "KILL_AT": file, "KILL_WHEN": when, "KILL_HIT": hit}
    killed = run_python("-m", "incident_risk", "archive", cwd=ROOT, env=os.environ | settings | kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert days_in(rows_of(path)) == list(DAYS)[: 1 + committed]
    CliRunner().invoke(app, ["archive"], env=settings, catch_exceptions=False)
    assert rows_of(path) == recounted(world, DAYS)
