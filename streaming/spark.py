"""Spark's session, with the settings that design and measurement ask for; and why it ended, in a line for a person."""

import os
import re
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from threading import Event

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from models.training.over_spark import start_spark
from schemas.errors import BrokerError, CheckpointError, RiskError, SparkFailed
from schemas.files import write_errors
from streaming.checkpoint import damaged, is_stored, open_batch
from streaming.jars import fetch_jars, needed_jars
from streaming.kafka import refusal_in
from streaming.settings import Settings

_SIGNAL_MAY_FOLLOW_S = 1.0
_KAFKA_FAILED = re.compile(r"org\.apache\.kafka\.common\.errors\.(Timeout|Disconnect|Network)Exception")
_EVENTS_LOST = re.compile(r"KAFKA_DATA_LOSS|[Ss]ome data may have been (?:lost|missed)")
_UNREADABLE = re.compile(r"Record at (topic \S+ partition \d+ offset \d+) has timestamp value (-?\d+)")
_WORKER_LATE = re.compile(r"Python worker failed to connect back|CANNOT_OPEN_SOCKET")
_WORKER_GONE = re.compile(r"Python worker exited unexpectedly|IOException: (?:Broken pipe|Connection reset)")
# Spark's text for a damaged checkpoint -> ours. The first that matches counts.
_DAMAGED = (
    (r"Incomplete log file", "a file of offsets or commits is cut off"),
    (r"STREAMING_CHECKPOINT_MISSING_METADATA_FILE|MISSING_METADATA_FILE", "its file `metadata` is missing"),
    (r"MISSING_STATE_DIRECTORY", "the folder of the counts is missing"),
    (r"ChecksumException: Checksum error: file:(\S+)", "a file does not match its checksum"),
    (r"CANNOT_LOAD_STATE_STORE|CANNOT_READ_\w*|UNEXPECTED_FILE_SIZE", "the counts in it cannot be read"),
    (r"STATE_STORE_(?:KEY|VALUE)_SCHEMA_NOT_COMPATIBLE", "the counts in it were written by another version"),
    (r"CONCURRENT_STREAM_LOG_UPDATE|Multiple streaming queries are concurrently", "offsets and commits do not match"),
)
_STREAMING = "org.apache.spark.sql.execution.streaming"
_LONGEST_OF_SOCKETS = 60  # characters of their folder: their names have 42, and the system takes 107
_JAVA_IS_GONE = (Py4JError, ConnectionError)
_RECORDED = ("ui.retainedJobs", "ui.retainedStages", "ui.retainedTasks", "sql.ui.retainedExecutions")


@contextmanager
def spark_session(settings: Settings) -> Iterator[SparkSession]:
    """A session that is stopped at the end. Raises SparkFailed when Spark does not start, or when Java ends first."""
    diagnosis = Diagnosis(settings)
    log = diagnosis.spark_log
    scratch = emptied_scratch(settings.checkpoint) if settings.master.startswith("local") else None
    try:
        session = start_session(settings, log, scratch=scratch)
    except (*_JAVA_IS_GONE, PySparkException) as error:
        raise SparkFailed(f"Spark did not start ({diagnosis.first_line(error)})", remedy=f"see {log}") from error
    try:
        yield session
    except _JAVA_IS_GONE as error:  # also while Java is asked for the text of an error
        raise SparkFailed(
            "Spark's Java process is gone (killed, or out of memory); nothing is lost", remedy=f"start again; see {log}"
        ) from error
    finally:
        with suppress(*_JAVA_IS_GONE):
            session.stop()
        if scratch:
            with suppress(CheckpointError):  # the next start tries again
                emptied_scratch(settings.checkpoint)


