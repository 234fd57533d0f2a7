"""Spark's files in the checkpoint, read without Spark: offsets, commits, state.

Spark writes a batch's offsets before the batch runs, its state while it runs, and its commit when it is stored.
"""

import logging
import re
from pathlib import Path

import msgspec

from schemas.errors import CheckpointError
from schemas.instants import instant_text
from streaming.disk.spark_folder import SparkFolder

log = logging.getLogger(__name__)
RESET_FROM = (
    "begin anew with `checkpoint --reset TIME`: the counts then consist of the artifact's history and the events "
    "since TIME"
)
_STATE_FILE = re.compile(r"\.?(\d+)\.(?:changelog|zip)(?:\.crc)?")


def last_commit(checkpoint: Path) -> tuple[int, float] | None:
    """(number, epoch seconds) of the newest committed batch."""
    commits = [info for info in SparkFolder.of(checkpoint).listed("commits") if info.base_name.isdecimal()]
    newest = max(commits, key=lambda info: int(info.base_name), default=None)
    return None if newest is None else (int(newest.base_name), newest.mtime_ns / 1e9)


def progress_text(commit: tuple[int, float] | None) -> str:
    """The result of `last_commit` as text."""
    if commit is None:
        return "none yet: counting starts from the artifacts' history"
    number, at_s = commit
    return f"{number}, stored {instant_text(at_s)}"


def last_begun(checkpoint: Path) -> int:
    """Number of the newest batch whose offsets Spark has written; -1 before the first."""
    offsets = SparkFolder.of(checkpoint).listed("offsets")
    return max((int(info.base_name) for info in offsets if info.base_name.isdecimal()), default=-1)


def open_batch(checkpoint: Path) -> tuple[int, dict[int, tuple[int, int]]] | None:
    """(number, {partition: (first, last offset)}) of the batch that has begun without a commit, or None."""
    number, newest = last_begun(checkpoint), last_commit(checkpoint)
    if number <= (-1 if newest is None else newest[0]):
        return None
    return number, {place: (first, end - 1) for place, (first, end) in taken_offsets(checkpoint, number).items()}


def read_until(checkpoint: Path) -> dict[int, int]:
    """By partition, the first offset that no committed batch has read. Empty before the first commit."""
    newest = last_commit(checkpoint)
    return {} if newest is None else end_offsets(checkpoint, newest[0])


def begun_until(checkpoint: Path) -> dict[int, int]:
    """By partition, the first offset that no batch has asked for. Earlier ones were read, or may have been."""
    begun = last_begun(checkpoint)
    return begin_offsets(checkpoint) | (end_offsets(checkpoint, begun) if begun >= 0 else {})


def begin_offsets(checkpoint: Path) -> dict[int, int]:
    """By partition, the first offset of the first batch. A partition that is added later begins at 0."""
    folder, path = SparkFolder.of(checkpoint), ("sources", "0", "0")
    return _kafka_offsets(checkpoint, folder.text(*path).splitlines()[1:]) if folder.has(*path) else {}


def end_offsets(checkpoint: Path, batch: int) -> dict[int, int]:
    """By partition, the first offset after those that the batch reads. Empty where Kafka had no message yet.

    The file's first two lines are a version and the batch's settings. Each source has one line after them; Kafka's is
    {topic: {partition: offset}}.
    """
    return _kafka_offsets(checkpoint, _offsets_file(checkpoint, batch)[2:])


def _offsets_file(checkpoint: Path, batch: int) -> list[str]:
    try:
        return SparkFolder.of(checkpoint).text("offsets", str(batch)).splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise damaged(checkpoint, f"{batch} of its offsets cannot be read ({error})") from error


def _kafka_offsets(checkpoint: Path, sources: list[str]) -> dict[int, int]:
    for line in sources:
        try:
            value = msgspec.json.decode(line) if line.startswith("{") else None
        except msgspec.DecodeError as error:
            raise damaged(checkpoint, f"its offsets cannot be read ({error})") from error
        topics = {
            name: {int(partition): int(offset) for partition, offset in partitions.items()}
            for name, partitions in (value.items() if isinstance(value, dict) else ())
            if isinstance(partitions, dict) and all(partition.isdecimal() for partition in partitions)
        }
        if len(topics) > 1:
            raise damaged(checkpoint, f"it has read {' and '.join(sorted(topics))}, and a job reads one topic")
        if topics:
            return topics.popitem()[1]
    return {}


def taken_offsets(checkpoint: Path, batch: int) -> dict[int, tuple[int, int]]:
    """The offsets that a batch reads, by partition that has some: the first one, and the end (not included)."""
    before = begin_offsets(checkpoint)
    if batch > 0:
        before |= end_offsets(checkpoint, batch - 1)
    after = end_offsets(checkpoint, batch)
    return {p: (before.get(p, 0), end) for p, end in sorted(after.items()) if end > before.get(p, 0)}


class OffsetAudit:
    """Adds up, over the batches of this process, the messages by Kafka's offsets minus those in the ledgers.

    The ledger's own balance cannot show a message that is lost before the decoder: it is missing on both of its sides.
    The sum is 0 where offsets have no gaps. Transactions and compaction leave gaps, so a difference stops nothing.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._number = -1
        self._before = self._missing = 0  # up to the batch before, and with this one

    def missing(self, number: int, consumed: int) -> int:
        """The sum so far, including batch `number`. When a batch is repeated, its last try counts."""
        if number != self._number:
            self._number, self._before = number, self._missing
        offered = sum(end - first for first, end in taken_offsets(self._checkpoint, number).values())
        if offered != consumed and not self._missing:
            log.warning(
                f"batch {number}: Kafka has {offered} messages by its offsets, the ledger {consumed}. Transactions and "
                "compaction leave such gaps. If the topic has neither, do not trust the counts, and report this"
            )
        self._missing = self._before + offered - consumed
        return self._missing


def batch_time_ms(checkpoint: Path, batch: int) -> int:
    """When the batch began, epoch milliseconds. A repetition of the batch has the same time."""
    return int(msgspec.json.decode(_offsets_file(checkpoint, batch)[1])["batchTimestampMs"])


def drop_unfinished(checkpoint: Path) -> None:
    """Remove the state files of a batch that has begun without a commit.

    Spark does not replace them when it repeats the batch: it silently keeps the first attempt's files. If a region was
    added in between, the next start would lose its counts of the repetition.
    """
    newest = last_commit(checkpoint)
    committed = 0 if newest is None else newest[0] + 1  # the state's version after batch N is N + 1
    folder = SparkFolder.of(checkpoint)
    for info in folder.listed("state", deep=True):
        match = _STATE_FILE.fullmatch(info.base_name)
        if match and int(match[1]) > committed:
            folder.delete(info)


def damaged(checkpoint: Path, what: str) -> CheckpointError:
    """The error for a checkpoint that cannot be read any more."""
    fault = f"the checkpoint {checkpoint} is damaged: {what}. Nothing was written"
    return CheckpointError(fault, remedy=f"restore it from a copy, or {RESET_FROM}")
