"""Hours of the local week: what a stretch of time consists of. Hour 0 is Monday 00:00 to 01:00 local time."""

import numpy as np
import numpy.typing as npt

from models.local_time import local_from_utc

HOURS = 168
DAY_BLOCKS = 16  # three hours of the day each, weekdays and weekends apart
_QUARTER_S = 900  # every zone's offset and every change of clocks is a whole number of quarter hours
_MONDAY_HOUR = 72  # 1970-01-01 was a Thursday
_WEEKEND_FROM = 120

BLOCK_OF_HOUR: npt.NDArray[np.intp] = np.arange(HOURS) % 24 // 3 + DAY_BLOCKS // 2 * (np.arange(HOURS) >= _WEEKEND_FROM)
HOURS_OF_BLOCK: npt.NDArray[np.float64] = (np.arange(DAY_BLOCKS)[:, None] == BLOCK_OF_HOUR).astype(np.float64)
for _constant in (BLOCK_OF_HOUR, HOURS_OF_BLOCK):
    _constant.flags.writeable = False


def hour_of_week(utc_s: npt.NDArray[np.int64], timezone: str) -> npt.NDArray[np.float64]:
    """(n,) position in the local week of each instant, 0 <= x < 168 hours."""
    return np.asarray((local_from_utc(utc_s, timezone) / 3600 + _MONDAY_HOUR) % HOURS)


def hours_within(start_s: int, stop_s: int, timezone: str) -> npt.NDArray[np.float64]:
    """(168,) hours that [start_s, stop_s) spends in each hour of the local week; they sum to its length."""
    marks = np.arange(start_s // _QUARTER_S + 1, -(-stop_s // _QUARTER_S), dtype=np.int64) * _QUARTER_S
    edges = np.concatenate([[start_s], marks, [stop_s]])
    starts = edges[:-1]
    local_hour = (local_from_utc(starts, timezone) // 3600 + _MONDAY_HOUR) % HOURS
    return np.asarray(np.bincount(local_hour, weights=np.diff(edges) / 3600, minlength=HOURS), np.float64)
