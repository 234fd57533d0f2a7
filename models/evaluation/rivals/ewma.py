"""Exponentially weighted moving average: old incidents count less, by half after each half-life."""

from dataclasses import dataclass

import numpy as np

from models.evaluation.rivals.known import Steps, decayed_sums, kept_per_step, known_steps
from models.evaluation.rivals.rule import Rule
from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Ewma(Rule):
    half_life_days: float

    @property
    def name(self) -> str:
        return f"EWMA {self.half_life_days:g} d"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        return ewma(cube, known_steps(cube, first, delay), self.half_life_days)


def ewma(cube: Cube, known: Steps, half_life_days: float) -> Floats:
    """(forecasts, cells, categories) weighted mean count per step; the weights of the `known` steps sum to 1.

    known: (forecasts,) as `known_steps` gives it. 0 where nothing is known.
    """
    keep = kept_per_step(cube, half_life_days)
    weight = (1 - keep ** np.maximum(known, 1)) / (1 - keep)
    return decayed_sums(cube.counts, known, keep) / weight[:, None, None]
