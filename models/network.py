"""What a kind of network is: features in, a bounded correction of the baseline's logarithm out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.feature_lists import group_of
from models.hyperparameters import DEFAULT
from schemas.grid import Grid

RESIDUAL_LIMIT = 2.0  # the network can change the baseline by a factor of exp(2) = 7.4 at most
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """The sides of what a network is given and gives.

    >>> NetworkShape(inputs=30, categories=4, horizons=3).inputs
    30
    """

    inputs: int  # columns that it is given: `len(RiskNetwork.input_groups(features))`
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

    @staticmethod
    def inputs(values: Values, grid: Grid) -> Values:
        """(cells, categories, inputs) what each cell is judged by, from the features of the whole grid at one moment.

        values: (cells, categories, features). The features are the last of the inputs. A kind that looks at other cells
        puts what it wants of them before.
        """
        return values

    @classmethod
    def input_groups(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        """The attribution group of each input."""
        return tuple(group_of(name) for name in features)

    def warm_starts(self, inputs: Tensor, counts: Tensor, size: Tensor, unit: Tensor) -> Iterator[None]:
        """Put the network into one state after another from which training may begin; the best on validation is taken.

        inputs: (n, categories, inputs); counts, and the negative binomial's size: (n, categories, horizons); unit:
        (horizons,) loss of the baseline.
        """
        return iter(())


def residual_of(inputs: Values, network: nn.Module) -> Values:
    """(cells, categories, horizons) what the network adds to the log of the baseline.

    inputs: (cells, categories, inputs), as `RiskNetwork.inputs` gives them.
    """
    device = next(network.parameters()).device
    with torch.inference_mode():
        whole_grid = torch.tensor(inputs[None], device=device)  # a copy: the caller's array may be read-only
        return np.asarray(network(whole_grid)[0].cpu().numpy())


def limited(residual: Tensor) -> Tensor:
    """The residual within RESIDUAL_LIMIT; where it is small, it hardly changes."""
    return RESIDUAL_LIMIT * torch.tanh(residual / RESIDUAL_LIMIT)
