"""Training the residual network: fitted on one block of time, stopped early by the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.hyperparameters import DEFAULT, Hyperparameters
from models.likelihood import negative_binomial_nll
from models.network import NetworkShape, RiskNetwork
from models.networks import kind_of_network
from models.training.shares import ALONE, Share

MOST_WARM_STARTED = 300_000  # categories of cells at moments that the starts before training are fitted on
LEAST_GAIN = 5e-4  # of the validation loss, for such a start to be kept: on noise a linear part gains 1e-4 by chance
_JUDGED_TOGETHER = 16_384  # cells at a moment; a part of the sum, no choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Cells at moments. The last columns of the inputs are the log of the baseline."""

    values: Tensor  # (n, categories, inputs) of one kind of network
    counts: Tensor  # (n, categories, horizons) incidents that came

    @property
    def log_usual(self) -> Tensor:
        return self.values[:, :, -self.counts.shape[2] :]

    def on(self, device: str) -> "Examples":
        return Examples(values=self.values.to(device), counts=self.counts.to(device))


class Fit(Protocol):
    """`fit_network`, or another way to the same network."""

    def __call__(
        self,
        train: Examples,
        validation: Examples,
        dispersion: Tensor,
        *,
        recipe: Hyperparameters,
        epochs: int,
        seed: int,
        after_epoch: Callable[[int, float], None],
    ) -> RiskNetwork: ...


def fit_network(
    train: Examples,
    validation: Examples,
    dispersion: Tensor,
    *,
    recipe: Hyperparameters = DEFAULT,
    epochs: int,
    seed: int,
    after_epoch: Callable[[int, float], None],
    device: str = "cpu",
    share: Share = ALONE,
) -> RiskNetwork:
    """The network with the least validation loss of at most `epochs`, in eval mode on the CPU.

    Equal seeds give equal weights on the CPU. With a `share`, every rank is given the same examples, goes through the
    same minibatches in the same order, and ends with the same network: the one of a single process up to rounding.
    Loss: negative-binomial log score, each horizon as a ratio to the baseline's own on the training block. First the
    linear part is fitted, with the penalty (or none of it) that suits validation; then the perceptron, beside it.
    `after_epoch(number, ratio)` is told the validation loss over the baseline's; below 1 is better. Number 0 is the
    linear part alone.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    _, categories, inputs = train.values.shape
    shape = NetworkShape(inputs=inputs, categories=categories, horizons=train.counts.shape[2], widths=recipe.widths)
    network = kind_of_network(recipe.network).create(shape)
    network.scale_like(train.values.reshape(-1, inputs))
    unit = _baseline_loss(train, dispersion).to(device)  # (horizons,)
    network, dispersion = network.to(device), dispersion.to(device)
    train, validation = train.on(device), validation.on(device)
    best_loss = untrained = _loss_over(network, validation, dispersion, unit, share)
    best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    some = torch.randperm(len(train.values), generator=order)[: MOST_WARM_STARTED // categories].to(device)
    for _ in network.warm_starts(train.values[some], train.counts[some], dispersion, unit):
        loss_now = _loss_over(network, validation, dispersion, unit, share)
        if loss_now < min(best_loss, (1 - LEAST_GAIN) * untrained):
            best_loss = loss_now
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(best)
    after_epoch(0, best_loss / untrained)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    since_best = 0
    for epoch in range(epochs):
        network.train()
        shuffled = torch.randperm(len(train.values), generator=order).to(device)
        for minibatch in _minibatches(shuffled, recipe.minibatch):
            chosen, counted = share.of(minibatch)
            optimiser.zero_grad(set_to_none=True)
            loss = _losses(network, train, chosen, dispersion).div(unit).mean() * (counted / len(minibatch))
            loss.backward()  # type: ignore[no-untyped-call]
            share.add_up_gradients(parameters)
            optimiser.step()
        schedule.step()
        loss_now = _loss_over(network, validation, dispersion, unit, share)
        after_epoch(epoch + 1, loss_now / untrained)
        since_best += 1
        if loss_now < best_loss:
            best_loss, since_best = loss_now, 0
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if since_best == recipe.patience:
            break
    network.load_state_dict(best)
    return network.cpu().eval().requires_grad_(False)


def _losses(network: RiskNetwork, examples: Examples, chosen: Tensor, dispersion: Tensor) -> Tensor:
    """(horizons,) mean loss of the chosen examples."""
    values, counts = examples.values[chosen], examples.counts[chosen]
    residual = network(values[:, None])[:, 0]  # each example as a grid of one cell
    log_mean = values[:, :, -counts.shape[2] :] + residual
    return negative_binomial_nll(log_mean, counts, dispersion).mean(dim=(0, 1))


def _loss_over(network: RiskNetwork, examples: Examples, dispersion: Tensor, unit: Tensor, share: Share) -> float:
    network.eval()
    total = torch.zeros_like(unit)
    with torch.inference_mode():
        for together in _minibatches(torch.arange(len(examples.values), device=unit.device), _JUDGED_TOGETHER):
            chosen, counted = share.of(together)
            total += _losses(network, examples, chosen, dispersion) * counted
    share.add_up(total)
    return float(total.div(len(examples.values)).div(unit).mean())


def _baseline_loss(examples: Examples, dispersion: Tensor) -> Tensor:
    total = torch.zeros(examples.counts.shape[2])
    for chosen in _minibatches(torch.arange(len(examples.values)), _JUDGED_TOGETHER):
        loss = negative_binomial_nll(examples.log_usual[chosen], examples.counts[chosen], dispersion)
        total += loss.mean(dim=1).sum(dim=0)
    return total / len(examples.values)


def _minibatches(positions: Tensor, size: int) -> Sequence[Tensor]:
    return torch.split(positions, size)
