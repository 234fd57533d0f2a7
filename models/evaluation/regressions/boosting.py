"""Gradient boosting of trees with the Poisson loss on the product's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from models.evaluation.contract import Values, poisson_loss
from models.evaluation.regressions.flat import flat, flat_counts
from models.feature_lists import usual_columns
from models.training.fit_network import Examples

MOST_TREES = 400
PATIENCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """Chooses with the first seed: trees explain the counts, or what they are beside the product's baseline."""

    name: ClassVar[str] = "gradient boosting"

    def fit(self, train: Examples, validation: Examples, *, seeds: Sequence[int]) -> "list[FittedBoosting]":
        later, counts = validation.values.numpy(), validation.counts[:, :, 0].double().numpy()
        tried = [_fit(train, validation, seed=seeds[0], beside_baseline=beside) for beside in (False, True)]
        first = min(tried, key=lambda boosting: poisson_loss(boosting.predict(later), counts))
        more = [_fit(train, validation, seed=seed, beside_baseline=first.beside_baseline) for seed in seeds[1:]]
        return [first, *more]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBoosting:
    model: HistGradientBoostingRegressor
    beside_baseline: bool

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"beside_baseline": float(self.beside_baseline), "trees": float(self.model.n_iter_)}

    def predict(self, values: Values) -> Values:
        mean = self.model.predict(flat(values)) * _exposure(values, self.beside_baseline)
        return np.asarray(mean, np.float32).reshape(values.shape[:2])


def _fit(train: Examples, validation: Examples, *, seed: int, beside_baseline: bool) -> FittedBoosting:
    """A rate count / exposure of weight `exposure` has the same Poisson likelihood as the count with an offset."""
    exposure, later_exposure = (_exposure(examples.values.numpy(), beside_baseline) for examples in (train, validation))
    model = HistGradientBoostingRegressor(
        loss="poisson",
        learning_rate=0.05,
        max_iter=MOST_TREES,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=seed,
    )
    model.fit(
        flat(train.values.numpy()),
        flat_counts(train) / exposure,
        sample_weight=exposure,
        X_val=flat(validation.values.numpy()),
        y_val=flat_counts(validation) / later_exposure,
        sample_weight_val=later_exposure,
    )
    return FittedBoosting(model=model, beside_baseline=beside_baseline)


def _exposure(values: Values, beside_baseline: bool) -> npt.NDArray[np.float64]:
    """(n * categories,) expected counts of the product's baseline, or 1."""
    log_usual = values[:, :, usual_columns(1)].reshape(-1).astype(np.float64)
    return np.exp(log_usual) if beside_baseline else np.ones_like(log_usual)
