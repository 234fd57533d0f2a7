"""Networks: features in, a bounded correction of the baseline's logarithm out. To add a kind, see MODELS."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.dispersion import log_combinations, negative_binomial_nll
from models.feature_lists import usual_columns
from models.network_kinds import DEFAULT, Hyperparameters
from schemas.errors import DataError

RESIDUAL_LIMIT = 2.0  # the network can change the baseline by a factor of exp(2) = 7.4 at most
PENALTIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # of the linear part's squared weights, the strongest first
_STEPS = 60
_FARTHEST = 6.0  # standard deviations; what lies farther out was hardly seen in training
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """The sides of what a network is given and gives.

    >>> NetworkShape(inputs=30, categories=4, horizons=3).inputs
    30
    """

    inputs: int  # features
    categories: int
    horizons: int
    widths: tuple[int, int] = DEFAULT.widths  # of the hidden layers


class RiskNetwork(nn.Module):
    """A kind of network. Untrained it adds nothing, so that its scores are the baseline's.

    Its state is saved as safetensors. Two tensors are buffers: `mean`, each input's mean in training, and `share`,
    (horizons,) of its correction that is served: its weight in a pool with the baseline, 1 until a fit chooses.
    """

    mean: Tensor
    share: Tensor

    @classmethod
    def create(cls, shape: NetworkShape) -> Self:
        """An untrained network."""
        raise NotImplementedError

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], shape: NetworkShape) -> Self:
        """The network whose state `tensors` are; its widths are those of the tensors, not of `shape`.

        Raises RuntimeError, KeyError, ValueError or DataError when they do not fit, before it takes their memory.
        """
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        """Residuals, times `share`, to be added to the log of the baseline: `|residual| < RESIDUAL_LIMIT`.

        inputs: (..., categories, inputs). Gives (..., categories, horizons).
        """
        raise NotImplementedError

    def scale_like(self, inputs: Tensor) -> None:
        """Learn each input's mean and spread from (n, inputs) training rows."""
        raise NotImplementedError

    def warm_starts(self, inputs: Tensor, counts: Tensor, size: Tensor, unit: Tensor) -> Iterator[None]:
        """Put the network into one state after another from which training may begin; the best on validation is taken.

        inputs: (n, categories, inputs); counts, and the negative binomial's size: (n, categories, horizons); unit:
        (horizons,) loss of the baseline.
        """
        return iter(())


def residual_of(inputs: Values, network: nn.Module) -> Values:
    """(cells, categories, horizons) what the network adds to the log of the baseline.

    inputs: (cells, categories, features).
    """
    device = next(network.parameters()).device
    with torch.inference_mode():
        whole_grid = torch.tensor(inputs[None], device=device)  # a copy: the caller's array may be read-only
        return np.asarray(network(whole_grid)[0].cpu().numpy())


def limited(residual: Tensor) -> Tensor:
    """The residual within RESIDUAL_LIMIT; where it is small, it hardly changes."""
    return RESIDUAL_LIMIT * torch.tanh(residual / RESIDUAL_LIMIT)


class ResidualNetwork(RiskNetwork):
    """A regression and one small perceptron for every cell and category, each with an embedding of the category."""

    scale: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        first, second = shape.widths
        self.register_buffer("mean", torch.zeros(shape.inputs))
        self.register_buffer("scale", torch.ones(shape.inputs))
        self.register_buffer("share", torch.ones(shape.horizons))
        self.linear = nn.Linear(shape.inputs, shape.horizons, bias=False)
        self.offset = nn.Embedding(shape.categories, shape.horizons)
        self.enter = nn.Linear(shape.inputs, first)
        self.category = nn.Embedding(shape.categories, first)
        self.middle = nn.Linear(first, second)
        self.leave = nn.Linear(second, shape.horizons)
        for layer in (self.linear, self.offset, self.category, self.leave):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    @classmethod
    def create(cls, shape: NetworkShape) -> Self:
        return cls(shape)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], shape: NetworkShape) -> Self:
        enter, middle = tensors["enter.weight"], tensors["middle.weight"]
        if enter.ndim != 2 or middle.ndim != 2:
            raise DataError(f"the layers have {enter.ndim} and {middle.ndim} dimensions, must have 2", "train again")
        network = cls(replace(shape, widths=Hyperparameters(widths=(len(enter), len(middle))).widths))  # within limits
        network.load_state_dict({"share": torch.ones(shape.horizons), **tensors})  # older artifacts serve all
        return network

    def scale_like(self, inputs: Tensor) -> None:
        """A constant input keeps scale 1."""
        spread = inputs.std(dim=0)
        self.mean.copy_(inputs.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-4, spread, 1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = self.scaled(inputs)
        hidden = self.enter(scaled) + self.category.weight  # (..., categories, first)
        hidden = self.middle(torch.relu(hidden))  # (..., categories, second)
        curved = self.leave(torch.relu(hidden))  # (..., categories, horizons)
        return self.share * limited(self.linear_part(scaled) + curved)

    def warm_starts(self, inputs: Tensor, counts: Tensor, size: Tensor, unit: Tensor) -> Iterator[None]:
        """The linear part under each of PENALTIES in turn; the perceptron, trained later, corrects it.

        Full batches and L-BFGS, so nothing is random. Each fit starts from the one before it.
        """
        with torch.no_grad():
            scaled, combinations = self.scaled(inputs), log_combinations(counts, size)
        log_usual = inputs[:, :, usual_columns(counts.shape[2])]
        for penalty in PENALTIES:
            optimiser = torch.optim.LBFGS(
                [*self.linear.parameters(), *self.offset.parameters()],
                max_iter=_STEPS,
                history_size=20,
                line_search_fn="strong_wolfe",
            )

            def objective(penalty: float = penalty, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
                optimiser.zero_grad()
                log_mean = log_usual + limited(self.linear_part(scaled))
                losses = negative_binomial_nll(log_mean, counts, size, combinations).mean(dim=(0, 1)).div(unit)
                total = losses.sum() + penalty * self.linear.weight.square().sum()
                total.backward()  # type: ignore[no-untyped-call]
                return total

            optimiser.step(objective)  # type: ignore[no-untyped-call]
            yield
        self.linear.requires_grad_(False)
        self.offset.requires_grad_(False)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Inputs in standard deviations of training, of any shape (..., inputs)."""
        return ((inputs - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST)

    def linear_part(self, scaled: Tensor) -> Tensor:
        """(..., categories, horizons) of scaled inputs (..., categories, inputs)."""
        return self.linear(scaled) + self.offset.weight  # type: ignore[no-any-return]
