"""Kernel density estimate: the EWMA of each cell spread over its surroundings by a Gaussian kernel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter

from models.cube import Cube, Floats
from models.evaluation.rivals.known import known_steps
from models.evaluation.rivals.means import ewma_rates
from models.evaluation.rivals.rule import best_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kde:
    """Chooses the bandwidth, the kernel's standard deviation in cells; 0.1 smooths nothing."""

    half_life_days: float = 60.0
    bandwidths_cells: tuple[float, ...] = (0.1, 0.3, 0.5, 1.0, 2.0)
    name: ClassVar[str] = "KDE over EWMA"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedKde":
        candidates = (
            FittedKde(half_life_days=self.half_life_days, bandwidth_cells=bandwidth)
            for bandwidth in self.bandwidths_cells
        )
        return best_of(candidates, past, validation, delay=delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedKde:
    half_life_days: float
    bandwidth_cells: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"bandwidth_cells": self.bandwidth_cells}

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        for rate in ewma_rates(cube, known_steps(cube, first, delay), self.half_life_days):
            yield smooth(rate, cube, self.bandwidth_cells)


def smooth(rate: Floats, cube: Cube, bandwidth_cells: float) -> Floats:
    """(cells, categories) the rate spread over the grid; what would leave it is reflected, so the sum stays."""
    square = rate.reshape(cube.rows, cube.cols, -1)
    spread = gaussian_filter(square, sigma=bandwidth_cells, axes=(0, 1), mode="reflect")
    return np.asarray(spread.reshape(rate.shape), np.float64)
