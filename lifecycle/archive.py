"""The archive: final counts for years, which the next model learns from, from the job's counts or an agency's file.

A region's day is one commit of a Delta table, so it is there as a whole or not at all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lifecycle.feed import MEAN_GAPS, FeedLog, mean_gap_of
from models.counting.blobs import read_clock, read_counts
from models.counting.count_state import BIN_S, DayCounts, counts_of_day, newest_closed, oldest_day
from models.files.incident_archive import CUT_HOURS, Meaning, day_number, day_text, delta, error_text, spans
from models.files.incident_files import IncidentTable, merged_as_in_the_stream
from schemas.areas import refuse_other_masks
from schemas.batches import batches_folder, counts_path, logged_batches, logged_days
from schemas.errors import CheckpointError, DataError, SinkError, SinkRefused
from schemas.records import read_roster, roster_path
from schemas.spec import DAY_S, Spec
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRegion:
    """What a run has written of a region, and what its archive lacks."""

    region: str
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
    return ArchivedRegion(region=spec.region, written=tuple(written), days=len(archived), missing=tuple(spans(missing)))


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
