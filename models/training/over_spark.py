"""Training over Spark's executors: one fit spread over several, or several regions side by side.

The executors share a folder. `torchrun ... -m models.training.over_spark FOLDER` is one of the processes of its fit.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import distributed

from models.dispersion import Dispersion
from models.network import NetworkShape
from models.network_kinds import kind_of_network
from models.training.fit_network import AfterEpoch, Examples, FitData, FitPlan, FittedNetwork, KeptState, fit_network
from models.training.spark_start import start_spark
from schemas.errors import PipelineError, SettingsError

if TYPE_CHECKING:  # its import takes a second, and one worker needs no Spark
    from pyspark.sql import SparkSession

_EXAMPLES, _PLAN, _FITTED, _RATIOS, _KEPT = "examples.safetensors", "plan.json", "fitted.safetensors", "ratios", "kept"
Work = TypeVar("Work")
Result = TypeVar("Result")


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


def fit_spread(data: FitData, plan: FitPlan, after_epoch: AfterEpoch, *, workers: int, log: Path) -> FittedNetwork:
    """`fit_network` by `workers` processes of the active session's executors, for use within `executors`.

    `after_epoch` is told of all epochs at the end. The examples lie in a folder beside `log` meanwhile, which every
    executor must see under the same path. Raises PipelineError when the executors do not finish; `log` says why.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.ml.torch.distributor import TorchDistributor

    logging.getLogger("TorchDistributor").addHandler(logging.NullHandler())  # or it makes one for the terminal
    shared = log.resolve().parent
    shared.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fit-", dir=shared) as name, log.open("a", encoding="utf-8") as file:
        write_fit(Path(name), plan, data)
        try:
            with redirect_stderr(file):  # where it prints what the executors say
                distributor = TorchDistributor(num_processes=workers, local_mode=False, use_gpu=False)
                # A module by name: a function would be pickled to disk.
                distributor.run("-m", "models.training.over_spark", name)
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


def write_fit(folder: Path, plan: FitPlan, data: FitData) -> None:
    """Leave a fit in a folder that processes share: tensors as safetensors, numbers as JSON. Nothing can execute."""
    tensors = {
        "train_values": data.train.values,
        "train_counts": data.train.counts,
        "validation_values": data.validation.values,
        "validation_counts": data.validation.counts,
        "dispersion": torch.from_numpy(data.dispersion.r),
        "dispersion_power": torch.from_numpy(data.dispersion.power),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _EXAMPLES)
    (folder / _PLAN).write_bytes(msgspec.json.encode(plan))


def read_fit(folder: Path) -> tuple[FitPlan, FitData]:
    """What `write_fit` left. The file is mapped, so that processes of one machine share its memory."""
    tensors = load_file(folder / _EXAMPLES)
    return msgspec.json.decode((folder / _PLAN).read_bytes(), type=FitPlan), FitData(
        train=Examples(values=tensors["train_values"], counts=tensors["train_counts"]),
        validation=Examples(values=tensors["validation_values"], counts=tensors["validation_counts"]),
        dispersion=Dispersion(r=tensors["dispersion"].numpy(), power=tensors["dispersion_power"].numpy()),
    )


def write_fitted(folder: Path, fitted: FittedNetwork, ratios: Sequence[float]) -> None:
    """Leave the outcome, whole or not at all: the network, and the validation loss over the baseline's by epoch."""
    part = folder / f".{_FITTED}"
    kept = torch.frombuffer(bytearray(msgspec.json.encode(fitted.kept)), dtype=torch.uint8)
    about = {_RATIOS: torch.tensor(ratios, dtype=torch.float64), _KEPT: kept}
    save_file({**about, **fitted.network.state_dict()}, part)
    part.rename(folder / _FITTED)


def read_fitted(folder: Path, kind: str, shape: NetworkShape) -> tuple[FittedNetwork, list[float]]:
    """What `write_fitted` left: the outcome, and the ratios. FileNotFoundError when it left nothing."""
    tensors = load_file(folder / _FITTED)
    ratios = tensors.pop(_RATIOS).tolist()
    kept = msgspec.json.decode(tensors.pop(_KEPT).numpy().tobytes(), type=KeptState)
    network = kind_of_network(kind).from_tensors(tensors, shape)
    return FittedNetwork(network.eval().requires_grad_(False), kept), ratios


def fit_share(folder: Path) -> None:
    """Take part in the fit in `folder`; rank 0 leaves the outcome there."""
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    distributed.init_process_group("gloo")
    plan, data = read_fit(folder)
    ratios: list[float] = []
    fitted = fit_network(data, plan, lambda _, ratio: ratios.append(ratio))
    if distributed.get_rank() == 0:
        write_fitted(folder, fitted, ratios)
    # A thread of gloo may still hold the last sum's tensor, and a process that ends before it lets go is aborted: in 2
    # of 21 fits on a busy machine, with the barrier in 1 of 54.
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    fit_share(Path(sys.argv[1]))
