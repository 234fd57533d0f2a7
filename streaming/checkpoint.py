"""The checkpoint: its lock, its guard, where Spark keeps its part and what it wrote there, and a reset.

The guard names the topic and the settings that the counts depend on. Spark stores neither. It ignores a changed
setting, and takes a topic that was deleted and created again for the old one. `take_over_checkpoint` refuses both
before it writes its own guard and removes what an unfinished batch left.

<checkpoint>/spark is the folder of Spark's offsets, commits and counts, a link to it, or a file with its address,
`s3a://BUCKET/FOLDER`: then Spark's workers on other machines reach it, too. All else beside it stays with the driver.
Spark writes a batch's offsets before the batch runs, its state while it runs, and its commit when it is stored. They
are read here without Spark.

A reset sets aside the content, and stores the time of the topic where the next run begins. It first writes its
intention, the file `reset-STAMP`, and in its last step renames that file to `begin`. While a `reset-STAMP` exists, the
content is still to be moved. So a crash or a full disk in between loses nothing.
"""

import fcntl
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from schemas.audit import record
from schemas.errors import CheckpointError, EventsGone
from schemas.files import instant_text, read_json, replace_file, write_errors

if TYPE_CHECKING:  # at runtime it would cost each short command half a second
    from pyarrow.fs import FileInfo, FileSystem

    from streaming.kafka import Topic
    from streaming.settings import Settings

log = logging.getLogger(__name__)
OBJECT_STORE = "s3a://"
_TRIES, _PAUSE_S = 6, 0.05  # of the lock
# Of the counts that streaming/flow/count.py and models/counting/blobs.py store: add 1 with every change of it.
STATE_LAYOUT = 2
RESET = "begin anew with `checkpoint --reset`"
_COUNTS_DEPEND_ON = ("topic", "clock", "starting", "shuffle_partitions")
RESET_FROM = (
    "begin anew with `checkpoint --reset TIME`: the counts then consist of the artifact's history and the events "
    "since TIME"
)
_STATE_FILE = re.compile(r"\.?(\d+)\.(?:changelog|zip)(?:\.crc)?")
_CONTENT = ("spark", "batches", "outcomes", "roster.json", "guard.json", "begin")


@contextmanager
def only_writer(checkpoint: Path) -> Iterator[None]:
    """Hold the checkpoint's lock, at most until the process ends. Raises CheckpointError when another one holds it."""
    path = checkpoint / "lock"
    with write_errors(CheckpointError, f"RISK_CHECKPOINT={checkpoint}"):
        checkpoint.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for tries_left in reversed(range(_TRIES)):  # `is_held` holds it for a moment only
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not tries_left:
                    holder = os.read(file, 200).decode() or "another process"
                    remedy = "stop that job, or set RISK_CHECKPOINT to a folder that no other job uses"
                    raise CheckpointError(f"{checkpoint} is in use by {holder}", remedy) from error
            except OSError as error:
                remedy = "set RISK_CHECKPOINT to a folder on a local disk"
                raise CheckpointError(f"{path} cannot be locked ({error.strerror})", remedy) from error
            time.sleep(_PAUSE_S)
        with suppress(OSError):  # the disk may be full; the lock holds without this text
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(file)


