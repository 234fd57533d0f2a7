"""A trial whose hours nobody judges says so: no judge runs, or no job."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lifecycle.gate.judged_late import judged_late
from lifecycle.gate.shadow_day import shadow_path
from schemas.left_behind.closed_counts import ClosedCounts, ClosedFiles, ClosedHorizon, closed_folder, last_grace_s
from tests.harness.judged import judged_hour
from tests.harness.toy import toy_spec

SPEC = toy_spec(region="town")
NEWEST_S = 1_800_000_000
DUE_S = NEWEST_S + SPEC.horizons_s[0] + last_grace_s(SPEC)
LATE_S = NEWEST_S + (1 + 24 + 1 + 3) * 3600 + 1  # itself, late reports, grace, judge


@dataclass
class World:
    checkpoint: Path

    def judged_at(self, tick_s):
        path = shadow_path(self.checkpoint, "town")
        path.parent.mkdir(parents=True)
        path.write_bytes(msgspec.json.encode(judged_hour(tick_s)) + b"\n")

    def closed(self):
        observed = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=0, tick_s=NEWEST_S, judged_s=DUE_S, observed=observed)
        ClosedFiles(closed_folder(self.checkpoint)).keep(SPEC, [ClosedCounts.of(closed)])

    def late(self, now_s, *, since_s=0):
        return judged_late(self.checkpoint, SPEC, since_s=since_s, now_s=now_s)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.usefixtures("far_from_utc")
def test_counts_that_wait_want_a_judge(world):
    world.judged_at(NEWEST_S)
    world.closed()
    assert world.late(LATE_S - 1) == ""
    assert world.late(LATE_S) == (
        "the newest judged hour began at 2027-01-15 08:00 UTC, and 1 files of counts wait: "
        "see `python -m lifecycle watch --check`"
    )


def test_without_counts_that_wait_the_job_stands_still(world):
    world.judged_at(NEWEST_S)
    assert "see whether it runs, and RISK_CHECKPOINT" in world.late(LATE_S)


def test_a_young_trial_has_no_hours_yet(world):
    assert world.late(LATE_S - 1, since_s=NEWEST_S) == ""
    assert world.late(LATE_S, since_s=NEWEST_S).startswith("no hour is judged, ")
