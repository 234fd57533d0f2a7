"""Every try on one task at one origin: forecasts of the judged steps, and their log scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.tries.collected import Block, Collected, Values
from benchmarks.tries.columns import CANDIDATES, EXCITED_HOURS
from models.dispersion import Dispersion
from models.evaluation.regressions.boosting import Boosting
from models.evaluation.regressions.poisson_glm import PoissonGlm
from models.likelihood import log_scores
from models.network import RiskNetwork, residual_of
from models.training.fit_dispersion import (
    DISPERSIONS,
    choose_spread,
    dispersion_losses,
    factor_losses,
    likeliest,
    likeliest_factors,
)
from models.training.fit_network import Examples, FitData, FitPlan, fit_network

Floats = npt.NDArray[np.float64]
Means = tuple[Floats, Floats]  # logs of what is expected of the validation and the judged steps
Number = TypeVar("Number", np.float32, np.float64)
_TOGETHER = 64  # moments
EQUAL = ("network", "Poisson GLM", "gradient boosting")


@dataclass(frozen=True, kw_only=True)
class Tries:
    """What is tried on one origin of a task. Forecasts: (moments, cells, categories)."""

    data: Collected
    seeds: Sequence[int]
    epochs: int

    def all(self) -> Mapping[str, Callable[[], Floats]]:
        """By name what gives the (seeds, steps) log scores, mean over cells and categories."""
        found: dict[str, Callable[[], Floats]] = {
            "network": lambda: self.scored(self.network),
            "baseline": lambda: self.scored([self.baseline]),
            "network, linear dispersion allowed": lambda: self.scored([_mean(self.network)], both=True),
            "baseline, linear dispersion allowed": lambda: self.scored([self.baseline], both=True),
            "network, linear dispersion allowed, by cell": lambda: self.in_cells,
            **{name: partial(self.with_families, (name,)) for name in CANDIDATES},
            "all of these features": partial(self.with_families, tuple(CANDIDATES)),
            "Poisson GLM": lambda: self.scored([self.beside["Poisson GLM"]]),
            "gradient boosting": lambda: self.scored([self.beside["gradient boosting"]]),
            "equal pool of GLM, boosting, network": lambda: self.scored([_mean([self.beside[name] for name in EQUAL])]),
            "learned Hawkes kernel on the baseline": lambda: self.scored([self.hawkes(self.baseline)]),
            "learned Hawkes kernel on the network": lambda: self.scored([self.hawkes(_mean(self.network))]),
        }
        if self.data.test.counts.shape[-1] > 1:
            found["a network for each category"] = lambda: self.scored([self.by_category])
        return found

    def scored(self, forecasts: Sequence[Means], *, both: bool = False) -> Floats:
        """Of each forecast under the dispersion that is likeliest on the validation steps; both: of both kinds."""
        seen, judged = self.data.validation.counts, self.data.test.counts
        found = []
        for chosen_by, forecast in forecasts:
            flat = [torch.from_numpy(_flat(one)).double() for one in (chosen_by, seen)]
            losses = dispersion_losses(*flat)
            quadratic = Dispersion.quadratic(DISPERSIONS[losses[0].argmin(axis=0)])
            dispersion = likeliest(losses) if both else quadratic
            found.append(log_scores(np.exp(forecast), judged, dispersion[:, 0]).mean(axis=(1, 2)))
        return np.stack(found)

    @property
    def in_cells(self) -> Floats:
        """(1, steps) of the network where cells have factors on the dispersion, chosen as training chooses them."""
        blocks = (self.data.train, self.data.validation)
        usual = [torch.from_numpy(_flat(block.values[..., -1])) for block in blocks]
        seen = [torch.from_numpy(_flat(block.counts)) for block in blocks]
        of_baseline = likeliest(dispersion_losses(usual[1], seen[1]))
        cells = int(max(block.cells.max() for block in (*blocks, self.data.test))) + 1
        before, after = (
            factor_losses(mean, counts, block.cells.ravel(), of_baseline, cells)
            for mean, counts, block in zip(usual, seen, blocks, strict=True)
        )
        factor = likeliest_factors(before + after, choose_spread(before, after))[self.data.test.cells, :, 0]
        expected = torch.from_numpy(_flat(log_means(self.data.validation, self.plain)))
        dispersion = likeliest(dispersion_losses(expected, seen[1]))
        r = factor * dispersion.r[:, 0]
        in_cells = Dispersion(r=r, power=np.broadcast_to(dispersion.power[:, 0], r.shape))
        judged = np.exp(log_means(self.data.test, self.plain))
        return log_scores(judged, self.data.test.counts, in_cells).mean(axis=(1, 2))[None]

    @cached_property
    def baseline(self) -> Means:
        return self._of(lambda block: block.values[..., -1].astype(np.float64))

    @cached_property
    def network(self) -> list[Means]:
        return [self._of(lambda block, one=one: log_means(block, [one])) for one in self.plain]

    @cached_property
    def plain(self) -> list[RiskNetwork]:
        """One for each seed, of the product's features."""
        return [self._fitted(seed, (), slice(None)) for seed in self.seeds]

    def with_families(self, families: tuple[str, ...]) -> Floats:
        """Of a network for each seed, with the columns of some families."""
        return self.scored([self._network(seed, families, slice(None)) for seed in self.seeds])

    @cached_property
    def by_category(self) -> Means:
        """A network that learns from one category alone, for each."""
        parts = []
        for number in range(self.data.test.counts.shape[-1]):
            parts.append(_mean([self._network(seed, (), slice(number, number + 1)) for seed in self.seeds]))
        return np.concatenate([one[0] for one in parts], axis=2), np.concatenate([one[1] for one in parts], axis=2)

    def _network(self, seed: int, families: tuple[str, ...], categories: slice) -> Means:
        network = self._fitted(seed, families, categories)
        return self._of(lambda block: _log_mean(block.inputs(families)[:, :, categories], network))

    def _fitted(self, seed: int, families: tuple[str, ...], categories: slice) -> RiskNetwork:
        data = self.data
        train, validation = (examples_of(block, families, categories) for block in (data.train, data.validation))
        losses = dispersion_losses(validation.log_usual, validation.counts)[:1]
        dispersion = Dispersion.quadratic(DISPERSIONS[losses[0].argmin(axis=0)])
        fit = FitData(train=train, validation=validation, dispersion=dispersion)
        return fit_network(fit, FitPlan(epochs=self.epochs, seed=seed), lambda epoch, loss: None).network

    @cached_property
    def beside(self) -> Mapping[str, Means]:
        """The other models of the same features."""
        train, validation = (examples_of(block) for block in (self.data.train, self.data.validation))
        found = {"network": _mean(self.network)}
        for regression in (PoissonGlm(), Boosting()):
            (model,) = regression.fit(train, validation, seeds=self.seeds[:1])

            def of(block: Block, predict: Callable[..., npt.NDArray[np.float32]] = model.predict) -> Floats:
                rows = [predict(one) for one in block.values]
                return np.log(np.maximum(np.stack(rows), 1e-9)).astype(np.float64)

            found[regression.name] = self._of(of)
        return found

    def hawkes(self, usual: Means) -> Means:
        """(1 - sum of weights) x usual + weighted mean counts of decaying windows here and around, by likelihood."""
        excited = [_mean_counts(block, self.data.steps_per_week) for block in (self.data.validation, self.data.test)]
        score = torch.full((len(excited[0]),), -7.0, dtype=torch.float64, requires_grad=True)
        mean, around, seen = (
            torch.from_numpy(one).double() for one in (np.exp(usual[0]), excited[0], self.data.validation.counts)
        )
        optimiser = torch.optim.LBFGS([score], max_iter=40, line_search_fn="strong_wolfe")

        def objective() -> torch.Tensor:
            optimiser.zero_grad()
            weights = torch.exp(score) / (1 + torch.exp(score).sum())
            mixed = (1 - weights.sum()) * mean + torch.tensordot(weights, around, 1)
            total = 100 * (mixed - seen * torch.log(mixed)).mean()
            total.backward()
            return torch.as_tensor(total)

        optimiser.step(objective)  # type: ignore[no-untyped-call]
        weights = np.exp(score.detach().numpy())
        weights = weights / (1 + weights.sum())
        validation, test = (
            np.log((1 - weights.sum()) * np.exp(log_mean) + np.tensordot(weights, counts, 1))
            for log_mean, counts in zip(usual, excited, strict=True)
        )
        return validation, test

    def _of(self, forecast: Callable[[Block], Floats]) -> Means:
        return forecast(self.data.validation), forecast(self.data.test)