def is_held(checkpoint: Path) -> bool:
    """Whether a process holds the checkpoint's lock now."""
    try:
        file = os.open(checkpoint / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


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
    def of(cls, settings: "Settings", topic_id: str) -> "CheckpointGuard":
        return cls(
            topic_id=topic_id,
            settings=settings.shown(),
            spark=version("pyspark"),
            state_layout=STATE_LAYOUT,
            **settings.model_dump(include=set(_COUNTS_DEPEND_ON)),
        )


def take_over_checkpoint(checkpoint: Path, after: CheckpointGuard, topic: "Topic", *, audit: Path) -> None:
    """Make the checkpoint that of this start: `after` is its new guard, state files of a batch without a commit go.

    The caller holds the lock. Raises CheckpointError when a topic or a setting that the counts depend on has changed,
    or a part of the checkpoint is missing; EventsGone when Kafka deleted events that were not read yet, or lost events
    that were read.
    """
    before = read_guard(checkpoint)
    refuse_missing_parts(checkpoint)
    begin, begun = begin_offsets(checkpoint), last_begun(checkpoint)
    if before is not None and (begin or begun >= 0):
        refuse_changes(before, after)
        was, now = (guard.spark.split(".")[:2] for guard in (before, after))
        if was != now:  # it is not refused: Spark usually reads what an older one wrote
            log.warning(
                f"Spark {before.spark} wrote the checkpoint, and Spark {after.spark} reads it: if that fails, install "
                f"the older one again, or {RESET}"
            )
            details = {"was": before.spark, "now": after.spark}
            record(audit, "other_spark", details, at_s=time.time(), checkpoint=checkpoint)
    with write_errors(CheckpointError, path := checkpoint / "guard.json"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(after)))
    refuse_gap(begin | read_until(checkpoint), topic.first_offsets, after.topic)
    # What a batch has asked for was read, or may have been.
    asked_until = begin | (end_offsets(checkpoint, begun) if begun >= 0 else {})
    refuse_lost_end(asked_until, topic.end_offsets, after.topic)
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
        f"RISK_{field.upper()} was {was} and is {now}"
        for field in _COUNTS_DEPEND_ON
        if (was := getattr(before, field)) != (now := getattr(after, field))
    ]


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


def spark_address(checkpoint: Path) -> str:
    """The folder as Spark on any machine finds it."""
    place = checkpoint / "spark"
    return place.read_text(encoding="utf-8").strip() if place.is_file() else str(place.resolve())


@dataclass(frozen=True, slots=True)
class SparkFolder:
    """Read and cleared here, written by Spark. An object store that does not answer raises CheckpointError.

    files, root: the file system, and the folder in it.
    """

    address: str
    files: "FileSystem"
    root: str

    @classmethod
    def of(cls, checkpoint: Path) -> "SparkFolder":
        return cls.at(spark_address(checkpoint))

    @classmethod
    def at(cls, address: str) -> "SparkFolder":
        """Keys, region and endpoint of an object store come from AWS's usual variables of the environment."""
        from pyarrow.fs import LocalFileSystem  # a tenth of a second that other commands save

        if not address.startswith(OBJECT_STORE):
            return cls(address, LocalFileSystem(), address)
        bucket, _, folder = address.removeprefix(OBJECT_STORE).partition("/")
        with _reached(address):
            return cls(address, _object_store(bucket), f"{bucket}/{folder}")

    def listed(self, *below: str, deep: bool = False) -> "list[FileInfo]":
        """The files of a folder, with those of its folders if `deep`; none when it does not exist."""
        from pyarrow.fs import FileSelector

        selector = FileSelector("/".join((self.root, *below)), allow_not_found=True, recursive=deep)
        with _reached(self.address):
            return [info for info in self.files.get_file_info(selector) if info.is_file]

    def has(self, *below: str) -> bool:
        with _reached(self.address):
            return bool(self.files.get_file_info("/".join((self.root, *below))).is_file)

    def text(self, *below: str) -> str:
        """Raises FileNotFoundError, UnicodeDecodeError."""
        path = "/".join((self.root, *below))
        with _reached(self.address), self.files.open_input_stream(path, compression=None) as file:
            return bytes(file.read()).decode()

    def write(self, content: bytes, *below: str) -> None:
        with _reached(self.address), self.files.open_output_stream("/".join((self.root, *below))) as file:
            file.write(content)

    def delete(self, info: "FileInfo") -> None:
        with _reached(self.address):
            self.files.delete_file(info.path)


@cache
def _object_store(bucket: str) -> "FileSystem":
    """One client for a bucket: it looks up its region."""
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"s3://{bucket}")[0]


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        fault = f"{address}, where Spark's state is, cannot be reached ({str(error).splitlines()[0][:300]})"
        raise CheckpointError(fault, remedy="nothing is lost: start again once it can") from error


def is_stored(checkpoint: Path, shared: str) -> bool:
    """Whether Spark's state is in an object store, or will be."""
    return any(place.startswith(OBJECT_STORE) for place in (shared, spark_address(checkpoint)))


def refuse_unshared(shared: str) -> None:
    """Raise CheckpointError where Spark's state could not begin in `shared`: a file is written there and removed."""
    if shared.startswith(OBJECT_STORE):
        folder = SparkFolder.at(shared.rstrip("/"))
        folder.write(b"", "tried")
        for info in folder.listed():
            if info.base_name == "tried":
                folder.delete(info)
        return
    with _shared_errors(shared), tempfile.TemporaryFile(dir=shared):
        pass


