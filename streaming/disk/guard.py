"""The guard beside the checkpoint: one writer, and the topic and settings that its counts were made with.

Spark keeps neither. It ignores a changed setting, takes a topic that was deleted and made anew for the old one, and
notices a second job only when both write the same batch. All of this is refused here, before anything is written.
"""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import CheckpointError, EventsGone
from streaming.disk.audit import record
from streaming.disk.spark_files import (
    begin_offsets,
    begun_until,
    damaged,
    drop_unfinished,
    last_begun,
    last_commit,
    read_until,
)
from streaming.files import replace_file
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.topics.admin import Topic  # Kafka's client: the health check has no time for it

log = logging.getLogger(__name__)
STATE_LAYOUT = (
    2  # of the counts that streaming/flow/count.py and models/counting/blobs.py store: one more with every change of it
)
_LOOKS, _LOOK_AGAIN_S = 5, 0.05
_RESET = "or begin anew with `checkpoint reset`"


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint stands for. `settings`: all of the last run's as text, without secrets.

    Older versions kept neither Spark's version nor the layout of the counts, which was the first.
    """

    topic: str
    topic_id: str
    clock: str
    starting: str
    shuffle_partitions: int
    settings: dict[str, str] = {}
    spark: str = ""
    state_layout: int = 1


_SETTINGS = {
    "topic": "RISK_TOPIC",
    "clock": "RISK_CLOCK",
    "starting": "RISK_STARTING",
    "shuffle_partitions": "RISK_SHUFFLE_PARTITIONS",
}


@contextmanager
def only_writer(checkpoint: Path) -> Iterator[None]:
    """Hold the checkpoint's lock; the system gives it back when the process ends, however it ends.

    Raises CheckpointError while another process holds it, or when the folder cannot be written.
    """
    path = checkpoint / "lock"
    try:
        checkpoint.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CheckpointError(f"RISK_CHECKPOINT={checkpoint} cannot be written ({error.strerror})") from error
    try:
        try:
            _lock(file)
        except BlockingIOError as error:
            raise CheckpointError(
                f"{checkpoint} is in use by {os.read(file, 200).decode() or 'another process'}: stop that job, or set "
                "RISK_CHECKPOINT to a folder of this job's own"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be locked ({error.strerror}): set RISK_CHECKPOINT to a folder on a local disk"
            ) from error
        with suppress(OSError):  # a full disk: who holds it is a help, the lock does not need it
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(file)


def _lock(file: int) -> None:
    """Raises BlockingIOError when another process keeps the lock; `is_held` has it for a moment only."""
    for _ in range(_LOOKS):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_LOOK_AGAIN_S)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(checkpoint: Path) -> bool:
    """Whether a process holds the checkpoint's lock now."""
    try:
        file = os.open(checkpoint / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def claim(settings: Settings, topic: "Topic") -> None:
    """Check the checkpoint against this start, and keep what it stands for. Needs the lock.

    What a batch without a commit left of the state is removed. Raises CheckpointError when the topic or a setting that
    the counts rest on differs, or a part of the checkpoint is missing, and EventsGone when Kafka has deleted events
    that were not read yet, or lost some that were.
    """
    before, after = read_guard(settings.checkpoint), guard_of(settings, topic.id)
    refuse_missing_parts(settings.checkpoint)
    begin = begin_offsets(settings.checkpoint)
    if before is not None and (begin or last_begun(settings.checkpoint) >= 0):
        refuse_changes(before, after)
        _tell_other_spark(before, after, settings)
    _keep(settings.checkpoint / "guard.json", msgspec.json.format(msgspec.json.encode(after)))
    refuse_gap(begin | read_until(settings.checkpoint), topic.first_offsets, settings.topic)
    refuse_lost_end(begun_until(settings.checkpoint), topic.end_offsets, settings.topic)
    drop_unfinished(settings.checkpoint)


def guard_of(settings: Settings, topic_id: str) -> Guard:
    return Guard(
        topic=settings.topic,
        topic_id=topic_id,
        clock=settings.clock,
        starting=settings.starting,
        shuffle_partitions=settings.shuffle_partitions,
        settings=settings.shown(),
        spark=version("pyspark"),
        state_layout=STATE_LAYOUT,
    )


def other_layout(before: Guard) -> str:
    """In words, when this version cannot read the counts; empty when it can."""
    if before.state_layout == STATE_LAYOUT:
        return ""
    return f"the checkpoint's counts are stored in layout {before.state_layout}, and this version reads {STATE_LAYOUT}"


def _tell_other_spark(before: Guard, after: Guard, settings: Settings) -> None:
    """Spark as a rule reads what an older one wrote, so it is said and recorded, not refused."""
    was, now = (one.spark.split(".")[:2] for one in (before, after))
    if before.spark and was != now:
        log.warning(
            "the checkpoint was written by Spark %s and is read by %s: if that fails, install the former again, %s",
            before.spark,
            after.spark,
            _RESET,
        )
        details = {"was": before.spark, "now": after.spark}
        record(settings.audit, "other_spark", details, at_s=time.time(), checkpoint=settings.checkpoint)


def changed_settings(before: Guard, after: Guard | Settings) -> list[str]:
    """What the counts rest on and differs, each as `NAME was VALUE and is VALUE`."""
    return [
        f"{name} was {was} and is {now}"
        for field, name in _SETTINGS.items()
        if (was := getattr(before, field)) != (now := getattr(after, field))
    ]


def refuse_missing_parts(checkpoint: Path) -> None:
    """Raise CheckpointError when what Spark and we write one after the other is not there together.

    Before anything else: for want of a commit the counts would be taken for those of an unfinished batch, and removed.
    """
    begun, newest = last_begun(checkpoint), last_commit(checkpoint)
    if begun > (-1 if newest is None else newest[0]) + 1:
        raise damaged(checkpoint, f"batch {begun} was begun, but the commit of batch {begun - 1} is missing")
    if (begun >= 0 or newest) and not (checkpoint / "guard.json").exists():
        raise damaged(checkpoint, "its guard.json, which says what it was made with, is missing")


def refuse_changes(before: Guard, after: Guard) -> None:
    """Raise CheckpointError that names every setting that differs, with both values, or the layout or the topic."""
    if fault := other_layout(before):
        raise CheckpointError(f"{fault}: go back to the version that wrote them, {_RESET}")
    if changed := changed_settings(before, after):
        raise CheckpointError(f"the checkpoint was made with other settings: {'; '.join(changed)}. Set back, {_RESET}")
    if before.topic_id != after.topic_id:
        raise CheckpointError(
            f"topic {after.topic} was deleted and made anew since the last run (id {before.topic_id}, now "
            f"{after.topic_id}): offsets that were read mean nothing in it. If that is what you want, {_RESET[3:]}"
        )


def refuse_gap(read: Mapping[int, int], first: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when events between what was read and what Kafka still has are missing, by partition.

    read: by partition, the first offset that was not read yet; empty when no query has begun, and nothing can be
    missing. A partition that was added since is read from its beginning.
    """
    due = {partition: read.get(partition, 0) for partition in {*read, *first}} if read else {}
    gone = {partition: first[partition] - end for partition, end in due.items() if first.get(partition, 0) > end}
    if gone:
        places = ", ".join(
            f"{count:,} of partition {partition} (offsets {due[partition]} to {first[partition] - 1})"
            for partition, count in sorted(gone.items())
        )
        raise EventsGone(
            f"Kafka deleted events of {topic} before they were read: {places}. Lengthen the topic's retention; to go "
            "on without them, `checkpoint reset --from earliest`"
        )


def refuse_lost_end(read: Mapping[int, int], end: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when Kafka's newest event lies before what was read: new ones would take the lost ones' offsets.

    read: by partition, the first offset that was not read yet.
    """
    lost = {partition: end[partition] for partition, until in read.items() if end.get(partition, until) < until}
    if lost:
        places = ", ".join(
            f"partition {partition} ends before offset {found}, and was read up to offset {read[partition] - 1}"
            for partition, found in sorted(lost.items())
        )
        raise EventsGone(
            f"Kafka lost events of {topic} after they were read (a power cut, another disk): {places}. Bring its disk "
            "back, or have them sent again and begin anew with `checkpoint reset --from TIME`: counts then rest on the "
            "artifact's history and the events since TIME"
        )


def read_guard(checkpoint: Path) -> Guard | None:
    """What the checkpoint stands for; None when it is new."""
    path = checkpoint / "guard.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Guard)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): bring it back, {_RESET}") from error


def _keep(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error.strerror}): make room, or mend its rights") from error