def log_means(block: Block, networks: Sequence[RiskNetwork | None]) -> Floats:
    """(moments, cells, categories) log of what is expected, mean over the networks; None: the baseline."""
    return np.mean([_log_mean(block.values, network) for network in networks], axis=0)


def _log_mean(inputs: Values, network: RiskNetwork | None) -> Floats:
    """Of (moments, cells, categories, inputs)."""
    usual = inputs[..., -1].astype(np.float64)
    if network is None:
        return usual
    runs = [inputs[start : start + _TOGETHER] for start in range(0, len(inputs), _TOGETHER)]
    added = [residual_of(run.reshape(-1, *run.shape[2:]), network).reshape(run.shape[:3]) for run in runs]
    return usual + np.concatenate(added)


def _mean(forecasts: Sequence[Means]) -> Means:
    return np.mean([one[0] for one in forecasts], axis=0), np.mean([one[1] for one in forecasts], axis=0)


def _flat(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """(n, categories, 1) of (moments, cells, categories)."""
    return values.reshape(-1, values.shape[-1], 1)


def examples_of(block: Block, families: tuple[str, ...] = (), categories: slice = slice(None)) -> Examples:
    inputs, counts = block.inputs(families)[:, :, categories], block.counts[:, :, categories]
    return Examples(
        values=torch.from_numpy(np.ascontiguousarray(inputs.reshape(-1, *inputs.shape[2:]))),
        counts=torch.from_numpy(np.ascontiguousarray(counts.reshape(-1, counts.shape[2], 1))),
    )


def _mean_counts(block: Block, steps_per_week: int) -> Floats:
    """(windows, moments, cells, categories) weighted mean count a step: of the cell, its ring, the ring around it."""
    sums = np.expm1(np.moveaxis(block.candidates["learned self-exciting sums"].astype(np.float64), -1, 0))
    hours = 168 / steps_per_week
    found = []
    for number, half_life in enumerate(EXCITED_HOURS):
        keep = 0.5 ** (1 / half_life)
        for place, cells in enumerate((1, 8, 16)):
            found.append(sums[4 * number + place] * (1 - keep) / keep * hours / cells)
    return np.stack(found)
