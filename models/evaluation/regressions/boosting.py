"""Gradient boosting of trees with the Poisson loss on the product's features."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from models.evaluation.contract import LEAST_MEAN, Values
from models.evaluation.regressions.flat import flat, flat_counts
from models.fit_network import Examples

MOST_TREES = 400
PATIENCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    name: ClassVar[str] = "gradient boosting"

    def fit(self, train: Examples, validation: Examples, *, seed: int) -> "FittedBoosting":
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
            flat_counts(train),
            X_val=flat(validation.values.numpy()),
            y_val=flat_counts(validation),
        )
        return FittedBoosting(model=model)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBoosting:
    model: HistGradientBoostingRegressor

    def predict(self, values: Values) -> Values:
        mean = np.maximum(self.model.predict(flat(values)), LEAST_MEAN)
        return np.asarray(mean, np.float32).reshape(values.shape[:2])