def place_state(checkpoint: Path, shared: str, name: str) -> None:
    """Where there is no state yet, begin it in `shared` as the folder `name`. The caller holds the lock.

    shared: a folder, an address of an object store, or empty. Raises CheckpointError when the state is away, or lies
    on this machine alone though it is to be shared.
    """
    place = checkpoint / "spark"
    if place.is_file():
        if not SparkFolder.of(checkpoint).listed(deep=True):
            fault = f"{place} leads to {spark_address(checkpoint)}, where nothing is"
            raise CheckpointError(fault, remedy="bring it back; `checkpoint --reset` begins anew")
        return
    if place.is_symlink() and not place.exists():
        fault = f"{place} leads to {place.readlink()}, which is not there"
        raise CheckpointError(fault, remedy="mount the shared folder, then start again")
    if not shared or place.is_symlink():
        return
    goes_away = shared.startswith(OBJECT_STORE)
    home = f"{shared.rstrip('/')}/{name}" if goes_away else str(Path(shared).absolute() / name)
    if place.exists():
        leads = f"a file with the line {home}" if goes_away else "a link to it"
        fault = f"{place} lies on this machine alone, and RISK_SPARK_STATE={shared} is to be shared"
        raise CheckpointError(fault, remedy=f"stop the job, move {place} to {home}, and make {place} {leads}")
    if goes_away:
        SparkFolder.at(home).write(b"", "begun")  # an object store knows no empty folder
        with write_errors(CheckpointError, place):
            replace_file(place, f"{home}\n".encode())
        return
    with _shared_errors(shared):
        Path(home).mkdir()
        place.symlink_to(home)


def _shared_errors(shared: str) -> AbstractContextManager[None]:
    return write_errors(CheckpointError, f"RISK_SPARK_STATE={shared}", remedy="make it, and let this user write")


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


def begin_ms(checkpoint: Path) -> int | None:
    """Kafka time of the first event that counts, epoch milliseconds; None without a reset."""
    path = checkpoint / "begin"
    return int(path.read_text(encoding="utf-8")) if path.exists() else None


def unfinished_reset(checkpoint: Path) -> Path | None:
    """The intention of a reset that was interrupted."""
    return min(checkpoint.glob("reset-*"), default=None)


def set_aside(checkpoint: Path, stamp: str, *, from_ms: int) -> Path | None:
    """Move the content into the subfolder `old-STAMP`, so that the next run begins anew. The caller holds the lock.

    from_ms: the later value of `begin_ms`. Gives the subfolder, or None when there was nothing to move.
    """
    finish_reset(checkpoint)
    intention = checkpoint / f"reset-{stamp}"
    with write_errors(CheckpointError, intention, remedy="make room, or correct its permissions; nothing was moved"):
        replace_file(intention, str(from_ms).encode())
    return _carry_out(intention)


def finish_reset(checkpoint: Path) -> None:
    """Finish an interrupted reset, and log it. The caller holds the lock."""
    intention = unfinished_reset(checkpoint)
    if intention is not None:
        begins_s = int(intention.read_text(encoding="utf-8")) / 1000
        result = reset_text(_carry_out(intention))
        log.warning("finished an interrupted reset: the topic is read from %s; %s", instant_text(begins_s), result)


def reset_text(old: Path | None) -> str:
    """The result of `set_aside` as text."""
    return f"the former content is in {old}" if old else "there was nothing to keep"


def _carry_out(intention: Path) -> Path | None:
    checkpoint = intention.parent
    old = checkpoint / intention.name.replace("reset-", "old-")
    content = [name for name in _CONTENT if os.path.lexists(checkpoint / name)]
    if content == ["begin"] and not old.exists():  # a reset right after another one
        content = []
    remedy = "make room, or correct its permissions; the next `run` or `checkpoint --reset` finishes the reset"
    with write_errors(CheckpointError, old, remedy=remedy):
        for name in content:
            old.mkdir(exist_ok=True)
            (checkpoint / name).rename(old / name)
        intention.rename(checkpoint / "begin")
    return old if old.exists() else None
