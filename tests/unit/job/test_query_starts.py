"""When the query is started again: with longer and longer pauses, not for ever; and when the clock was set back."""

import pytest

from schemas.errors import BrokerUnavailable
from streaming.job.query_starts import ClockSetBack, ClockWatch, RestartPauses


def test_pauses_double_up_to_half_a_minute_and_end_at_the_time_limit():
    starts = RestartPauses(600.0)
    times = [1000.0 + 70 * n for n in range(9)]
    assert [starts.pause_s(now_s, 5) for now_s in times] == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    with pytest.raises(BrokerUnavailable, match="could not read from it for 630 s") as caught:
        starts.pause_s(1630.0, 5)
    assert caught.value.exit_code == 5


def test_a_batch_between_two_starts_begins_the_count_anew():
    starts = RestartPauses(100.0)
    assert [starts.pause_s(now_s, 0) for now_s in (0.0, 50.0)] == [1, 2]
    assert starts.pause_s(200.0, 1) == 1
    assert starts.pause_s(299.0, 1) == 2
    with pytest.raises(BrokerUnavailable):
        starts.pause_s(300.0, 1)


@pytest.mark.parametrize(("back_s", "is_seen"), [(3600, True), (6.1, True), (5.9, False), (0, False), (-3600, False)])
def test_only_a_clock_that_went_back_is_seen(back_s, is_seen):
    clock = ClockWatch(1.0)
    for steady_s in range(10):
        clock.look(1_700_000_000.0 + steady_s, steady_s)
    if is_seen:
        with pytest.raises(ClockSetBack, match=f"set back by {back_s:.0f} s"):
            clock.look(1_700_000_010.0 - back_s, 10)
    else:
        clock.look(1_700_000_010.0 - back_s, 10)
    clock.look(1_700_000_011.0 - back_s, 11)  # said once


def test_a_clock_that_is_slowed_down_is_not_set_back():
    clock = ClockWatch(1.0)
    for second in range(10_000):
        clock.look(1_700_000_000.0 + 0.5 * second, second)
