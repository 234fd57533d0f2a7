"""Local time: the wall clock to UTC and back, for whole columns, and hours of the local week (0 is Monday's first).

With it days by their names: the holidays of a place, and days known in advance that a file names.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.files import sha256
from schemas.limits import MAX_CALENDAR_DAYS
from schemas.spec import DAY_S, HOUR_S, SLUG

Seconds = npt.NDArray[np.int64]
HOURS = 168
DAY_BLOCKS = 16  # three hours of the day each, weekdays and weekends apart
_MONDAY_HOUR = 72  # 1970-01-01 was a Thursday
_WEEKEND_FROM = 120

BLOCK_OF_HOUR: npt.NDArray[np.intp] = np.arange(HOURS) % 24 // 3 + DAY_BLOCKS // 2 * (np.arange(HOURS) >= _WEEKEND_FROM)
HOURS_OF_BLOCK: npt.NDArray[np.float64] = (np.arange(DAY_BLOCKS)[:, None] == BLOCK_OF_HOUR).astype(np.float64)
for _constant in (BLOCK_OF_HOUR, HOURS_OF_BLOCK):
    _constant.flags.writeable = False


def minute(at_s: float) -> str:
    """`2017-10-01 05:00`, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")


def local_from_utc(utc_s: Seconds, timezone: str) -> Seconds:
    """(n,) seconds of the local wall clock, counted as if it were UTC, at each of the (n,) instants."""
    if not len(utc_s):
        return utc_s
    change_s, offset_s = _offsets(int(utc_s.min()), int(utc_s.max()), timezone)
    return np.asarray(utc_s + offset_s[np.searchsorted(change_s, utc_s, side="right")])


def utc_from_local(local_s: Seconds, timezone: str) -> tuple[Seconds, npt.NDArray[np.int8]]:
    """(n,) instants of the (n,) wall-clock times, and (n,) how the clock read them.

    0: once. 1: twice, as clocks went back; the first reading is taken. -1: never, as clocks went forward; the time
    is moved on by the change. Both are what PEP 495 gives for `fold=0`.
    """
    if not len(local_s):
        return local_s, np.zeros(0, np.int8)
    change_s, offset_s = _offsets(int(local_s.min()) - DAY_S, int(local_s.max()) + DAY_S, timezone)
    before = change_s + offset_s[:-1]  # what the clock showed when it was changed
    after = change_s + offset_s[1:]  # and what it showed from then on
    upper, lower = np.maximum(before, after), np.minimum(before, after)
    segment = np.searchsorted(upper, local_s, side="right")
    reading = np.zeros(len(local_s), np.int8)
    for start, end, back in zip(lower, upper, after < before, strict=True):
        reading[(local_s >= start) & (local_s < end)] = 1 if back else -1
    return local_s - offset_s[segment], reading


def hour_of_week(utc_s: npt.NDArray[np.int64], timezone: str) -> npt.NDArray[np.float64]:
    """(n,) position in the local week of each instant, 0 <= x < 168 hours."""
    return np.asarray((local_from_utc(utc_s, timezone) / HOUR_S + _MONDAY_HOUR) % HOURS)


def hours_within(start_s: int, stop_s: int, timezone: str) -> npt.NDArray[np.float64]:
    """(168,) hours that [start_s, stop_s) spends in each hour of the local week; they sum to its length."""
    change_s, offset_s = _offsets(start_s, stop_s, timezone)
    hours = np.zeros(HOURS)
    edges = [start_s, *change_s[(change_s > start_s) & (change_s < stop_s)].tolist(), stop_s]
    for begin_s, end_s in pairwise(edges):  # between two changes of the clock
        offset = int(offset_s[np.searchsorted(change_s, begin_s, side="right")])
        first, last = (begin_s + offset) // HOUR_S, (end_s + offset - 1) // HOUR_S  # the hours that it touches
        weeks, more = divmod(last - first + 1, HOURS)
        hours += weeks
        hours[(np.arange(first, first + more) + _MONDAY_HOUR) % HOURS] += 1
        hours[(first + _MONDAY_HOUR) % HOURS] -= (begin_s + offset - first * HOUR_S) / HOUR_S
        hours[(last + _MONDAY_HOUR) % HOURS] -= ((last + 1) * HOUR_S - end_s - offset) / HOUR_S
    return hours


