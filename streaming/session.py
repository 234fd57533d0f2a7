"""The Spark session, with the settings that design and measurement ask for."""

import sys
from importlib.metadata import version

from pyspark.sql import SparkSession

from streaming.jars import ivy_folder, ivy_settings
from streaming.settings import Settings

_STREAMING = "org.apache.spark.sql.execution.streaming"


def start_session(settings: Settings) -> SparkSession:
    """A session that can read Kafka. The first start downloads the connector's jars into the cache folder."""
    connector = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{version('pyspark')}"
    options = {
        "spark.jars.packages": connector,
        "spark.jars.ivySettings": str(ivy_settings(settings.cache)),
        "spark.jars.ivy": str(ivy_folder(settings.cache)),
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),  # 200 cost 9.6 s a batch
        "spark.sql.execution.arrow.maxRecordsPerBatch": "200000",
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.sql.streaming.minBatchesToRetain": "20",
        # The default manager needs 100 ms for what this one does in 20 ms on a local disk.
        "spark.sql.streaming.checkpointFileManagerClass": (
            f"{_STREAMING}.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
        "spark.sql.streaming.stateStore.providerClass": f"{_STREAMING}.state.RocksDBStateStoreProvider",
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
    }
    builder = SparkSession.builder.master(settings.master).appName("incident-risk-scorer")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.sparkContext.pythonExec = sys.executable  # what PYSPARK_PYTHON sets; the workers need our packages
    return session
