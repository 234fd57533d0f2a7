"""The guard beside the checkpoint: the topic and the settings that its counts depend on.

Spark stores neither. It ignores a changed setting, and takes a topic that was deleted and created again for the old
one. `verify_checkpoint` refuses both before anything is written.
"""

import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from schemas.audit.log import record
from schemas.errors import CheckpointError, EventsGone
from schemas.files import read_json, replace_file, write_errors
from streaming.disk.spark_files import (
    RESET_FROM,
    begin_offsets,
    begun_until,
    damaged,
    drop_unfinished,
    last_begun,
    last_commit,
    read_until,
)
from streaming.settings import PREFIX, Settings
from streaming.topics.kafka import Topic

log = logging.getLogger(__name__)
# Of the counts that streaming/flow/count.py and models/counting/blobs.py store: add 1 with every change of it.
STATE_LAYOUT = 2
RESET = "begin anew with `checkpoint --reset`"
_COUNTS_DEPEND_ON = ("topic", "clock", "starting", "shuffle_partitions")


class CheckpointGuard(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint's counts depend on. `settings`: all settings of the last run as text, without secrets."""

    topic: str
    topic_id: str
    clock: str
    starting: str
    shuffle_partitions: int
    spark: str
    state_layout: int
    settings: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Settings, topic_id: str) -> "CheckpointGuard":
        return cls(
            topic_id=topic_id,
            settings=settings.shown(),
            spark=version("pyspark"),
            state_layout=STATE_LAYOUT,
            **settings.model_dump(include=set(_COUNTS_DEPEND_ON)),
        )


def verify_checkpoint(checkpoint: Path, after: CheckpointGuard, topic: Topic, *, audit: Path) -> None:
    """Compare the checkpoint with this start, and store `after` as its new guard. The caller holds the lock.

    Removes the state files of a batch without a commit. Raises CheckpointError when a topic or a setting that the
    counts depend on has changed, or a part of the checkpoint is missing; EventsGone when Kafka deleted events that
    were not read yet, or lost events that were read.
    """
    before = read_guard(checkpoint)
    refuse_missing_parts(checkpoint)
    if before is not None and (begin_offsets(checkpoint) or last_begun(checkpoint) >= 0):
        refuse_changes(before, after)
        _report_other_spark(checkpoint, before, after, audit)
    with write_errors(CheckpointError, path := checkpoint / "guard.json"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(after)))
    refuse_gap(begin_offsets(checkpoint) | read_until(checkpoint), topic.first_offsets, after.topic)
    refuse_lost_end(begun_until(checkpoint), topic.end_offsets, after.topic)
    drop_unfinished(checkpoint)


def read_guard(checkpoint: Path) -> CheckpointGuard | None:
    """The checkpoint's guard; None when the checkpoint is new."""
    return read_json(checkpoint / "guard.json", CheckpointGuard, CheckpointError, remedy=f"restore it, or {RESET}")


def guard_of(checkpoint: Path) -> CheckpointGuard:
    """The guard of a checkpoint that a job has written. Raises CheckpointError for an empty one."""
    if guard := read_guard(checkpoint):
        return guard
    raise CheckpointError(f"RISK_CHECKPOINT={checkpoint} is empty", "set it to the folder of the job's checkpoint")


def other_layout(before: CheckpointGuard) -> str:
    """A sentence when this version cannot read the counts; empty when it can."""
    if before.state_layout == STATE_LAYOUT:
        return ""
    return f"the checkpoint's counts are stored in layout {before.state_layout}, and this version reads {STATE_LAYOUT}"


def changed_settings(before: CheckpointGuard, after: CheckpointGuard) -> list[str]:
    """The settings that the counts depend on and that differ, each as `NAME was VALUE and is VALUE`."""
    return [
        f"{PREFIX}{field.upper()} was {was} and is {now}"
        for field in _COUNTS_DEPEND_ON
        if (was := getattr(before, field)) != (now := getattr(after, field))
    ]


def _report_other_spark(checkpoint: Path, before: CheckpointGuard, after: CheckpointGuard, audit: Path) -> None:
    """Log and record another version of Spark. It is not refused: Spark usually reads what an older one wrote."""
    was, now = (guard.spark.split(".")[:2] for guard in (before, after))
    if was != now:
        log.warning(
            f"Spark {before.spark} wrote the checkpoint, and Spark {after.spark} reads it: if that fails, install the "
            f"older one again, or {RESET}"
        )
        details = {"was": before.spark, "now": after.spark}
        record(audit, "other_spark", details, at_s=time.time(), checkpoint=checkpoint)


def refuse_missing_parts(checkpoint: Path) -> None:
    """Raise CheckpointError when one of the files that Spark and we write in turn is missing.

    This runs first: without its commit, the counts of a finished batch would look unfinished and be removed.
    """
    begun, newest = last_begun(checkpoint), last_commit(checkpoint)
    if begun > (-1 if newest is None else newest[0]) + 1:
        raise damaged(checkpoint, f"batch {begun} was begun, but the commit of batch {begun - 1} is missing")
    if (begun >= 0 or newest) and not (checkpoint / "guard.json").exists():
        raise damaged(checkpoint, "guard.json, which names the topic and the settings of its counts, is missing")


def refuse_changes(before: CheckpointGuard, after: CheckpointGuard) -> None:
    """Raise CheckpointError when the layout, a setting or a topic has changed, with both values."""
    if fault := other_layout(before):
        raise CheckpointError(fault, remedy=f"go back to the version that wrote them, or {RESET}")
    if changed := changed_settings(before, after):
        fault = f"the checkpoint belongs to other settings ({'; '.join(changed)})"
        raise CheckpointError(fault, remedy=f"restore the former values, or {RESET}")
    if before.topic_id != after.topic_id:
        ids = f"id {before.topic_id}, now {after.topic_id}"
        fault = f"topic {after.topic} was deleted and created again since the last run ({ids})"
        remedy = f"if you want to read the new topic, {RESET}"
        raise CheckpointError(f"{fault}: no stored offset fits it", remedy)


def refuse_gap(read: Mapping[int, int], first: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when Kafka deleted events that were not read yet, with their number by partition.

    read: by partition, the first offset that was not read yet; empty before the first query, when no event can be
    missing. first: by partition, Kafka's oldest offset. A new partition is read from offset 0.
    """
    due = {partition: read.get(partition, 0) for partition in {*read, *first}} if read else {}
    gone = {partition: first[partition] - end for partition, end in due.items() if first.get(partition, 0) > end}
    if gone:
        places = ", ".join(
            f"{count:,} of partition {partition} (offsets {due[partition]} to {first[partition] - 1})"
            for partition, count in sorted(gone.items())
        )
        remedy = "lengthen the topic's retention; to continue without them, `checkpoint --reset earliest`"
        raise EventsGone(f"Kafka deleted events of {topic} before they were read ({places})", remedy)


def refuse_lost_end(read: Mapping[int, int], end: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when Kafka's newest offset is older than one that was read.

    New events would then get the offsets of lost ones. read: by partition, the first offset that was not read yet.
    """
    lost = {partition: end[partition] for partition, until in read.items() if end.get(partition, until) < until}
    if lost:
        places = ", ".join(
            f"partition {partition} ends before offset {newest}, and was read up to offset {read[partition] - 1}"
            for partition, newest in sorted(lost.items())
        )
        fault = f"Kafka lost events of {topic} after they were read, by a power cut or another disk ({places})"
        raise EventsGone(fault, remedy=f"restore its disk, or send the events again and {RESET_FROM}")
