"""Writes the archive's Delta table. A region's day is one commit, so it is there as a whole or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from models.counting.day_counts import DayCounts
from models.files.archive import CUT_HOURS, Meaning, day_number, day_text, delta, said
from schemas.errors import SinkError, SinkRefused
from schemas.spec import Spec

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
        text = said(error)
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
