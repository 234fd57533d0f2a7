"""Judged hours added up to local days, against a plain loop."""

from collections import defaultdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gate.shadow_day import ShadowHour, days_of
from tests.harness.toy import toy_spec

ZONE = "America/Chicago"
CHAMPION, CHALLENGER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
VERSIONS = {"spec": toy_spec(timezone=ZONE), "champion": CHAMPION, "challenger": CHALLENGER}
START_S = 1_762_056_000  # 23:00 in Chicago, on the evening before the clocks go back


def hour(tick_s, **changes):
    number = tick_s // 3600 % 97
    fields = {
        "horizon": "1h",
        "champion_version": CHAMPION,
        "challenger_version": CHALLENGER,
        "values": 8,
        "champion": 1.0 + number,
        "challenger": 2.0 + number,
        "baseline": 3.0 + number,
        "observed": {"ems": number, "fire": 1},
        "champion_expected": {"ems": 0.5, "fire": 0.25 * number},
        "challenger_expected": {"ems": 0.75, "fire": 0.5},
    }
    return ShadowHour(tick_s=tick_s, **{**fields, **changes})


def local(tick_s):
    return datetime.fromtimestamp(tick_s, UTC).astimezone(ZoneInfo(ZONE))


@given(st.lists(st.integers(0, 24 * 200), max_size=80, unique=True), st.randoms())
def test_days_are_those_of_a_plain_loop(numbers, random):
    hours = [hour(START_S + number * 3600) for number in numbers]
    random.shuffle(hours)
    by_day = defaultdict(list)
    for one in hours:
        by_day[local(one.tick_s).date()].append(one)
    newest = max(by_day, default=None)
    if newest and max(local(one.tick_s).hour for one in by_day[newest]) < 23:
        del by_day[newest]
    found = days_of(hours, **VERSIONS)
    assert [day.day for day in found] == [str(date) for date in sorted(by_day)]
    for day in found:
        its = by_day[datetime.fromisoformat(day.day).date()]
        assert day.hours == len(its)
        assert day.values == 8 * len(its)
        assert day.challenger == pytest.approx(sum(one.challenger for one in its))
        assert day.observed == {"ems": sum(one.observed["ems"] for one in its), "fire": len(its)}
        assert day.weekday == datetime.fromisoformat(day.day).isoweekday()


def test_the_days_on_which_the_clocks_change_have_23_and_25_hours():
    year = [hour(START_S + number * 3600) for number in range(24 * 365)]
    lengths = {day.day: day.hours for day in days_of(year, **VERSIONS)[1:]}
    assert {day: hours for day, hours in lengths.items() if hours != 24} == {"2025-11-02": 25, "2026-03-08": 23}


def test_an_hour_that_was_written_twice_counts_as_it_stands_last():
    day = [hour(START_S + number * 3600) for number in range(48)]
    again = msgspec.structs.replace(day[3], challenger=100.0)
    plain, repeated = days_of(day, **VERSIONS)[1], days_of([*day, again], **VERSIONS)[1]
    assert repeated.hours == plain.hours
    assert repeated.challenger == pytest.approx(plain.challenger - day[3].challenger + 100)


@pytest.mark.parametrize(
    "other", [{"horizon": "4h"}, {"champion_version": CHALLENGER}, {"challenger_version": CHAMPION}]
)
def test_other_horizons_and_versions_do_not_count(other):
    day = [hour(START_S + number * 3600) for number in range(48)]
    assert days_of([*day, *(msgspec.structs.replace(one, **other) for one in day)], **VERSIONS) == days_of(
        day, **VERSIONS
    )
