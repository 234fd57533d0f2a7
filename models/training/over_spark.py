"""Training over Spark's executors: one fit spread over several, or several regions side by side; and how Spark starts.

The job starts Spark by this file, too: neither torch nor Spark is imported at its top.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from schemas.errors import PipelineError, SettingsError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from models.training.fit_network import AfterEpoch, FitData, FitPlan, FittedNetwork

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


def fit_spread(
    data: "FitData", plan: "FitPlan", after_epoch: "AfterEpoch", *, workers: int, log: Path
) -> "FittedNetwork":
    """`fit_network` by `workers` processes of the active session's executors, for use within `executors`.

    `after_epoch` is told of all epochs at the end. The examples lie in a folder beside `log` meanwhile, which every
    executor must see under the same path. Raises PipelineError when the executors do not finish; `log` says why.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.ml.torch.distributor import TorchDistributor

    from models.training.fit_network import read_fitted, write_fit

    logging.getLogger("TorchDistributor").addHandler(logging.NullHandler())  # or it makes one for the terminal
    shared = log.resolve().parent
    shared.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fit-", dir=shared) as name, log.open("a", encoding="utf-8") as file:
        write_fit(Path(name), plan, data)
        try:
            with redirect_stderr(file):  # where it prints what the executors say
                distributor = TorchDistributor(num_processes=workers, local_mode=False, use_gpu=False)
                # A module by name: a function would be pickled to disk.
                distributor.run("-m", "models.training.fit_network", name)
            fitted, ratios = read_fitted(Path(name), plan.recipe.network, data.train.shape)
        except (PySparkException, Py4JError, FileNotFoundError) as error:  # it does not notice when a process fails
            file.write(f"{error}\n")
            raise PipelineError(
                f"{workers} workers did not finish",
                f"see {log}; they need as many free cores at once, this program, and the folder {shared}",
            ) from error
    for number, ratio in enumerate(ratios):
        after_epoch(number, ratio)
    return fitted


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
