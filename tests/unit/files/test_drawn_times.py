"""A time that is drawn inside an interval lies in it, and every second of it is as likely."""

import numpy as np

from models.files.incident_files import draw_within

HOUR = 3600


def array(*seconds):
    return np.array(seconds, np.int64)


def test_each_step_gets_the_share_of_the_interval_that_lies_in_it():
    #  hour      0         1         2         3
    #  interval     [-----------------------)         0:30 to 2:45
    start, end = array(HOUR // 2), array(11 * HOUR // 4)
    draws = 20_000
    times = draw_within(np.repeat(start, draws), np.repeat(end, draws), np.random.default_rng(5))
    shares = np.histogram(times, array(0, HOUR, 2 * HOUR, 3 * HOUR))[0] / draws
    due = np.array([0.5, 1, 0.75]) / 2.25
    assert (np.abs(shares - due) < 4 * np.sqrt(due * (1 - due) / draws)).all()
    assert shares.sum() == 1


def test_every_second_of_an_interval_can_be_drawn_and_its_end_cannot():
    times = draw_within(np.repeat(array(7), 200), np.repeat(array(10), 200), np.random.default_rng(0))
    assert set(times.tolist()) == {7, 8, 9}
    assert draw_within(array(7), array(7), np.random.default_rng(0)).tolist() == [7]


def test_equal_seeds_draw_equal_times():
    start, end = np.zeros(50, np.int64), np.full(50, HOUR)
    first, again, other = (draw_within(start, end, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
