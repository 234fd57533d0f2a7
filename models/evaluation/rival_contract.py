"""What a forecast is, and what a rival of the network must be able to do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from models.measures import Counts, Cube, Floats

if TYPE_CHECKING:  # torch takes seconds to import, and what only counts does not need it
    from models.training.fit_network import Examples

LEAST_SHARE = 1e-4  # of the mean of all cells
UNSEEN = 0.5  # incidents
Values = npt.NDArray[np.float32]


def least_mean(counts: Counts) -> Floats:
    """(categories,) the least that a forecast of one cell and step is taken for, the same for every model.

    A forecast of zero would make one surprise infinitely bad. This is LEAST_SHARE of the category's mean in `counts`,
    the (steps, cells, categories) that are learned from, and half an incident spread over all of them (Jeffreys' prior
    of a rate), so that a category that was never seen may come.

    >>> least_mean(np.ones((100, 10, 1), np.int32)).shape
    (1,)
    """
    steps, cells, _ = counts.shape
    return np.asarray((LEAST_SHARE * counts.sum(axis=(0, 1), dtype=np.int64) + UNSEEN) / (steps * cells), np.float64)


def poisson_loss(mean: npt.NDArray[np.floating], counts: npt.NDArray[np.number]) -> float:
    """What rivals choose by: minus log probability per count under Poisson, but for what no forecast can change.

    Half the Poisson deviance, up to a constant. Any one shape; mean > 0.
    """
    happened = counts > 0
    return float((mean.sum() - counts[happened] @ np.log(mean[happened])) / counts.size)


class Forecaster(Protocol):
    """A fitted rival that counts for itself."""

    @property
    def chosen(self) -> Mapping[str, float]:
        """What it chose on the validation steps, by name; empty when there was no choice."""
        ...

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterable[Floats]:
        """(cells, categories) expected counts, 0 or more, of each step from `first` on.

        They are read one by one, so that a rival that yields them never holds more than one. That of a step may use
        only steps before `step - delay`: `delay` steps are not yet reported. `evaluate` refuses a rival that looks
        further (models/evaluation/judge.py).
        """
        ...


class Rival(Protocol):
    """One row of the table, from counts alone."""

    @property
    def name(self) -> str: ...

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> Forecaster:
        """Fit on the steps before `validation`, choose by those from it on, with the delay of the forecasts to come.

        `past` ends before the test block.
        """
        ...


class Regressor(Protocol):
    """A fitted rival that sees the product's features."""

    @property
    def chosen(self) -> Mapping[str, float]:
        """What it chose on the validation steps, by name; empty when there was no choice."""
        ...

    def predict(self, values: Values) -> Values:
        """(n, categories) expected counts, 0 or more. values: (n, categories, features) of cells at moments."""
        ...


class Regression(Protocol):
    """One row of the table, from the same features as the network."""

    @property
    def name(self) -> str: ...

    def fit(self, train: "Examples", validation: "Examples", *, seeds: Sequence[int]) -> Sequence[Regressor]:
        """One for each seed, or one alone where seeds make no difference. One horizon.

        Fitted on `train`; `validation`, the block of time after it, is for choices and may stop a fit early.
        """
        ...
