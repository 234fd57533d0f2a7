"""The network: a bounded correction of the baseline's logarithm, nothing at all until it is trained."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.hyperparameters import DEFAULT

RESIDUAL_LIMIT = 2.0  # the network can change the baseline by a factor of exp(2) = 7.4 at most
LINEAR_PART = frozenset({"linear.weight", "offset.weight"})  # names of its tensors
_FARTHEST = 6.0  # standard deviations; what lies farther out was hardly seen in training


class ResidualNetwork(nn.Module):
    """A regression and one small perceptron for every cell and category, each with an embedding of the category."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, *, features: int, categories: int, horizons: int, widths: tuple[int, int] = DEFAULT.widths
    ) -> None:
        super().__init__()
        first, second = widths
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.linear = nn.Linear(features, horizons, bias=False)
        self.offset = nn.Embedding(categories, horizons)
        self.enter = nn.Linear(features, first)
        self.category = nn.Embedding(categories, first)
        self.middle = nn.Linear(first, second)
        self.leave = nn.Linear(second, horizons)
        for layer in (self.linear, self.offset, self.category, self.leave):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def scale_like(self, values: Tensor) -> None:
        """Learn each feature's mean and spread from (n, features) training rows; a constant feature keeps scale 1."""
        spread = values.std(dim=0)
        self.mean.copy_(values.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-4, spread, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """Residuals, to be added to the log of the baseline: |residual| < RESIDUAL_LIMIT.

        values: (grids, cells, categories, features). Gives (grids, cells, categories, horizons).
        """
        scaled = self.scaled(values)
        hidden = self.enter(scaled) + self.category.weight  # (grids, cells, categories, first)
        hidden = self.middle(torch.relu(hidden))  # (grids, cells, categories, second)
        curved = self.leave(torch.relu(hidden))  # (grids, cells, categories, horizons)
        return self.limited(self.linear_part(scaled) + curved)

    def scaled(self, values: Tensor) -> Tensor:
        """Features in standard deviations of training, of any shape (..., features)."""
        return ((values - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST)

    def linear_part(self, scaled: Tensor) -> Tensor:
        """(..., categories, horizons) of scaled features (..., categories, features)."""
        return self.linear(scaled) + self.offset.weight  # type: ignore[no-any-return]

    @staticmethod
    def limited(residual: Tensor) -> Tensor:
        """Within RESIDUAL_LIMIT, and nearly unchanged where it is small."""
        return RESIDUAL_LIMIT * torch.tanh(residual / RESIDUAL_LIMIT)


def residual_of(values: npt.NDArray[np.float32], network: nn.Module) -> npt.NDArray[np.float32]:
    """(cells, categories, horizons) what the network adds to the log of the baseline."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        whole_grid = torch.tensor(values[None], device=device)  # a copy: the caller's array may be read-only
        return np.asarray(network(whole_grid)[0].cpu().numpy())
