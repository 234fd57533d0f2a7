"""Work over Spark's executors: how Spark starts, for training and the job, and works that run side by side.

Neither torch nor Spark is imported at the top, and nothing of training: the job reaches this file.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


Work = TypeVar("Work")
Result = TypeVar("Result")


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


@contextmanager
def executors(master: str, log: Path) -> Iterator["SparkSession"]:
    """A session whose executors run this Python. What Spark prints goes to `log`; executors have logs of their own.

    Raises SettingsError when Spark does not start.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        # A fit needs all its workers at once: wait a minute for them, not ten.
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "5s",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "12",
    }
    if master.startswith("local"):
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    try:
        session = start_spark("training", master, options, log)
    except (PySparkException, Py4JError) as error:
        raise SettingsError(
            f"Spark does not start on {master}", f"see {log}; it needs Java 17, and the master must answer"
        ) from error
    session.sparkContext.pythonExec = sys.executable  # what PYSPARK_PYTHON sets; the executors need our packages
    try:
        yield session
    finally:
        session.stop()


def side_by_side(
    session: "SparkSession", do: Callable[[Work], Result], works: Sequence[Work], *, workers: int, log: Path
) -> Iterator[tuple[Work, Result | None]]:
    """Each work with what `do` made of it in a task of its own, in the order in which they end; `workers` at once.

    None for a task that did not come to an end: `log` says why. `do` must be a function of a module.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    def in_a_task(work: Work) -> Result:
        (result,) = session.sparkContext.parallelize([work], 1).map(do).collect()
        return result  # type: ignore[no-any-return]

    pool = ThreadPoolExecutor(workers)
    try:
        works_of = {pool.submit(in_a_task, work): work for work in works}
        for ended in as_completed(works_of):
            try:
                result = ended.result()
            except (PySparkException, Py4JError) as error:
                result = None
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"{error}\n")
            yield works_of[ended], result
    finally:
        pool.shutdown(cancel_futures=True)
