"""Incidents of which only an interval is known."""

from datetime import UTC, datetime

import pytest

from models.files.incident_files import read_incidents
from models.files.layouts import parse_layout
from schemas.errors import DataError

LAYOUT = parse_layout("start=from,end=to,lat=y,lon=x,category=kind,timezone=UTC")


def read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_incidents(path, LAYOUT)


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


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
