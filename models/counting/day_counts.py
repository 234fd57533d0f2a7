"""What a region's counts say of one finished day: incidents per cell, category and bin of five minutes.

The registry knows each incident to the second, but forgets. The level of hours does not, so it is the measure: what
it has beyond the registry is given at the start of its hour.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.counting.count_state import CountState
from models.counting.what_counts import counting
from schemas.errors import CheckpointError
from schemas.spec import DAY_S, HOUR_S, Spec

BIN_S = 300
_BINS = DAY_S // BIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """A UTC day's incidents, one row for each cell, category and bin that has any, in that order."""

    day: int  # days since 1970
    cell: npt.NDArray[np.int32]
    category: npt.NDArray[np.int16]  # position in the spec's categories
    bin: npt.NDArray[np.int16]  # begins `bin * BIN_S` seconds after midnight UTC
    count: npt.NDArray[np.int32]
    by_hour: int = 0  # incidents whose bin is not known, only their hour
    open: int = 0  # incidents that a message may still move or cancel: an earlier message gave them a later time
    cut_hours: int | None = None  # bit h is 1: the hour from h:00 UTC says nothing of the city; None: not known

    @property
    def incidents(self) -> int:
        return int(self.count.sum())

    @classmethod
    def binned(
        cls,
        day: int,
        place: npt.NDArray[np.int64],
        bin_: npt.NDArray[np.int64],
        count: npt.NDArray[np.int64],
        spec: Spec,
    ) -> "DayCounts":
        """The day's counts, from those at places (cell x categories + category) and bins, which may repeat."""
        row, inverse = np.unique(place * _BINS + bin_, return_inverse=True)
        at, in_bin = np.divmod(row, _BINS)
        cell, category = np.divmod(at, len(spec.categories))
        return cls(
            day=day,
            cell=cell.astype(np.int32),
            category=category.astype(np.int16),
            bin=in_bin.astype(np.int16),
            count=np.bincount(inverse, count).astype(np.int32),
        )


def newest_closed(clock_s: int, spec: Spec) -> int:
    """The newest day of which every message is refused as late once the clock is there."""
    return (clock_s - spec.registry_keep_s) // DAY_S - 1


def oldest_day(state: CountState) -> int:
    """The oldest day whose hours are all there."""
    return -(-state.levels["hour"].oldest * HOUR_S // DAY_S)


def counts_of_day(state: CountState, day: int, *, clock_s: int) -> DayCounts:
    """The counts of a day that is closed when the clock is `clock_s`.

    Raises CheckpointError when the registry has an incident that the level of hours does not count.
    """
    records = state.registry.records()
    records = records.select(counting(records) & (records.occurred_s // DAY_S == day))
    place = records.cell.astype(np.int64) * len(state.spec.categories) + records.category
    bin_ = records.occurred_s % DAY_S // BIN_S
    missing = _hours(state, day)
    np.subtract.at(missing, (bin_ * BIN_S // HOUR_S, place), 1)
    if missing.min() < 0:
        raise CheckpointError(
            f"the counts of {state.spec.region} are damaged: the registry has {-int(missing[missing < 0].sum())} "
            f"incidents of day {day} since 1970 that the level of hours lacks",
            remedy="restore the checkpoint, or leave this day to an agency's file",
        )
    hour, at = np.nonzero(missing)
    counts = DayCounts.binned(
        day,
        np.concatenate([place, at]),
        np.concatenate([bin_, hour * (HOUR_S // BIN_S)]),
        np.concatenate([np.ones_like(place), missing[hour, at]]),
        state.spec,
    )
    return replace(
        counts,
        by_hour=int(missing.sum()),
        open=int(np.count_nonzero(records.latest_s >= clock_s - state.spec.registry_keep_s)),
    )


def _hours(state: CountState, day: int) -> npt.NDArray[np.int32]:
    """(24, places) counts of the day's hours; none of an hour that the clock has not reached."""
    level = state.levels["hour"]
    hours = np.arange(day * DAY_S // HOUR_S, (day + 1) * DAY_S // HOUR_S)
    counts = level.ring[hours % len(level.ring)].copy()
    counts[(hours < level.oldest) | (hours > level.newest + level.ahead)] = 0
    return counts
