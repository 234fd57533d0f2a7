from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.local_time import HOURS, hours_within, local_from_utc, utc_from_local
from schemas.errors import DataError

ZONES = ["America/Chicago", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# from 2010 to 2030, with the hours around changes of the clock in Chicago drawn often
MOMENTS = st.integers(1_262_304_000, 1_893_456_000) | st.integers(1_489_280_000, 1_489_320_000)
COLUMNS = st.lists(MOMENTS | st.integers(1_509_830_000, 1_509_890_000), min_size=1, max_size=20)


def wall(*clocks):
    return [int(datetime.fromisoformat(clock).replace(tzinfo=UTC).timestamp()) for clock in clocks]


@settings(max_examples=40)
@given(wall_s=COLUMNS, zone=st.sampled_from(ZONES))
@example(wall("2017-03-12T02:30", "2017-03-12T03:00", "2017-11-05T01:00", "2017-11-05T02:00"), "America/Chicago")
@example(wall("2017-05-13T23:30"), "America/Santiago")  # clocks go back at midnight, which is another day in UTC
def test_wall_clock_times_become_the_instants_that_zoneinfo_gives(wall_s, zone):
    naive = [datetime.fromtimestamp(s, UTC).replace(tzinfo=ZoneInfo(zone)) for s in wall_s]
    expected = [int(when.timestamp()) for when in naive]
    twice = [when.replace(fold=1).utcoffset() < when.utcoffset() for when in naive]
    never = [when.replace(fold=1).utcoffset() > when.utcoffset() for when in naive]

    utc_s, reading = utc_from_local(np.array(wall_s, np.int64), zone)

    assert utc_s.tolist() == expected
    assert reading.dtype == np.int8
    assert (reading == 1).tolist() == twice
    assert (reading == -1).tolist() == never


def test_no_times_are_no_instants():
    utc_s, reading = utc_from_local(np.zeros(0, np.int64), "America/Chicago")
    assert (utc_s.shape, reading.shape, reading.dtype) == ((0,), (0,), np.int8)


@settings(max_examples=40)
@given(utc_s=COLUMNS, zone=st.sampled_from(ZONES))
@example([1_489_305_599, 1_489_305_600], "America/Chicago")  # the last second before a change, and its instant
def test_instants_become_the_wall_clock_times_that_zoneinfo_gives(utc_s, zone):
    clocks = [datetime.fromtimestamp(s, ZoneInfo(zone)).replace(tzinfo=UTC) for s in utc_s]
    expected = [int((clock - EPOCH).total_seconds()) for clock in clocks]
    assert local_from_utc(np.array(utc_s, np.int64), zone).tolist() == expected


@settings(max_examples=40)
@given(
    start_s=MOMENTS | st.integers(1_509_830_000, 1_509_890_000),
    minutes=st.integers(1, 1500) | st.integers(10_000, 10_200),
    zone=st.sampled_from(ZONES),
    less_s=st.sampled_from([1, 7, 58, 59]),
)
@example(1_500_000_000, 20, "UTC", 1)  # 14 July 2017, 02:40
@example(1_500_000_000, 21, "UTC", 59)
def test_a_stretch_spends_its_minutes_in_the_hours_of_the_week_that_zoneinfo_gives(start_s, minutes, zone, less_s):
    start_s = start_s // 60 * 60
    clocks = [datetime.fromtimestamp(start_s + 60 * minute, ZoneInfo(zone)) for minute in range(minutes)]
    hours = [clock.weekday() * 24 + clock.hour for clock in clocks]
    expected = np.bincount(hours, minlength=HOURS) / 60
    stop_s = start_s + 60 * minutes
    np.testing.assert_allclose(hours_within(start_s, stop_s, zone), expected, atol=1e-9)
    expected[hours[0]] -= 1 / 3600  # it begins and ends within a minute
    expected[hours[-1]] -= less_s / 3600
    np.testing.assert_allclose(hours_within(start_s + 1, stop_s - less_s, zone), expected, atol=1e-9)


def test_an_unknown_zone_is_named_in_the_error():
    with pytest.raises(DataError, match="Atlantis"):
        utc_from_local(np.zeros(1, np.int64), "Atlantis/Town")
