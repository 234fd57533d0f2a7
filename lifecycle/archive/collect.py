"""Brings what is final from a checkpoint's kept counts to the archive's table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.archive.feed import FeedLog
from lifecycle.archive.kept_days import KeptDays
from lifecycle.archive.table import ArchiveTable
from models.counting.day_counts import DayCounts
from models.files.archive import spans
from schemas.errors import CheckpointError
from schemas.spec import Spec
from streaming.disk.guard import guard_of
from streaming.roster.roster import read_roster


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
    return {region: Path(entry.folder) for region, entry in sorted(read_roster(checkpoint / "roster.json").items())}


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
