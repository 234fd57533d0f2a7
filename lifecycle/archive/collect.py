"""Brings the days that are final to the archive's table, from the counts kept before the first batch of each day."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path

from lifecycle.archive.feed import FeedLog, mean_gap_of
from lifecycle.archive.table import ArchiveTable
from models.counting.day_counts import DayCounts, counts_of_day, newest_closed, oldest_day
from models.files.archive import day_number, day_text, spans
from schemas.errors import CheckpointError
from schemas.left_behind.batch_log import batches_folder, counts_path, logged_batches, logged_days
from schemas.left_behind.roster import read_roster, roster_path
from schemas.spec import DAY_S, Spec
from streaming.disk.checkpoint import guard_of
from streaming.disk.kept_counts import read_clock, read_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRegion:
    """What a run has written of a region, and what its archive lacks."""

    region: str
    written: tuple[DayCounts, ...]
    days: int  # in the archive, with those written now
    missing: tuple[str, ...]  # spans of days between the first and the newest final one

    def total(self, name: str) -> int:
        return sum(getattr(counts, name) for counts in self.written)


def regions_of(checkpoint: Path) -> Mapping[str, Path]:
    """The artifact of each region that a checkpoint counts. Raises CheckpointError."""
    guard = guard_of(checkpoint)
    if guard.clock != "wall":
        raise CheckpointError(
            f"{checkpoint} follows the clock of the events (RISK_CLOCK={guard.clock}): its days end when they like",
            remedy="archive the counts of a job with RISK_CLOCK=wall",
        )
    return {region: Path(entry.folder) for region, entry in sorted(read_roster(roster_path(checkpoint)).items())}


def archive_region(table: ArchiveTable, feed: FeedLog, spec: Spec, *, oldest: int = 0) -> ArchivedRegion:
    """Write a region's final days from `oldest` on that are not there yet, a commit for each.

    Raises CheckpointError and SinkError.
    """
    final_days, archived = KeptDays(feed, spec), table.days(spec.region)
    written = []
    for counts in final_days.final(archived, oldest=oldest):
        table.append(spec, [counts], "stream")
        written.append(counts)
        archived.add(counts.day)
    missing = set(range(min(archived), final_days.newest + 1)) - archived if archived else ()
    return ArchivedRegion(region=spec.region, written=tuple(written), days=len(archived), missing=tuple(spans(missing)))


class KeptDays:
    """A region's final days in the checkpoint of a job on the wall clock.

    A day is final as soon as the clock has closed it: every message about it is then late. Its counts are those that
    were kept at the first batch after that.
    """

    def __init__(self, feed: FeedLog, spec: Spec) -> None:
        self._feed, self._checkpoint, self._spec = feed, feed.checkpoint, spec
        self._resumed_s = dict(self._first_batches())
        self._closed_on = self._kept_on()

    @property
    def newest(self) -> int:
        """The newest day that is closed, since 1970; -1 without any."""
        return max(self._closed_on, default=-1)

    def final(self, archived: set[int], *, oldest: int = 0) -> Iterator[DayCounts]:
        """The counts of the final days from `oldest` on that are not `archived`, in their order.

        A day is left out when messages about it may be missing, because the job stood still for more than a day or was
        started for the first time, and when its hours are no longer kept. Raises CheckpointError.
        """
        wanted = {day for day in self._closed_on if day >= oldest and day not in archived}
        whole = sorted(wanted - self._incomplete(wanted))
        for kept_on, days in groupby(whole, key=self._closed_on.__getitem__):
            state, *_ = read_counts(self._path(kept_on), self._spec)
            gap_s = mean_gap_of(state)
            for day in days:
                if day >= oldest_day(state):
                    cut = self._feed.cut_hours(self._spec.region, day, mean_gap_s=gap_s)
                    yield replace(counts_of_day(state, day, clock_s=kept_on * DAY_S), cut_hours=cut)

    def _first_batches(self) -> Iterator[tuple[int, int]]:
        """Each day on which counts were kept, with the region's clock at the batch that they were kept before."""
        for text in logged_days(self._checkpoint):
            day = day_number(date.fromisoformat(text))
            if self._path(day).exists():
                for batch in logged_batches(self._checkpoint, text):
                    if self._spec.region in batch.regions:
                        yield day, batch.regions[self._spec.region].as_of_s
                        break

    def _kept_on(self) -> Mapping[int, int]:
        """Each closed day, and the first day at whose start it was closed."""
        if not self._resumed_s:
            return {}
        first, *_ = days = sorted(self._resumed_s)
        stood_s, _ = read_clock(self._path(first))
        clocks = [(stood_s // DAY_S, first), *pairwise(days)]
        return {
            day: kept_on
            for before, kept_on in clocks
            for day in range(
                newest_closed(before * DAY_S, self._spec) + 1, newest_closed(kept_on * DAY_S, self._spec) + 1
            )
        }

    def _incomplete(self, wanted: Set[int]) -> set[int]:
        """Those days of which messages may be missing.

        After a standstill the clock refuses what is older than incidents are remembered: of the time while the job
        stood still, and late reports of the time before.
        """
        lost: set[int] = set()
        for kept_on, resumed_s in self._resumed_s.items():
            if kept_on < min(wanted, default=kept_on):
                continue
            stood_s, had_batches = read_clock(self._path(kept_on))
            if not had_batches:
                lost.update(range(resumed_s // DAY_S + 1))
            elif resumed_s - stood_s > DAY_S:
                first_s, end_s = stood_s - self._spec.late_limit_s, resumed_s - self._spec.registry_keep_s
                lost.update(range(first_s // DAY_S, -(-end_s // DAY_S)))
        return lost

    def _path(self, day: int) -> Path:
        return counts_path(batches_folder(self._checkpoint), day_text(day), self._spec.region)
