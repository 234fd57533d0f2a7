"""The network's linear part, fitted before the rest: a regression on the features, which the perceptron corrects."""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.likelihood import negative_binomial_nll
from models.network import ResidualNetwork

PENALTIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # of the squared weights, the strongest first
MOST_VALUES = 300_000  # categories of cells at moments that it is fitted on: it has some forty weights for a horizon
LEAST_GAIN = 5e-4  # of the validation loss, for a linear part to be kept: on noise it gains 1e-4 by chance
_STEPS = 60


def linear_parts(
    network: ResidualNetwork, values: Tensor, counts: Tensor, dispersion: Tensor, unit: Tensor
) -> Iterator[float]:
    """Give `network` the linear part that suits each of PENALTIES in turn, and say which; the next one goes on from it.

    Full batches and L-BFGS, so nothing is random. The rest of the network must still give nothing. values: (n,
    categories, features); counts: (n, categories, horizons); unit: (horizons,) what a loss of 1 is.
    """
    with torch.no_grad():
        scaled = network.scaled(values)
    log_usual = values[:, :, -counts.shape[2] :]
    weights = network.linear.weight
    for penalty in PENALTIES:
        optimiser = torch.optim.LBFGS(
            [*network.linear.parameters(), *network.offset.parameters()],
            max_iter=_STEPS,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def objective(penalty: float = penalty, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            log_mean = log_usual + network.limited(network.linear_part(scaled))
            losses = negative_binomial_nll(log_mean, counts, dispersion).mean(dim=(0, 1)).div(unit)
            total = losses.sum() + penalty * weights.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimiser.step(objective)  # type: ignore[no-untyped-call]
        yield penalty
