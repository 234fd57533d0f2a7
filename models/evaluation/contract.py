"""What a forecast is, and what a rival of the network must be able to do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from models.evaluation.cube import Cube, Floats

if TYPE_CHECKING:  # torch takes seconds to import, and what only counts does not need it
    from models.fit_network import Examples

LEAST_MEAN = 1e-4  # expected incidents; a forecast of zero would make one surprise infinitely bad
Values = npt.NDArray[np.float32]


class Forecaster(Protocol):
    """A fitted rival that counts for itself."""

    @property
    def chosen(self) -> Mapping[str, float]:
        """What it chose on the validation steps, by name; empty when there was no choice."""
        ...

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        """(steps - first, cells, categories) expected counts, each at least LEAST_MEAN.

        Row i is about step `first + i` and may use only steps before `first + i - delay`: `delay` steps are not yet
        reported. `evaluate` refuses a rival that looks further (models/evaluation/leaks.py).
        """
        ...


class Rival(Protocol):
    """One row of the table, from counts alone."""

    @property
    def name(self) -> str: ...

    def fit(self, past: Cube, validation: int) -> Forecaster:
        """Fit on the steps before `validation`, choose by those from it on. `past` ends before the test block."""
        ...


class Regressor(Protocol):
    """A fitted rival that sees the product's features."""

    def predict(self, values: Values) -> Values:
        """(n, categories) expected counts, > 0. values: (n, categories, features) of cells at moments."""
        ...


class Regression(Protocol):
    """One row of the table, from the same features as the network."""

    @property
    def name(self) -> str: ...

    def fit(self, train: "Examples", validation: "Examples", *, seed: int) -> Regressor:
        """Fit on `train`; `validation`, the block of time after it, may stop it early. One horizon."""
        ...
