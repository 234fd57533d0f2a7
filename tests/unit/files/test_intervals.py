"""Incidents of which only an interval is known: a time that is drawn lies in it, and every second is as likely."""

import numpy as np
import pytest

from models.files.incident_files import draw_within, read_incidents
from models.files.layouts import parse_layout
from schemas.errors import DataError
from tests.unit.files.test_incident_files import utc

HOUR = 3600
LAYOUT = parse_layout("start=from,end=to,lat=y,lon=x,category=kind,timezone=UTC")


def read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_incidents(path, LAYOUT)


def intervals(*pairs):
    return "from,to,y,x,kind\n" + "".join(f"{start},{end},41.9,-87.6,theft\n" for start, end in pairs)


def test_an_interval_gives_one_time_inside_it_the_same_whenever_it_is_read(tmp_path):
    text = intervals(*[("2017-01-01T22:00", "2017-01-02T06:00")] * 200)
    tables = [read(tmp_path, text), read(tmp_path, text)]
    first, again = (table.occurred_s.tolist() for table in tables)
    assert first == again == sorted(first)
    assert len(set(first)) > 190
    assert utc("2017-01-01 22:00") <= first[0] < utc("2017-01-01 23:00")
    assert utc("2017-01-02 05:00") <= first[-1] < utc("2017-01-02 06:00")
    assert (tables[0].uncertain_times, tables[0].exact_duplicates) == (200, 199)


def test_an_interval_without_length_or_without_an_end_is_the_time_of_its_start(tmp_path):
    table = read(tmp_path, intervals(("2017-01-02T22:00", "2017-01-02T22:00"), ("2017-01-01T06:00", " ")))
    assert table.occurred_s.tolist() == [utc("2017-01-01 06:00"), utc("2017-01-02 22:00")]
    assert (table.uncertain_times, table.row.tolist(), table.out_of_order) == (0, [2, 1], 1)


def test_intervals_that_cannot_be_used_are_counted_by_reason(tmp_path):
    text = intervals(
        *[("2017-01-01T00:00", "2017-01-08T00:00")] * 20,
        ("2017-01-01T00:00", "2017-01-08T00:01"),
        ("2017-01-01T00:00", "2016-12-31T23:59"),
        ("2017-01-01T00:00", "later"),
        ("2017-01-01T00:00", "9999-01-01T00:00"),
        ("", "2017-01-01T00:00"),
    )
    table = read(tmp_path, text)
    assert len(table) == 20
    assert table.skipped == {"interval_too_long": 1, "end_before_start": 1, "bad_end": 2, "no_time": 1}


def test_a_category_of_skipped_intervals_only_is_none(tmp_path):
    text = intervals(("2017-01-01T00:00", "2017-01-01T01:00")) + "2017-01-02T00:00,2017-01-01T00:00,41.9,-87.6,arson\n"
    assert read(tmp_path, text).categories == ("theft",)
    with pytest.raises(DataError, match="end_before_start"):
        read(tmp_path, intervals(("2017-01-02T00:00", "2017-01-01T00:00")))


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
