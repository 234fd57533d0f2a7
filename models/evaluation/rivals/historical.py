"""The mean of the training steps, never renewed."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Historical:
    name: ClassVar[str] = "historical average"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedHistorical":
        return FittedHistorical(mean=past.counts[:validation].mean(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedHistorical:
    mean: Floats  # (cells, categories) incidents per step

    @property
    def chosen(self) -> Mapping[str, float]:
        return MappingProxyType({})

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        return np.tile(self.mean, (len(cube) - first, 1, 1))
