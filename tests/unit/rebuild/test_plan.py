"""The plan of a rebuild: which batches are counted, and which of them give points."""

import pytest

from schemas.errors import CheckpointError
from streaming.disk.checkpoint import set_aside
from streaming.rebuild import plan_rebuild
from tests.unit.disk.test_batch_log import DAY_S, NOON, SPEC, keep

SPECS = {"toyville": SPEC, "elsewhere": SPEC}
ALL = range(0, 2 * NOON)


def test_it_takes_the_last_scores_of_each_tick_and_counts_from_the_start_of_their_day(tmp_path):
    #  day 1 |  0:A 1:A |   day 2 |  2:B  3:B(not scored)  4:C  5:D |   ticks A..D of a minute, span = B and C
    batches = [(0, 0, True), (1, 30, True), (2, DAY_S, True), (3, DAY_S + 30, False), (4, DAY_S + 60, True)]
    for number, after_s, scored in [*batches, (5, DAY_S + 120, True)]:
        keep(tmp_path, number, at_s=NOON + after_s, scored=scored)
    plan = plan_rebuild(tmp_path, SPECS, range(NOON + DAY_S, NOON + DAY_S + 120), is_beside=True)
    assert [batch.number for batch in plan.batches] == [2, 3, 4]
    assert plan.frames == {(2, "toyville"), (4, "toyville")}
    assert plan.offsets == {0: (20, 50)}
    whole = plan_rebuild(tmp_path, SPECS, ALL, is_beside=False)
    assert [batch.number for batch in whole.batches] == [0, 1, 2, 3, 4, 5]
    assert whole.frames == {(number, "toyville") for number in (1, 2, 4, 5)}
    with pytest.raises(CheckpointError, match="log of batches, which holds 2026-11-25 to 2026-11-26 and keeps 35 days"):
        plan_rebuild(tmp_path, SPECS, range(0, NOON), is_beside=False)


def test_beside_a_job_each_regions_newest_tick_is_left_to_the_job(tmp_path):
    keep(tmp_path, 0, at_s=NOON, region="elsewhere")
    for number, after_s in ((1, 0), (2, 600), (3, 630)):
        keep(tmp_path, number, at_s=NOON + after_s)
    assert plan_rebuild(tmp_path, SPECS, ALL, is_beside=True).frames == {(1, "toyville")}
    with pytest.raises(CheckpointError, match="no score"):
        plan_rebuild(tmp_path, SPECS, range(NOON + 600, NOON + 660), is_beside=True)


def test_the_log_of_a_checkpoint_that_was_set_aside_still_gives_the_plan(tmp_path):
    for number, after_s in enumerate((0, 30, 90)):
        keep(tmp_path, number, at_s=NOON + after_s)
    before = plan_rebuild(tmp_path, SPECS, ALL, is_beside=False)
    old = set_aside(tmp_path, "20261125T130000Z", from_ms=0)
    with pytest.raises(CheckpointError, match="log of batches, which is empty"):
        plan_rebuild(tmp_path, SPECS, ALL, is_beside=False)
    assert plan_rebuild(old, SPECS, ALL, is_beside=False) == before