def scratch_of(checkpoint: Path) -> Path:
    """Of the jobs on one checkpoint that one user starts."""
    name = sha256(f"{os.getuid()} {checkpoint.resolve()}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"incident-risk-{name}")


def emptied_scratch(checkpoint: Path) -> Path:
    """The folder for what Spark does not keep, without what a job that was killed left there: messages, sockets.

    It is not in the checkpoint, which may lie on a network's disk, and is backed up. The caller holds the checkpoint's
    lock. Raises CheckpointError when it cannot be made, or is not ours alone: anybody may write beside it.
    """
    folder = scratch_of(checkpoint)
    remedy = "remove it, or set TMPDIR to another folder that this user may write"
    with write_errors(CheckpointError, folder, remedy=remedy):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise CheckpointError(f"{folder}, for what Spark shuffles, is a link or another user's", remedy)
        folder.chmod(0o700)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # Java may still be at its own end, and remove it too
            else:
                path.unlink(missing_ok=True)
    return folder


def start_session(settings: Settings, log: Path, *, scratch: Path | None = None) -> SparkSession:
    """A session that can read Kafka. The first start fetches the connector's jars into the cache folder.

    scratch: for what Spark does not keep; without it the machine's folder for temporary files. On a cluster its
    machines have their own.

    What Spark and its workers print goes to `log`: the terminal belongs to the person who watches the job.
    """
    jars = fetch_jars(settings.cache, needed_jars(settings.checkpoint, settings.spark_state))
    options = {"spark.jars": ",".join(map(str, jars))} | _options(settings, scratch)
    on_interrupt = signal.getsignal(signal.SIGINT)
    session = start_spark("incident-risk-scorer", settings.master, options, log)
    signal.signal(signal.SIGINT, on_interrupt)  # pyspark put its own in place, which cuts the running batch
    session.sparkContext.setLogLevel("ERROR")
    # It would print a trace when Java ends before us, which the supervisor of the query reports.
    session.sparkContext._accumulatorServer.handle_error = lambda *_: None
    session.sparkContext.pythonExec = sys.executable  # what PYSPARK_PYTHON sets; the workers need our packages
    return session


def _options(settings: Settings, scratch: Path | None) -> dict[str, str]:
    java_options = ["-XX:+UseParallelGC"]  # more events a second and shorter batches than with G1 or serial
    if scratch:
        java_options.append(f'"-Djava.io.tmpdir={scratch}"')
    options = {
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.maxResultSize": settings.driver_memory,  # a day's first batch brings every region's counts
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.ui.enabled": "false",
        **{f"spark.{what}": "20" for what in _RECORDED},  # 1,000 are tens of MiB that no one reads
        "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|jaas",  # the last is ours
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),  # 200 cost 9.6 s a batch
        "spark.sql.execution.arrow.maxRecordsPerBatch": "5000",  # 200,000 objects at once miss every cache
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.daemon.module": "streaming.flow.worker_daemon",  # a new worker is there at once
        "spark.sql.streaming.minBatchesToRetain": "20",
        # The default manager needs 100 ms for what this one does in 20 ms on a local disk. The one for object stores
        # without a rename passes silently over a file that another job has written meanwhile; this one refuses.
        "spark.sql.streaming.checkpointFileManagerClass": (
            f"{_STREAMING}.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
        "spark.sql.streaming.stateStore.providerClass": f"{_STREAMING}.state.RocksDBStateStoreProvider",
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
    }
    if scratch:
        options["spark.local.dir"] = str(scratch)
        if len(str(scratch)) > _LONGEST_OF_SOCKETS:
            options["spark.python.unix.domain.socket.enabled"] = "false"
    if is_stored(settings.checkpoint, settings.spark_state):
        options["spark.hadoop.fs.s3a.path.style.access"] = "true"  # many stores have no name for each bucket
    if settings.master.startswith("local"):  # elsewhere executors must find the driver, by Spark's choice or the user's
        options |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    return options


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Turns Spark's errors into a RiskError with its remedy: Spark itself prints hundreds of lines."""

    settings: Settings

    @property
    def spark_log(self) -> Path:
        return self.settings.checkpoint.absolute() / "spark.log"

    def failure(self, error: Exception) -> RiskError:
        """The RiskError that says what ended the query."""
        text = str(error)
        if unreadable := _UNREADABLE.search(text):
            place, timestamp = unreadable.groups()
            return BrokerError(
                f"Spark cannot read {place}: its Kafka timestamp {timestamp} ms is too far away",
                remedy="set message.timestamp.after.max.ms of the topic, so that the broker refuses such messages; "
                "then pass this one with `checkpoint --reset TIME`",
            )
        kafka, user = self.settings.kafka_bootstrap, self.settings.kafka_username
        if refused := refusal_in(text, bootstrap=kafka, username=user):
            return refused
        for pattern, what in _DAMAGED:
            if re.search(pattern, text):
                return damaged(self.settings.checkpoint, f"{what} (see {self.spark_log})")
        if _WORKER_LATE.search(text):
            return SparkFailed(
                f"a Python worker of Spark did not start in time{self._place()}: the machine is overloaded, or the "
                "folder for temporary files is full or gone",
                remedy=f"start again when that is over; see {self.spark_log}",
            )
        if _WORKER_GONE.search(text):
            return SparkFailed(
                f"a Python worker of Spark ended at every try{self._place()}; most likely the system killed it because "
                "memory ran out (`dmesg`, or the container's limit)",
                remedy="give it more memory; RISK_MAX_EVENTS_PER_BATCH makes later batches smaller, but not this one; "
                f"see {self.spark_log}",
            )
        return SparkFailed(f"{self.first_line(error)}{self._place()}", remedy=f"see {self.spark_log}")

    def first_line(self, error: Exception) -> str:
        """The text of an exception without Spark's plans and traces, and without secrets."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        named = [line for line in lines if "Error:" in line or "Exception:" in line]
        before_plan = list(takewhile(lambda line: not line.startswith("=="), lines))
        return self.settings.without_secrets((named or before_plan or lines or [type(error).__name__])[-1])[:500]

    def _place(self) -> str:
        """` in batch 7 of incidents.v1 (partition 0: offsets 10 to 12)`, if a batch began and did not end."""
        batch = open_batch(self.settings.checkpoint)
        if batch is None:
            return ""
        number, spans = batch
        places = ", ".join(f"partition {p}: offsets {first} to {last}" for p, (first, last) in sorted(spans.items()))
        return f" in batch {number} of {self.settings.topic} ({places or 'no events'}), which the next start repeats"


def failed_by_kafka(error: Exception) -> bool:
    """Whether a client of Kafka gave up waiting: a new query may succeed."""
    return bool(_KAFKA_FAILED.search(str(error)))


def lost_events(error: Exception) -> bool:
    """Whether Spark misses events in the topic. Which are gone, and whether it is the same topic, Kafka can say."""
    return bool(_EVENTS_LOST.search(str(error)))


def ended_by_signal(failure: RiskError, stop: Event) -> bool:
    """Whether Spark failed because the signal that stops us also reached its own processes.

    A supervisor that ends a group one by one may reach Spark's processes before us, so `stop` has a second to be set.
    """
    return isinstance(failure, SparkFailed) and stop.wait(_SIGNAL_MAY_FOLLOW_S)
