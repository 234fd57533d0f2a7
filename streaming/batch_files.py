"""What each batch leaves on disk for other processes: a line in the log of batches, and the last frame of each region.

Both are watchers of the job: they get what the store has acknowledged, before Spark commits the batch.
"""

import logging
import os
import shutil
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec

from schemas.batches import (
    KEEP_DAYS,
    LoggedBatch,
    LoggedRegion,
    batches_folder,
    day_of,
    lines_path,
    logged_days,
)
from schemas.errors import CheckpointError, SinkError
from schemas.files import open_for_append
from schemas.frame import write_frames
from streaming.disk.checkpoint import batch_time_ms, taken_offsets
from streaming.disk.kept_counts import keep_counts
from streaming.flow.rows import Published, has_news

log = logging.getLogger(__name__)


class BatchLog:
    """Writes the lines: a watcher of the job. Only the process that holds the checkpoint's lock may write."""

    def __init__(self, checkpoint: Path, *, top_k: int) -> None:
        self._checkpoint = checkpoint
        self._top_k = top_k
        self._day = ""  # that the open file belongs to
        self._file: FileIO | None = None

    def keep(self, published: Published) -> None:
        """Write the batch's line, if it has news, and counts that begin a day. Raises CheckpointError: full disk."""
        for region, summary in published.summaries.items():
            if summary.kept:
                keep_counts(self._checkpoint, summary.kept_day, region, summary.kept)
        regions = {
            region: LoggedRegion(
                as_of_s=summary.as_of_s,
                artifact=published.artifacts.get(region, ""),
                scores=published.frames[region].digest() if region in published.frames else "",
                totals={name: count for name, count in summary.totals.items() if count},
                newest_event_s=summary.newest_event_s,
                following=published.following.get(region, ""),
            )
            for region, summary in sorted(published.summaries.items())
            if has_news(region, summary, published.frames)
        }
        if regions:
            number = published.batch_id
            at_ms = batch_time_ms(self._checkpoint, number)
            offsets = taken_offsets(self._checkpoint, number)
            batch = LoggedBatch(number=number, at_ms=at_ms, top_k=self._top_k, offsets=offsets, regions=regions)
            self._append(day_of(at_ms), msgspec.json.encode(batch) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, day: str, line: bytes) -> None:
        rest = memoryview(line)
        try:
            file = self._of_day(day)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            self.close()  # the next line opens it again, which cuts off half a line
            raise CheckpointError(
                f"{batches_folder(self._checkpoint)} cannot be written ({error.strerror})", remedy="free disk space"
            ) from error

    def _of_day(self, day: str) -> FileIO:
        if self._file is None:
            self._day = max(logged_days(self._checkpoint), default="")
        day = max(day, self._day)
        if self._file is None or day != self._day:
            self.close()
            self._file = open_for_append(lines_path(self._checkpoint, day))
            self._day = day
            for old in logged_days(self._checkpoint)[:-KEEP_DAYS]:  # by number: one wrong clock must not delete all
                shutil.rmtree(batches_folder(self._checkpoint) / old)
        return self._file


@dataclass(slots=True, kw_only=True)
class FrameWatch:
    """A file that cannot be written grows old, and who serves it then says: stale. Scoring into the store goes on."""

    folder: Path
    clock: Literal["wall", "event"]
    _refused: set[str] = field(default_factory=set)  # regions whose last write failed

    def show(self, published: Published) -> None:
        for region, views in published.views.items():
            try:
                write_frames(self.folder, views, self.clock, published.changes.get(region))
            except SinkError as error:
                if region not in self._refused:
                    log.warning("%s; the service will say that the scores of %s are stale", error, region)
                self._refused.add(region)
            else:
                self._refused.discard(region)
