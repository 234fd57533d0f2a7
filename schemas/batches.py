"""The form of the log of batches beside the checkpoint: enough to count and score every batch again, as it was.

    <checkpoint>/batches/2026-11-25/batches.jsonl    a line per batch that had messages or a new tick
                                   /chicago.counts   a region's counts before its first batch of that day

Days are UTC, by the time of the batch; a clock that is set back does not reopen an earlier day. No day needs another,
so old days are deleted, and a recount needs from Kafka only the events since the start of its first day. A line is on
disk after the store's acknowledgement and before Spark's commit: a committed batch has its line. A batch that is
repeated has two lines, and the last one counts.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.errors import CheckpointError

# `archive` needs the batches from the day before a day until its counts are final: 5 days with the default limits, 11
# with the latest messages that a spec may allow. The rest is for an archive that stood still.
KEEP_DAYS = 14


class LoggedRegion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One region's part of a batch. `artifact`: the version in force; `scores`: the digest of new scores, if any.

    newest_event_s: of the newest incident that the stream has counted, 0 without one. following: the hour of the file
    (of `FollowerStates`) that the scores followed; "" without one.
    """

    as_of_s: int
    artifact: str = ""
    scores: str = ""
    totals: dict[str, int] = {}
    newest_event_s: int = 0
    following: str = ""


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


def batches_folder(checkpoint: Path) -> Path:
    return checkpoint / "batches"


def day_of(at_ms: int) -> str:
    """The UTC day as in 2026-11-25."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def counts_path(batches: Path, day: str, region: str) -> Path:
    return batches / day / f"{region}.counts"


def logged_days(checkpoint: Path) -> list[str]:
    """Days that the log holds, the oldest first."""
    folder = batches_folder(checkpoint)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if re.fullmatch(r"\d{4}-\d\d-\d\d", name))


def logged_batches(checkpoint: Path, day: str) -> Iterator[LoggedBatch]:
    """The day's batches in their order, each by its last line. A line that is being written now is left out.

    Raises CheckpointError when a line cannot be read.
    """
    path = lines_path(checkpoint, day)
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


def lines_path(checkpoint: Path, day: str) -> Path:
    """The file that holds the day's lines."""
    return batches_folder(checkpoint) / day / "batches.jsonl"