def _offsets(first_s: int, last_s: int, timezone: str) -> tuple[Seconds, Seconds]:
    """(changes,) when the zone's offset changes, in UTC; (changes + 1,) its offsets before, between and after.

    All changes from `first_s` to `last_s` are among them.
    """
    return _offsets_of_days(first_s // DAY_S, -(-last_s // DAY_S), timezone)


@lru_cache(maxsize=4096)  # every frame of features asks for the same days
def _offsets_of_days(first: int, last: int, timezone: str) -> tuple[Seconds, Seconds]:
    """`_offsets`, sampled daily and bisected: no zone has changed its clock twice within one day since 1970."""
    zone, first_s, last_s = zone_of(timezone), first * DAY_S, last * DAY_S

    def offset_at(utc_s: int) -> int:
        offset = datetime.fromtimestamp(utc_s, UTC).astimezone(zone).utcoffset()
        return int(offset.total_seconds()) if offset else 0

    change_s: list[int] = []
    offset_s = [offset_at(first_s)]
    for end in range(first_s + DAY_S, last_s + 2 * DAY_S, DAY_S):
        if (after := offset_at(end)) != offset_s[-1]:
            low, high = end - DAY_S, end
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if offset_at(middle) == after else (middle, high)
            change_s.append(high)
            offset_s.append(after)
    changes = np.array(change_s, np.int64), np.array(offset_s, np.int64)
    for array in changes:
        array.flags.writeable = False
    return changes


def zone_of(timezone: str) -> ZoneInfo:
    """The zone of that IANA name. Raises DataError when there is none."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise DataError(f"{timezone!r} is no time zone", "give an IANA name such as America/Chicago") from error


YEARS_AHEAD = 5  # with holidays, beyond the training data; afterwards no day is a holiday
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Local days that are known in advance, such as school holidays, matches and festivals, by name."""

    names: tuple[str, ...] = ()  # sorted
    days: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2) which name, since 1970
    sha256: str | None = None  # of their file

    @classmethod
    def read(cls, file: str) -> "Calendar":
        """The days of a CSV file with the columns date and name; none where `file` is empty. Raises DataError."""
        if not file:
            return cls()
        remedy = "give a CSV file with the columns date and name, a row for each day, as 2026-03-02,school_holidays"
        days: set[tuple[str, int]] = set()
        try:
            content = Path(file).read_bytes()
            for number, row in enumerate(csv.DictReader(content.decode("utf-8-sig").splitlines()), start=1):
                name, day = row.get("name") or "", row.get("date") or ""
                if not re.fullmatch(SLUG, name) or not re.fullmatch(r"(19[7-9]|20\d)\d-\d\d-\d\d", day):
                    raise DataError(f"{file}, data row {number}: date {day[:40]!r}, name {name[:99]!r}", remedy)
                days.add((name, (date.fromisoformat(day) - _EPOCH).days))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{file} cannot be read ({error})", remedy) from error
        if not 0 < len(days) <= MAX_CALENDAR_DAYS:
            raise DataError(f"{file} has {len(days):,} days, 1 to {MAX_CALENDAR_DAYS:,} are read", remedy)
        names = sorted({name for name, _ in days})
        placed = [(names.index(name), day) for name, day in sorted(days)]
        return cls(names=tuple(names), days=np.array(placed, np.float64), sha256=sha256(content))

    def warnings(self, cutoff_s: int) -> Iterator[str]:
        """Which names have no day before `cutoff_s` to learn from, or none after it to know."""
        for number, name in enumerate(self.names):
            days = self.days[self.days[:, 0] == number, 1]
            if not days.min() < cutoff_s // DAY_S <= days.max():
                first, last = (_EPOCH + timedelta(days=int(day)) for day in (days.min(), days.max()))
                yield f"{name} has days from {first} to {last}: give those to learn from and those that are coming"


def holiday_days(place: str, first_s: int, last_s: int) -> npt.NDArray[np.float64]:
    """(n,) local days since 1970 that are holidays, from the year before `first_s` to YEARS_AHEAD after `last_s`.

    place: by ISO 3166-2, like FR or US-IL; empty: no holidays. Raises DataError for a place without a calendar.
    """
    if not place:
        return np.zeros(0)
    import holidays  # a second; most commands need none

    country, _, part = place.partition("-")
    first_year, last_year = (datetime.fromtimestamp(at_s, UTC).year for at_s in (first_s, last_s))
    years = range(first_year - 1, last_year + YEARS_AHEAD + 1)
    try:
        dates = holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as error:
        remedy = f"name the country alone, {country}" if part else "name a country by ISO 3166-2, like US or US-IL"
        raise DataError(f"no calendar of holidays is known for {place}", remedy) from error
    return np.array(sorted((day - _EPOCH).days for day in dates), np.float64)
