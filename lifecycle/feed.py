"""Which hours of a day say nothing of the city: the feed was silent in them, or too many messages were refused.

The rules of refused messages are those of the alerts `Too many rejects` and `Most messages of a small feed refused`,
on what the job has logged of each batch. A small region has quiet hours without any fault, and to cut these out would
teach a model that there are none. So a silence must also be too long for chance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.counting.blobs import read_counts
from models.counting.count_state import CountState
from models.files.incident_archive import day_text
from schemas.batches import LoggedRegion, batches_folder, counts_path, logged_batches, logged_days
from schemas.spec import DAY_S, HOUR_S, Spec

SILENT_S = 3 * HOUR_S  # since the newest incident
MEAN_GAPS = 10  # a gap so many times the mean occurs by chance once in 20,000 times
HALF_HOUR_S, SIX_HOURS_S = HOUR_S // 2, 6 * HOUR_S
LEAST, SHARE = 20, 0.05  # messages, and how many of them may be refused: in half an hour, or in six with fewer
SMALL_LEAST, SMALL_SHARE = 5, 0.5  # the same of a small feed, in six hours
_DAYS_AFTER = 2  # whose batches still say something of a day: of a silence that began in it
_NEWEST_DAYS = 4  # of which a running job may learn more


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFeed:
    """A region's feed, as its batches have seen it: (n,) each, in the order of time."""

    at_s: npt.NDArray[np.int64]  # the region's clock
    newest_event_s: npt.NDArray[np.int64]
    consumed: npt.NDArray[np.int64]  # since the batch before
    rejected: npt.NDArray[np.int64]

    @classmethod
    def of(cls, batches: list[LoggedRegion]) -> "RegionFeed":
        # Where no incident came before, the first batch stands for the newest one
        first_s = next((batch.as_of_s for batch in batches if batch.newest_event_s == 0), 0)
        totals = {
            name: np.array([batch.totals.get(name, 0) for batch in batches], np.int64)
            for name in ("consumed", "rejected")
        }
        return cls(
            at_s=np.array([batch.as_of_s for batch in batches], np.int64),
            newest_event_s=np.array([batch.newest_event_s or first_s for batch in batches], np.int64),
            # A job that was begun anew counts from 0
            **{name: np.maximum(np.diff(total, prepend=total[:1]), 0) for name, total in totals.items()},
        )

    def silent(self, *, longest_s: float) -> Iterator[range]:
        """Hours since 1970 in which no incident was known for longer than that."""
        is_silent = self.at_s - self.newest_event_s > longest_s
        for newest_s in np.unique(self.newest_event_s[is_silent]).tolist():
            last_s = int(self.at_s[is_silent & (self.newest_event_s == newest_s)].max())
            yield range(newest_s // HOUR_S, last_s // HOUR_S + 1)

    def refused(self) -> set[int]:
        """Hours since 1970 with refused messages, within a window in which they were too many."""
        half_from, half, half_refused = self._within(HALF_HOUR_S)
        six_from, six, six_refused = self._within(SIX_HOURS_S)
        is_many = half >= LEAST
        is_up = np.where(is_many, half_refused > SHARE * half, (six >= LEAST) & (six_refused > SHARE * six))
        first = np.where(is_many, half_from, six_from)
        is_small = (six >= SMALL_LEAST) & (six_refused > SMALL_SHARE * six)
        hours: set[int] = set()
        for up, starts in ((is_up, first), (is_small, six_from)):
            for at in np.flatnonzero(up).tolist():
                inside = slice(int(starts[at]), at + 1)
                hours.update((self.at_s[inside][self.rejected[inside] > 0] // HOUR_S).tolist())
        return hours

    def _within(self, window_s: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The window that ends with each batch: its first batch, its messages, and how many of them were refused."""
        first, past = np.searchsorted(self.at_s, self.at_s - window_s, side="right"), np.arange(1, len(self.at_s) + 1)
        consumed, rejected = (np.concatenate([[0], np.cumsum(messages)]) for messages in (self.consumed, self.rejected))
        return first, consumed[past] - consumed[first], rejected[past] - rejected[first]


@dataclass(frozen=True, slots=True)
class FeedLog:
    """The feeds of all regions, day by day, from the log of batches."""

    checkpoint: Path
    _days: dict[int, Mapping[str, list[LoggedRegion]]] = field(default_factory=dict)

    def cut_hours(self, region: str, day: int, *, mean_gap_s: float) -> int:
        """The hours of a day that are cut out, bit h for the hour from h:00 UTC.

        mean_gap_s: of the region's incidents, over a long time. Raises CheckpointError.
        """
        around = [self._of_day(near).get(region, []) for near in range(day - 1, day + _DAYS_AFTER + 1)]
        feed = RegionFeed.of([batch for batches in around for batch in batches])
        hours = feed.refused().union(*feed.silent(longest_s=max(SILENT_S, MEAN_GAPS * mean_gap_s)))
        return sum(1 << hour for hour in range(24) if day * 24 + hour in hours)

    def newest_cut_hours(self, spec: Spec, newest_s: int) -> frozenset[int]:
        """Hours since 1970, of the day of `newest_s` and the days before it, that are cut out, as far as the log of a
        running job says it by now. Raises CheckpointError.
        """
        batches, last = batches_folder(self.checkpoint), newest_s // DAY_S
        paths = (counts_path(batches, day, spec.region) for day in reversed(logged_days(self.checkpoint)))
        newest = next((path for path in paths if path.exists()), None)
        gap_s = mean_gap_of(read_counts(newest, spec)[0]) if newest else 0.0
        masks = {
            day: self.cut_hours(spec.region, day, mean_gap_s=gap_s) for day in range(last - _NEWEST_DAYS + 1, last + 1)
        }
        return frozenset(day * 24 + hour for day, mask in masks.items() for hour in range(24) if mask >> hour & 1)

    def _of_day(self, day: int) -> Mapping[str, list[LoggedRegion]]:
        """The newest batch of each minute, by region."""
        if day not in self._days:
            by_minute: dict[str, dict[int, LoggedRegion]] = {}
            for batch in logged_batches(self.checkpoint, day_text(day)):
                for region, of_region in batch.regions.items():
                    by_minute.setdefault(region, {})[of_region.as_of_s // 60] = of_region
            self._days[day] = {region: list(minutes.values()) for region, minutes in by_minute.items()}
        return self._days[day]


def mean_gap_of(state: CountState) -> float:
    """The mean time between two incidents of the region, since the first day that has any; 0 without one."""
    level = state.levels["day"]
    per_day = level.newest_bins(level.level.keep - 1, skip=1).sum(axis=1)
    days = len(per_day) - int(np.argmax(per_day > 0))
    return days * DAY_S / int(per_day.sum()) if per_day.any() else 0.0
