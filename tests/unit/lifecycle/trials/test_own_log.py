"""Trials are judged by what the job's log of batches says of the feed."""

from lifecycle.archive.feed import LiveFeed
from schemas.spec import DAY_S
from tests.harness.kept_world import KeptWorld
from tests.unit.counting.test_count_state import CALL, HOUR, SPEC, incidents

MIDNIGHT_S = 20_000 * DAY_S


def test_the_trial_leaves_out_hours_in_which_the_jobs_feed_was_silent(tmp_path):
    world = KeptWorld(tmp_path, SPEC)
    for number in range(72):
        clock_s = MIDNIGHT_S + number * HOUR
        heard = [{**CALL, "key": 4 * number + one, "ago_s": 0} for one in range(4)]
        world.batch(clock_s, None if 30 < number < 40 else incidents(heard, clock_s))
    found = LiveFeed(world.checkpoint).cut_hours(SPEC, MIDNIGHT_S + 47 * HOUR)
    assert found == {20_000 * 24 + hour for hour in range(30, 40)}
