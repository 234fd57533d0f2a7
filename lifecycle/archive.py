"""The archive: final counts for years, which the next model learns from, from the job's counts or an agency's file.

A region's day is one commit of a Delta table, so it is there as a whole or not at all. It names the hours that say
nothing of the city: the feed was silent in them, or too many messages were refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.counting.blobs import read_clock, read_counts
from models.counting.count_state import BIN_S, CountState, DayCounts, counts_of_day, newest_closed, oldest_day
from models.files.incident_archive import CUT_HOURS, Meaning, day_number, day_text, delta, error_text, spans
from models.files.incident_files import IncidentTable, merged_as_in_the_stream
from schemas.areas import refuse_other_masks
from schemas.batches import LoggedRegion, batches_folder, counts_path, logged_batches, logged_days
from schemas.errors import CheckpointError, DataError, SinkError, SinkRefused
from schemas.records import read_roster, roster_path
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.checkpoint import guard_of

SCHEMA = pa.schema(
    [
        pa.field("region", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),  # UTC
        pa.field("cell", pa.int32(), nullable=False),  # index in the grid, from the south-west corner, row by row
        pa.field("category", pa.string(), nullable=False),
        pa.field("bin", pa.int16(), nullable=False),  # of five minutes, 0 to 287, from midnight UTC
        pa.field("count", pa.int32(), nullable=False),
        pa.field("meaning", pa.string(), nullable=False),
        # Of the day, bit h for the hour from h:00 UTC: it says nothing of the city. Null: not known
        pa.field(CUT_HOURS, pa.int32()),
    ]
)
# The log keeps each version as long as its rows may be kept, so that a manifest's version can be read again.
_CONFIGURATION = {"delta.logRetentionDuration": "interval 36500 days"}


class ArchiveTable:
    """The table at a path or an address like s3://bucket/folder; it is made when it is not there.

    options: of the storage, as delta-rs names them; their values are secrets. Raises SinkError where it cannot be read
    or written.
    """

    def __init__(self, place: str, options: Mapping[str, str]) -> None:
        self._delta, self._place, self._options = delta(), place, dict(options)
        with self._errors():
            self._table = self._delta.DeltaTable.create(
                place,
                schema=SCHEMA,
                mode="ignore",
                partition_by=["region"],
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )

    @property
    def version(self) -> int:
        return int(self._table.version())

    def days(self, region: str) -> set[int]:
        """The region's days, since 1970, that are there."""
        with self._errors():
            dataset = self._table.to_pyarrow_dataset(file_pruning_predicate=[("region", "=", region)])
            days = dataset.to_table(columns=["day"])["day"].unique().to_pylist()
        return set(map(day_number, days))

    def append(self, spec: Spec, days: list[DayCounts], source: str) -> None:
        """Write days that are not there in one commit: all of them, or none.

        The commit names the region as its application, so of two writers that do not know of each other's commit one
        is refused: no day can be there twice.
        """
        rows = pa.concat_tables([_rows(spec, counts) for counts in days])
        facts = {
            "region": spec.region,
            "source": source,
            "days": str(len(days)),
            "incidents": str(sum(counts.incidents for counts in days)),
            "known_by_hour": str(sum(counts.by_hour for counts in days)),
            "open": str(sum(counts.open for counts in days)),
        }
        newest = max(counts.day for counts in days)
        once = self._delta.CommitProperties(
            custom_metadata=facts, app_transactions=[self._delta.Transaction(spec.region, newest)]
        )
        with self._errors():
            self._delta.write_deltalake(self._table, rows, mode="append", commit_properties=once)

    def keep_from(self, day: int) -> int:
        """Delete the rows of all days before `day`. Gives how many rows there were.

        Their files stay for a week, for those who read them now; a later call removes them for good, with what a
        killed writer left.
        """
        with self._errors():
            before = f"day < date '{day_text(day)}'"
            deleted = self._table.delete(before)["num_deleted_rows"]
            self._table.vacuum(dry_run=False, full=True)
        return int(deleted)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._delta.exceptions.CommitFailedError as error:
            fault = f"another process writes the archive {self._place} ({self._said(error)})"
            raise SinkError(fault, remedy="repeat the command: it writes what is not there yet") from error
        except (self._delta.exceptions.DeltaError, OSError, ValueError) as error:
            fault = f"the archive {self._place} cannot be used ({self._said(error)})"
            raise SinkRefused(fault, remedy="check its address, its permissions and RISK_ARCHIVE_STORAGE") from error

    def _said(self, error: Exception) -> str:
        """The error in one line, without secrets."""
        text = error_text(error)
        for value in self._options.values():
            text = text.replace(value, "***") if value else text
        return text[:300]


