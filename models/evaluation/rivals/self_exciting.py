"""An incident makes others likelier for a while, in its cell and around it.

A Hawkes process on the grid in discrete time: mean = (1 - weight) x usual + weight x excitation, where `usual` is the
EWMA x week and `excitation` a weighted mean of the last counts here and in the eight neighbours. Source of the
form: Mohler et al., "Self-exciting point process modeling of crime", JASA 106 (2011).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

import numpy as np
from scipy.ndimage import convolve

from models.cube import Cube, Floats
from models.evaluation.contract import least_mean, poisson_loss
from models.evaluation.rivals.ewma_profile import EwmaProfile, FittedEwmaProfile
from models.evaluation.rivals.known import decayed_sums, kept_per_step, known_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfExciting:
    """Chooses how long excitation lasts, how much it weighs, and how much of it comes from the cell itself."""

    usual: EwmaProfile = field(default_factory=EwmaProfile)
    half_lives_hours: tuple[float, ...] = (1.0, 3.0, 12.0, 48.0, 168.0)
    weights: tuple[float, ...] = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
    own_shares: tuple[float, ...] = (1.0, 0.5)
    name: ClassVar[str] = "EWMA x week, self-exciting"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedSelfExciting":
        usual = self.usual.fit(past, validation, delay=delay)
        counts, least = past.counts[validation:], least_mean(past.counts[:validation])
        kinds = list(product(self.half_lives_hours, self.own_shares))
        left = [kept_per_step(past, half_life / 24) ** delay for half_life, _ in kinds]
        weights = np.outer(left, self.weights).tolist()
        losses = np.zeros((len(kinds), len(self.weights)))
        excitations = zip(*(excite(past, validation, *kind, delay=delay) for kind in kinds), strict=True)
        usually = usual.forecast(past, validation, delay=delay)
        for observed, mean, excited in zip(counts, usually, excitations, strict=True):
            for kind, weight in np.ndindex(losses.shape):
                mixed = np.maximum(mix(mean, excited[kind], weights[kind][weight]), least)
                losses[kind, weight] += poisson_loss(mixed, observed)
        kind, weight = np.unravel_index(losses.argmin(), losses.shape)
        half_life, own_share = kinds[kind]
        chosen = self.weights[weight]
        return FittedSelfExciting(usual=usual, half_life_hours=half_life, weight=chosen, own_share=own_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSelfExciting:
    usual: FittedEwmaProfile
    half_life_hours: float
    weight: float
    own_share: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {
            **self.usual.chosen,
            "excitation_half_life_hours": self.half_life_hours,
            "excitation_weight": self.weight,
            "excitation_own_share": self.own_share,
        }

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        """What is not yet reported excites as usual: with each step of delay the weight decays as the excitation."""
        excitations = excite(cube, first, self.half_life_hours, self.own_share, delay=delay)
        usually = self.usual.forecast(cube, first, delay=delay)
        weight = self.weight * kept_per_step(cube, self.half_life_hours / 24) ** delay
        return (mix(usual, excitation, weight) for usual, excitation in zip(usually, excitations, strict=True))


def excite(cube: Cube, first: int, half_life_hours: float, own_share: float, *, delay: int) -> Iterator[Floats]:
    """(cells, categories) weighted mean of the known counts of the cell and of its neighbours, from step `first` on."""
    keep = kept_per_step(cube, half_life_hours / 24)
    kernel = np.full((3, 3, 1), (1 - own_share) / 8)
    kernel[1, 1, 0] = own_share
    for total in decayed_sums(cube.counts, known_steps(cube, first, delay), keep):
        square = (1 - keep) * total.reshape(cube.rows, cube.cols, -1)
        yield np.asarray(convolve(square, kernel, mode="constant").reshape(total.shape), np.float64)


def mix(usual: Floats, excitation: Floats, weight: float) -> Floats:
    return (1 - weight) * usual + weight * excitation
