"""Starts Spark with its chatter in a file: the terminal belongs to the person who watches."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def start_spark(name: str, master: str, options: Mapping[str, str], log: Path) -> "SparkSession":
    """A session. What Java and, where it has no executors beside it, its Python workers print goes to `log`.

    A process has one Java: what is started after it has ended its session goes to the first one's log.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    conf = SparkConf(loadDefaults=False).setMaster(master).setAppName(name).setAll(list(options.items()))
    log.parent.mkdir(parents=True, exist_ok=True)
    if not SparkContext._gateway:
        with log.open("ab") as file:
            gateway = launch_gateway(conf, popen_kwargs={"stdout": file, "stderr": file})
        SparkContext._ensure_initialized(gateway=gateway)
    return SparkSession.builder.config(conf=conf).getOrCreate()
