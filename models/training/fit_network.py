"""Training the residual network: fitted on one block of time, stopped early by the next.

One fit may be spread over processes that share a folder: `torchrun ... -m models.training.fit_network FOLDER` is one.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from math import ceil, log, nan, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.dispersion import LEAST_GAIN, LEAST_NATS, Dispersion, negative_binomial_nll
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.measures import Floats
from models.network import NetworkShape, RiskNetwork
from models.network_kinds import DEFAULT, Hyperparameters, kind_of_network
from models.training.replay import IncidentHistory, Replay
from schemas.errors import DataError, PipelineError

WARM_STARTED = 300_000  # rows (cell, category and moment) that the warm start is fitted on
# Incidents within the first horizon that those rows have at least, where there are so many: of fewer the linear part
# learns mostly noise, and does not pass validation. Hourly counts of small cells need more rows for it.
LEAST_INCIDENTS = 5_000
MORE_OFF = 0.05  # of the log of a total's forecast over what came
_JUDGED_TOGETHER = 16_384  # cells at a moment; a part of the sum, no choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Cells at moments. The last columns of the features are the log of the baseline."""

    values: Tensor  # (n, categories, features)
    counts: Tensor  # (n, categories, horizons) incidents that came

    @property
    def shape(self) -> NetworkShape:
        """The sides of a network for these examples."""
        _, categories, inputs = self.values.shape
        return NetworkShape(inputs=inputs, categories=categories, horizons=self.counts.shape[2])

    @property
    def log_usual(self) -> Tensor:
        return self.values[:, :, usual_columns(self.counts.shape[2])]

    def none(self) -> "Examples":
        """No examples of the same shape."""
        return Examples(values=self.values[:0], counts=self.counts[:0])

    def on(self, device: str) -> "Examples":
        return Examples(values=self.values.to(device), counts=self.counts.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class FitData:
    """What a network is fitted on, and what a forecast's spread is meanwhile."""

    train: Examples
    validation: Examples
    dispersion: Dispersion  # (categories, horizons)

    def size(self, log_usual: Tensor) -> Tensor:
        """The negative binomial's size where the baseline expects that. log_usual: (n, categories, horizons)."""
        return self.dispersion.tensor_size(torch.exp(log_usual))

    def on(self, device: str) -> "FitData":
        return FitData(train=self.train.on(device), validation=self.validation.on(device), dispersion=self.dispersion)


class FitState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the states that a fit goes through is kept."""

    warm_start: int = 0  # from 1; 0: none of them
    epoch: int = 0  # from 1; 0: as after the warm start
    share: tuple[float, ...] = ()  # of its correction that is served, by horizon; (): all of it


class FitPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is fitted."""

    recipe: Hyperparameters = DEFAULT
    epochs: int  # at most
    seed: int
    kept: FitState | None = None  # known beforehand: nothing is chosen, and there is no validation
    repeats: tuple[float, ...] = ()  # in how many examples an incident counts, by horizon; (): in one


class FittedNetwork(NamedTuple):
    """A network in eval mode on the CPU, and which state it is."""

    network: RiskNetwork
    kept: FitState


AfterEpoch = Callable[[int, float], None]  # its number, and the validation loss over the untrained network's, or nan
Fit = Callable[[FitData, FitPlan, AfterEpoch], FittedNetwork]  # `fit_network`, or another function that gives the same


def fit_network(data: FitData, plan: FitPlan, after_epoch: AfterEpoch, *, device: str = "cpu") -> FittedNetwork:
    """The network with the least validation loss of at most `epochs`; with `plan.kept`, the one of that state.

    Equal seeds give equal weights on the CPU. In a group of processes (`torch.distributed`), every rank is given the
    same examples, takes its share of the same minibatches in the same order, and ends with the same network: the one of
    a single process up to rounding.
    Loss: negative-binomial log score, each horizon as a ratio to the baseline's own on the training block. First the
    linear part is fitted, with the penalty (or none of it) that suits validation; then the perceptron, beside it.
    Number 0 of the epochs is the linear part alone. Where no horizon gains LEAST_NATS, the log of their number more as
    each has a chance, and as often as it counts an incident, the network stays untrained.
    Of what is kept, each horizon serves the share that suits validation: a network that gains within the hour may lose
    to its baseline over the day.
    """
    torch.manual_seed(plan.seed)
    order = torch.Generator().manual_seed(plan.seed)
    examples, shape = len(data.train.values), data.train.shape
    network = kind_of_network(plan.recipe.network).create(replace(shape, widths=plan.recipe.widths))
    network.scale_like(data.train.values.reshape(-1, shape.inputs))
    fit = _Fitting(network, data, device, plan)
    some = torch.randperm(examples, generator=order)[: warm_started(data.train.counts)].to(device)
    train = fit.data.train
    size = fit.data.size(train.log_usual[some])
    starts = network.warm_starts(train.values[some], train.counts[some], size, fit.unit)
    for number, _ in enumerate(starts, start=1):
        fit.judge(FitState(number), least_gain=LEAST_GAIN)
    network.load_state_dict(fit.best)
    after_epoch(0, fit.least / fit.untrained)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    module = DistributedDataParallel(network) if fit.ranks > 1 else network
    optimiser = torch.optim.AdamW(parameters, lr=plan.recipe.learning_rate, weight_decay=plan.recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.epochs)
    since_best = 0
    for epoch in range(1, (plan.kept.epoch if plan.kept else plan.epochs) + 1):
        shuffled = torch.randperm(examples, generator=order).to(device)
        fit.train(module, torch.split(shuffled, plan.recipe.minibatch), optimiser)
        schedule.step()
        after_epoch(epoch, fit.judge(FitState(fit.kept.warm_start, epoch)) / fit.untrained)
        since_best = 0 if fit.kept.epoch == epoch else since_best + 1
        if since_best == plan.recipe.patience:
            break
    network.load_state_dict(fit.best)
    network = network.cpu().eval().requires_grad_(False)
    kept = fit.kept
    if plan.kept:
        kept = msgspec.structs.replace(kept, share=plan.kept.share)
    elif kept != FitState():
        usual, counts = data.validation.log_usual, data.validation.counts
        correction = log_expected(network, data.validation) - usual
        of_horizons = zip(usual.unbind(2), correction.unbind(2), counts.unbind(2), strict=True)
        kept = msgspec.structs.replace(kept, share=tuple(pool_share(*of_horizon) for of_horizon in of_horizons))
    if kept.share:
        network.share.copy_(torch.tensor(kept.share))
    return FittedNetwork(network, kept)


def warm_started(counts: Tensor) -> int:
    """How many of the examples the warm start is fitted on. counts: (n, categories, horizons)."""
    n, categories, _ = counts.shape
    incidents = float(counts[:, :, 0].sum())
    enough = ceil(n * LEAST_INCIDENTS / incidents) if incidents else n
    return min(n, max(WARM_STARTED // categories, enough))


class _Fitting:
    """A network while it is fitted, and the state of it that had the least validation loss so far."""

    def __init__(self, network: RiskNetwork, data: FitData, device: str, plan: FitPlan) -> None:
        in_group = distributed.is_initialized()
        self.rank, self.ranks = (distributed.get_rank(), distributed.get_world_size()) if in_group else (0, 1)
        self.planned = plan.kept
        learned, total = data.train, torch.zeros(data.train.counts.shape[2])
        for chosen in torch.split(torch.arange(len(learned.values)), _JUDGED_TOGETHER):
            log_usual = learned.log_usual[chosen]
            loss = negative_binomial_nll(log_usual, learned.counts[chosen], data.size(log_usual))
            total += loss.mean(dim=1).sum(dim=0)
        self.unit = (total / len(learned.values)).to(device)  # (horizons,) the baseline's mean loss there
        self.network, self.data = network.to(device), data.on(device)
        self.usual = self._validation_losses()  # (horizons,) the untrained network's
        self.untrained = self.least = self._ratio(self.usual)
        nats = self.usual * data.validation.shape.categories
        # Bonferroni's: any of the horizons may be the one that gains by chance.
        least = (LEAST_NATS + log(len(nats))) * torch.tensor(plan.repeats or (1.0,) * len(nats), device=nats.device)
        self.surely = torch.where(nats > 0, least / nats, 0.0)  # (horizons,) as a share of that
        self.best, self.kept = self._state(), FitState()

    def train(self, module: nn.Module, minibatches: Sequence[Tensor], optimiser: torch.optim.Optimizer) -> None:
        """One epoch. module: the network, which takes the mean of the gradients over the ranks where there are more."""
        self.network.train()
        for minibatch in minibatches:
            chosen, counted = self._share(minibatch)
            optimiser.zero_grad(set_to_none=True)
            losses = self._losses(module, self.data.train, chosen)
            loss = losses.div(self.unit).mean() * (self.ranks * counted / len(minibatch))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _share(self, positions: Tensor) -> tuple[Tensor, int]:
        """This rank's positions, and how many of them count.

        Where there are fewer positions than ranks, a rank that is left out gets one that counts for nothing, so that a
        mean over its positions is a number.
        """
        mine = positions[self.rank :: self.ranks]
        return (mine, len(mine)) if len(mine) else (positions[:1], 0)

    def judge(self, state: FitState, *, least_gain: float = 0.0) -> float:
        """The validation loss; the state is kept if none was better, and the untrained one surely worse.

        By horizon: where it does not surely gain, a state counts as the untrained one, whose forecast its share brings
        back. Of a mean over them a loss over the day would refuse what gains within the hour.
        least_gain: share of the untrained one's loss, where more than that is asked for.
        Where it is known beforehand what is kept: that state, and those on the way to it.
        """
        losses = self._validation_losses()
        is_gained = losses < (1 - self.surely.clamp(min=least_gain)) * self.usual
        served = self._ratio(torch.where(is_gained, losses, self.usual))
        if self.planned:
            is_kept = state.warm_start == self.planned.warm_start and state.epoch <= self.planned.epoch
        else:
            is_kept = served < self.least
        if is_kept:
            self.least, self.best, self.kept = served, self._state(), state
        return self._ratio(losses)

    def _state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def _losses(self, module: nn.Module, examples: Examples, chosen: Tensor) -> Tensor:
        """(horizons,) mean loss of the chosen examples."""
        values, counts = examples.values[chosen], examples.counts[chosen]
        residual = module(values[:, None])[:, 0]  # each example as a grid of one cell
        log_usual = values[:, :, usual_columns(counts.shape[2])]
        return negative_binomial_nll(log_usual + residual, counts, self.data.size(log_usual)).mean(dim=(0, 1))

    def _ratio(self, losses: Tensor) -> float:
        """The loss of an example over the baseline's on what is learned from; the mean over the horizons."""
        return float(losses.div(len(self.data.validation.values)).div(self.unit).mean())

    def _validation_losses(self) -> Tensor:
        """(horizons,) summed over the validation block, mean over the categories; nan where nothing is chosen."""
        if self.planned:
            return torch.full_like(self.unit, nan)
        self.network.eval()
        examples, total = self.data.validation, torch.zeros_like(self.unit)
        with torch.inference_mode():
            for together in torch.split(torch.arange(len(examples.values), device=self.unit.device), _JUDGED_TOGETHER):
                chosen, counted = self._share(together)
                total += self._losses(self.network, examples, chosen) * counted
        if self.ranks > 1:
            distributed.all_reduce(total)
        return total


def log_expected(network: RiskNetwork, examples: Examples) -> Tensor:
    """(n, categories, horizons) log of what a network in eval mode on the CPU expects."""
    logs = []
    with torch.inference_mode():
        for values in torch.split(examples.values, _JUDGED_TOGETHER):
            residual = network(values[:, None])[:, 0]  # each example as a grid of one cell
            logs.append(values[:, :, usual_columns(residual.shape[2])] + residual)
    return torch.cat(logs)


def pool_share(log_usual: Tensor, correction: Tensor, counts: Tensor) -> float:
    """How much of a network's correction is served: its weight in the log-linear pool with its baseline.

    Whole percents, 0 to 1: the likeliest one under Poisson on time that the network did not learn from. The pool is
    the weighted geometric mean of both forecasts. Source: Genest and Zidek, Combining Probability Distributions: A
    Critique and an Annotated Bibliography, Statistical Science 1, 1986.

    Less where the total would be farther off than that of the baseline by more than MORE_OFF and twice the standard
    error of so many incidents: a network may not undo the level that its baseline follows. log_usual, correction,
    counts: (n, categories).
    """
    came = max(float(counts.sum()), 1.0)
    means = [torch.exp(log_mean).numpy() for log_mean in (log_usual + correction, log_usual)]
    logs, observed = np.stack([np.log(mean, dtype=np.float64).ravel() for mean in means]), counts.numpy().ravel()

    def loss(weights: Floats) -> tuple[float, Floats]:
        """With its slope. It is convex, so there is one minimum."""
        log_mean = weights @ logs
        mean = np.exp(log_mean)
        return float(mean.sum() - observed @ log_mean) / came, logs @ (mean - observed) / came

    search = minimize(
        loss,
        np.full(2, 0.5),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * 2,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 200},
    )
    weights = np.clip(search.x, 0, 1)
    # A search that ends early, by rounding, may stand a little beside the minimum: never worse than one of both alone.
    likeliest, _ = min([weights / weights.sum(), *np.eye(2)], key=lambda candidate: loss(candidate)[0])

    def off(share: float) -> float:
        return abs(log(float((log_usual + share * correction).exp().sum()) / came))

    farthest = off(0) + MORE_OFF + 2 / sqrt(came)
    percents = range(round(100 * float(likeliest)), -1, -1)
    return next(percent / 100 for percent in percents if off(percent / 100) <= farthest)


MOST_EXAMPLES = 1_600_000  # categories of cells at moments that are kept for training; they decide the memory it takes
_EMPTY_CELLS_SHARE = 0.1  # cells without any incident that are learned from: enough to learn that they are quiet


def random_moments(start_s: int, stop_s: int, step_s: int, random: np.random.Generator) -> list[int]:
    """One moment at a random second of every step in [start_s, stop_s)."""
    starts = np.arange(start_s, stop_s - step_s + 1, step_s)
    if len(starts) == 0:
        raise DataError(f"no step of {step_s} s fits between {start_s} and {stop_s}", "give a longer file")
    return (starts + random.integers(0, step_s, len(starts))).tolist()  # type: ignore[no-any-return]


def cells_to_learn(history: IncidentHistory, until_s: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Cells with any incident before `until_s`, and a part of the empty ones."""
    is_busy = history.counts(history.first_s, until_s).sum(axis=1) > 0
    return np.flatnonzero(is_busy | (random.random(len(is_busy)) < _EMPTY_CELLS_SHARE))


def collect(
    replay: Replay,
    engine: FeatureEngine,
    moments: list[int],
    cells: npt.NDArray[np.intp],
    random: np.random.Generator,
    report: Callable[[int], None],
) -> tuple[Examples, npt.NDArray[np.intp]]:
    """Examples at the moments, of an equally large random part of the cells at each, and (n,) the cell of each."""
    spec = engine.spec
    each = min(len(cells), max(MOST_EXAMPLES // len(spec.categories) // len(moments), 1))
    counts = np.empty((len(moments), each, len(spec.categories), len(spec.horizons_s)), np.float32)
    values = np.empty((*counts.shape[:3], len(spec.features)), np.float32)
    drawn = np.empty((len(moments), each), np.intp)
    for number, as_of_s in enumerate(moments):
        drawn[number] = chosen = np.sort(random.choice(cells, each, replace=False))
        values[number] = engine.compute(replay.lead_to(as_of_s)).values[chosen]
        counts[number] = replay.past.coming(as_of_s)[chosen]
        report(as_of_s)
    flat = (len(moments) * each, len(spec.categories), -1)
    examples = Examples(values=torch.from_numpy(values.reshape(flat)), counts=torch.from_numpy(counts.reshape(flat)))
    return examples, drawn.ravel()


_EXAMPLES, _PLAN, _FITTED, _RATIOS, _KEPT = "examples.safetensors", "plan.json", "fitted.safetensors", "ratios", "kept"


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
    kept = msgspec.json.decode(tensors.pop(_KEPT).numpy().tobytes(), type=FitState)
    network = kind_of_network(kind).from_tensors(tensors, shape)
    return FittedNetwork(network.eval().requires_grad_(False), kept), ratios


def fit_share(folder: Path) -> None:
    """Take part in the fit in `folder`; rank 0 leaves the outcome there."""
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    distributed.init_process_group("gloo")
    tensors = load_file(folder / _EXAMPLES)  # mapped, so that processes of one machine share its memory
    plan = msgspec.json.decode((folder / _PLAN).read_bytes(), type=FitPlan)
    data = FitData(
        train=Examples(values=tensors["train_values"], counts=tensors["train_counts"]),
        validation=Examples(values=tensors["validation_values"], counts=tensors["validation_counts"]),
        dispersion=Dispersion(r=tensors["dispersion"].numpy(), power=tensors["dispersion_power"].numpy()),
    )
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
