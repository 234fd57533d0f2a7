"""The log of batches beside the checkpoint: enough to count and score every batch again, exactly as it was.

    <checkpoint>/batches/2026-11-25/batches.jsonl    a line per batch that had messages or a new tick
                                   /chicago.counts   a region's counts before its first batch of that day

Days are UTC, by the time of the batch; a clock that is set back does not reopen an earlier day. No day needs another,
so old days are deleted, and a rebuild needs from Kafka only the events since the start of its first day. A line is on
disk after the store's acknowledgement and before Spark's commit: a committed batch has its line. A batch that is
repeated has two lines, and the last one counts.
"""

import os
import re
import shutil
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import msgspec

from schemas.errors import CheckpointError
from schemas.files import open_for_append
from streaming.disk.kept_counts import batches_folder, day_of, keep_counts
from streaming.disk.spark_files import batch_time_ms, taken_offsets
from streaming.flow.rows import Published, has_news

KEEP_DAYS = 35


class LoggedRegion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One region's part of a batch. `artifact`: the version in force; `scores`: the digest of new scores, if any.

    newest_event_s: of the newest incident that the stream has counted, 0 without one; None in lines of older versions.
    """

    as_of_s: int
    artifact: str = ""
    scores: str = ""
    totals: dict[str, int] = {}
    newest_event_s: int | None = None


class LoggedBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One batch. `offsets`: by partition that had messages, the first message taken and the first one not taken.

    day: the day of the folder that the line is in; the line itself does not repeat it.
    """

    number: int
    at_ms: int
    top_k: int  # cells in `top`
    offsets: dict[int, tuple[int, int]]
    regions: dict[str, LoggedRegion]
    day: str = ""


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
            self._file = open_for_append(_lines_path(self._checkpoint, day))
            self._day = day
            for old in logged_days(self._checkpoint)[:-KEEP_DAYS]:  # by number: one wrong clock must not delete all
                shutil.rmtree(batches_folder(self._checkpoint) / old)
        return self._file


def logged_days(checkpoint: Path) -> list[str]:
    """Days that the log holds, the oldest first."""
    folder = batches_folder(checkpoint)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if re.fullmatch(r"\d{4}-\d\d-\d\d", name))


def logged_batches(checkpoint: Path, day: str) -> Iterator[LoggedBatch]:
    """The day's batches in their order, each by its last line. A line that is being written now is left out.

    Raises CheckpointError when a line cannot be read.
    """
    path = _lines_path(checkpoint, day)
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(LoggedBatch)
    before: LoggedBatch | None = None
    with path.open("rb") as file:
        for position, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                batch = msgspec.structs.replace(decoder.decode(line), day=day)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CheckpointError(
                    f"{path}, line {position} cannot be read ({error})", remedy="restore it"
                ) from error
            if before is not None and batch.number != before.number:
                yield before
            before = batch
    if before is not None:
        yield before


def _lines_path(checkpoint: Path, day: str) -> Path:
    return batches_folder(checkpoint) / day / "batches.jsonl"
