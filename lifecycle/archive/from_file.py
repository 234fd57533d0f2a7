"""An agency's file as days of the archive, for the time that no stream has counted."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lifecycle.archive.feed import MEAN_GAPS
from models.counting.day_counts import BIN_S, DayCounts
from models.files.incident_files import IncidentTable
from models.files.repeated_calls import merged_as_in_the_stream
from schemas.errors import DataError
from schemas.masks import refuse_other_masks
from schemas.spec import DAY_S, Spec


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