def _rows(spec: Spec, counts: DayCounts) -> pa.Table:
    """The table's rows of one day; one with a count of 0 where nothing happened."""
    empty = not len(counts.count)
    columns: dict[str, Any] = {
        name: np.zeros(1, getattr(counts, name).dtype) if empty else getattr(counts, name)
        for name in ("cell", "category", "bin", "count")
    }
    size = len(columns["count"])
    columns["category"] = pa.array(spec.categories).take(pa.array(columns["category"]))
    columns["region"] = [spec.region] * size
    columns["day"] = pa.array(np.full(size, counts.day, np.int32)).cast(pa.date32())
    columns["meaning"] = [Meaning.of(spec).text()] * size
    columns[CUT_HOURS] = pa.array([counts.cut_hours] * size, pa.int32())
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)


# The rules of refused messages are those of the alerts `Too many rejects` and `Most messages of a small feed refused`,
# on what the job has logged of each batch. A small region has quiet hours without any fault, and to cut these out would
# teach a model that there are none. So a silence must also be too long for chance.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRegion:
    """What a run has written of a region, and what its archive lacks."""

    written: tuple[DayCounts, ...]
    days: int  # in the archive, with those written now
    missing: tuple[str, ...]  # spans of days between the first and the newest final one


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

    A day is final as soon as the clock has closed it: every message about it is then late. Its counts are those that
    were kept at the first batch after that. A day is left out when messages about it may be missing, and when its hours
    are no longer kept. Raises CheckpointError and SinkError.
    """
    checkpoint, archived, written = feed.checkpoint, table.days(spec.region), list[DayCounts]()

    def kept(day: int) -> Path:
        return counts_path(batches_folder(checkpoint), day_text(day), spec.region)

    resumed_s: dict[int, int] = {}  # day on which counts were kept -> the clock at the batch that they were kept before
    for text in logged_days(checkpoint):
        day = day_number(date.fromisoformat(text))
        if kept(day).exists():
            for batch in logged_batches(checkpoint, text):
                if spec.region in batch.regions:
                    resumed_s[day] = batch.regions[spec.region].as_of_s
                    break
    closed_on: dict[int, int] = {}  # closed day -> the first day at whose start it was closed
    lost: set[int] = set()
    if resumed_s:
        stood_s, _ = read_clock(kept(min(resumed_s)))
        for before, kept_on in pairwise([stood_s // DAY_S, *sorted(resumed_s)]):
            closed = range(newest_closed(before * DAY_S, spec) + 1, newest_closed(kept_on * DAY_S, spec) + 1)
            closed_on.update(dict.fromkeys(closed, kept_on))
    wanted = {day for day in closed_on if day >= oldest and day not in archived}
    for kept_on, at_s in resumed_s.items():
        if kept_on >= min(wanted, default=0):
            lost |= _lost_days(kept(kept_on), at_s, spec)
    for kept_on, days in groupby(sorted(wanted - lost), key=closed_on.__getitem__):
        state, *_ = read_counts(kept(kept_on), spec)
        gap_s = mean_gap_of(state)
        for day in days:
            if day >= oldest_day(state):
                cut = feed.cut_hours(spec.region, day, mean_gap_s=gap_s)
                counts = replace(counts_of_day(state, day, clock_s=kept_on * DAY_S), cut_hours=cut)
                table.append(spec, [counts], "stream")
                written.append(counts)
                archived.add(day)
    missing = set(range(min(archived), max(closed_on, default=-1) + 1)) - archived if archived else ()
    return ArchivedRegion(written=tuple(written), days=len(archived), missing=tuple(spans(missing)))


def _lost_days(kept: Path, resumed_s: int, spec: Spec) -> set[int]:
    """The days of which messages may be missing, by counts that were kept before a batch at `resumed_s`.

    After a standstill the clock refuses what is older than incidents are remembered: of the time while the job
    stood still, and late reports of the time before.
    """
    stood_s, had_batches = read_clock(kept)
    if not had_batches:  # it was started for the first time
        return set(range(resumed_s // DAY_S + 1))
    if resumed_s - stood_s <= DAY_S:
        return set()
    first_s, end_s = stood_s - spec.late_limit_s, resumed_s - spec.registry_keep_s
    return set(range(first_s // DAY_S, -(-end_s // DAY_S)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDays:
    """The whole UTC days of a file."""

    days: list[DayCounts]
    silent: set[int]  # inside a gap that is too long for chance: nobody may have recorded
    outside: int  # incidents outside the grid


def file_days(table: IncidentTable, spec: Spec, archived: set[int]) -> FileDays:
    """The days between the file's first and last, which may be partial, that are not `archived`.

    Raises DataError when the file is of another time zone, or has a category that the spec lacks, and ArtifactError
    when it was read with other masks than the spec's.
    """
    refuse_other_masks(f"the artifact of {spec.region}", spec.masked, table.masked)
    if table.timezone != spec.timezone:
        raise DataError(
            f"the layout's time zone is {table.timezone}, and that of {spec.region} is {spec.timezone}",
            remedy="correct the layout, or the region",
        )
    if unknown := sorted(set(table.categories) - set(spec.categories)):
        raise DataError(
            f"the artifact of {spec.region} has no category {', '.join(unknown)}",
            remedy="rename or remove these rows, so that the file has the artifact's categories",
        )
    table = merged_as_in_the_stream(table, spec.grid.locate(table.lat_deg, table.lon_deg)[1], spec)
    cell, inside = spec.grid.locate(table.lat_deg, table.lon_deg)
    position = np.array([spec.categories.index(name) for name in table.categories], np.int64)
    place = cell.astype(np.int64) * len(spec.categories) + position[table.category]
    first, last = (table.occurred_s[[0, -1]] // DAY_S).tolist()
    silent = _silent(table.occurred_s)
    wanted = [day for day in range(first + 1, last) if day not in archived and day not in silent]
    edges = np.searchsorted(table.occurred_s, np.array(wanted, np.int64)[:, None] * DAY_S + [0, DAY_S])
    days = []
    for day, (start, stop) in zip(wanted, edges.tolist(), strict=True):
        here = slice(start, stop)
        in_grid = inside[here]
        bin_ = table.occurred_s[here][in_grid] % DAY_S // BIN_S
        days.append(DayCounts.binned(day, place[here][in_grid], bin_, np.ones(len(bin_), np.int64), spec))
    return FileDays(days=days, silent=silent - archived, outside=int((~inside).sum()))


def _silent(occurred_s: npt.NDArray[np.int64]) -> set[int]:
    """Days that lie whole inside a gap of more than a day that is too long for chance."""
    gaps_s = np.diff(occurred_s)
    long = np.flatnonzero(gaps_s > max(DAY_S, MEAN_GAPS * float(gaps_s.mean()) if len(gaps_s) else 0))
    days: set[int] = set()
    for at in long.tolist():
        days.update(range(int(occurred_s[at]) // DAY_S + 1, int(occurred_s[at + 1]) // DAY_S))
    return days
