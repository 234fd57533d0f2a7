"""Local wall-clock time to UTC and back, for whole columns, and hours of the local week: hour 0 is Monday's first."""

from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError

Seconds = npt.NDArray[np.int64]
_DAY_S = 86_400
HOURS = 168
DAY_BLOCKS = 16  # three hours of the day each, weekdays and weekends apart
_HOUR_S = 3600
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
    change_s, offset_s = _offsets(int(local_s.min()) - _DAY_S, int(local_s.max()) + _DAY_S, timezone)
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
    return np.asarray((local_from_utc(utc_s, timezone) / 3600 + _MONDAY_HOUR) % HOURS)


def hours_within(start_s: int, stop_s: int, timezone: str) -> npt.NDArray[np.float64]:
    """(168,) hours that [start_s, stop_s) spends in each hour of the local week; they sum to its length."""
    change_s, offset_s = _offsets(start_s, stop_s, timezone)
    hours = np.zeros(HOURS)
    edges = [start_s, *change_s[(change_s > start_s) & (change_s < stop_s)].tolist(), stop_s]
    for begin_s, end_s in pairwise(edges):  # between two changes of the clock
        offset = int(offset_s[np.searchsorted(change_s, begin_s, side="right")])
        first, last = (begin_s + offset) // _HOUR_S, (end_s + offset - 1) // _HOUR_S  # the hours that it touches
        weeks, more = divmod(last - first + 1, HOURS)
        hours += weeks
        hours[(np.arange(first, first + more) + _MONDAY_HOUR) % HOURS] += 1
        hours[(first + _MONDAY_HOUR) % HOURS] -= (begin_s + offset - first * _HOUR_S) / _HOUR_S
        hours[(last + _MONDAY_HOUR) % HOURS] -= ((last + 1) * _HOUR_S - end_s - offset) / _HOUR_S
    return hours


def _offsets(first_s: int, last_s: int, timezone: str) -> tuple[Seconds, Seconds]:
    """(changes,) when the zone's offset changes, in UTC; (changes + 1,) its offsets before, between and after.

    All changes from `first_s` to `last_s` are among them.
    """
    return _offsets_of_days(first_s // _DAY_S, -(-last_s // _DAY_S), timezone)


@lru_cache(maxsize=4096)  # every frame of features asks for the same days
def _offsets_of_days(first: int, last: int, timezone: str) -> tuple[Seconds, Seconds]:
    """`_offsets`, sampled daily and bisected: no zone has changed its clock twice within one day since 1970."""
    zone, first_s, last_s = zone_of(timezone), first * _DAY_S, last * _DAY_S

    def offset_at(utc_s: int) -> int:
        offset = datetime.fromtimestamp(utc_s, UTC).astimezone(zone).utcoffset()
        return int(offset.total_seconds()) if offset else 0

    change_s: list[int] = []
    offset_s = [offset_at(first_s)]
    for end in range(first_s + _DAY_S, last_s + 2 * _DAY_S, _DAY_S):
        if (after := offset_at(end)) != offset_s[-1]:
            low, high = end - _DAY_S, end
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
