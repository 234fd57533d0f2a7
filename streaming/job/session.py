"""The Spark session, with the settings that design and measurement ask for."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from models.training.spark_start import start_spark
from schemas.errors import CheckpointError, SparkFailed
from streaming.disk.spark_folder import emptied_scratch, is_stored
from streaming.job.diagnosis import Diagnosis
from streaming.job.jars import alone_with_ivy, class_archive, jar_options, keep_list_of_jars, needed_packages
from streaming.settings import Settings

_STREAMING = "org.apache.spark.sql.execution.streaming"
_LONGEST_OF_SOCKETS = 60  # characters of their folder: their names have 42, and the system takes 107
_JAVA_IS_GONE = (Py4JError, ConnectionError)
_RECORDED = ("ui.retainedJobs", "ui.retainedStages", "ui.retainedTasks", "sql.ui.retainedExecutions")


@contextmanager
def spark_session(settings: Settings, diagnosis: Diagnosis) -> Iterator[SparkSession]:
    """A session that is stopped at the end. Raises SparkFailed when Spark does not start, or when Java ends first."""
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


def _java_hung_up(*_: object) -> None:
    """The supervisor of the query reports it."""


def start_session(
    settings: Settings, log: Path, *, scratch: Path | None = None, classes_into: Path | None = None
) -> SparkSession:
    """A session that can read Kafka. The first start downloads the connector's jars into the cache folder.

    scratch: for what Spark does not keep; without it the machine's folder for temporary files. On a cluster its
    machines have their own.

    What Spark and its workers print goes to `log`: the terminal belongs to the person who watches the job. Java takes
    its classes from the archive that `prepare` wrote, if there is one; with `classes_into` it writes one at its end.
    """
    packages = needed_packages(settings.checkpoint, settings.spark_state)
    jars = jar_options(settings.cache, packages)
    options = jars | _options(settings, scratch, classes_into)
    on_interrupt = signal.getsignal(signal.SIGINT)
    with nullcontext() if "spark.jars" in jars else alone_with_ivy(settings.cache):
        session = start_spark("incident-risk-scorer", settings.master, options, log)
    signal.signal(signal.SIGINT, on_interrupt)  # pyspark put its own in place, which cuts the running batch
    session.sparkContext.setLogLevel("ERROR")
    session.sparkContext._accumulatorServer.handle_error = _java_hung_up  # it prints a trace when Java ends before us
    session.sparkContext.pythonExec = sys.executable  # what PYSPARK_PYTHON sets; the workers need our packages
    if "spark.jars" not in jars:
        keep_list_of_jars(settings.cache, packages, session.sparkContext._jsc.sc().listJars().mkString(",").split(","))
    return session


def _options(settings: Settings, scratch: Path | None, classes_into: Path | None) -> dict[str, str]:
    java_options = ["-XX:+UseParallelGC"]  # more events a second and shorter batches than with G1 or serial
    if scratch:
        java_options.append(f'"-Djava.io.tmpdir={scratch}"')
    if classes_into:
        java_options.append(f'"-XX:ArchiveClassesAtExit={classes_into}"')
    elif archive := class_archive(settings.cache):
        java_options.append(f'"-XX:SharedArchiveFile={archive}"')
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
