"""What rivals share: rules without anything to fit, and the choice among candidates."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Self, TypeVar

import numpy as np

from models.cube import Cube
from models.evaluation.contract import Forecaster, least_mean, poisson_loss

Candidate = TypeVar("Candidate", bound=Forecaster)


class Rule:
    """Rival and forecaster in one: a formula of the known steps. A rule adds its `name` and its `forecast`."""

    __slots__ = ()
    chosen: ClassVar[Mapping[str, float]] = {}

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> Self:
        return self


def best_of(candidates: Iterable[Candidate], past: Cube, validation: int, *, delay: int) -> Candidate:
    """The candidate with the least loss from step `validation` of `past` on."""
    counts, least = past.counts[validation:], least_mean(past.counts[:validation])

    def loss(fitted: Candidate) -> float:
        steps = zip(fitted.forecast(past, validation, delay=delay), counts, strict=True)
        return float(np.mean([poisson_loss(np.maximum(mean, least), observed) for mean, observed in steps]))

    return min(candidates, key=loss)
