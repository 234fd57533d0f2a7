"""Poisson regression with a log link on the product's features.

Newton's method in double precision: the features are nearly collinear, so that L-BFGS ends before the minimum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.evaluation.contract import Values, poisson_loss
from models.evaluation.regressions.flat import flat, flat_counts
from models.training.fit_network import Examples

PENALTIES = (1e-6, 1e-4, 1e-2)  # of the L2 norm; the best on validation is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonGlm:
    name: ClassVar[str] = "Poisson GLM"

    def fit(self, train: Examples, validation: Examples, *, seeds: Sequence[int]) -> "list[FittedGlm]":
        values, counts = flat(train.values.numpy()).astype(np.float64), flat_counts(train)
        later, later_counts = flat(validation.values.numpy()), flat_counts(validation)
        fitted = []
        for penalty in PENALTIES:
            model = make_pipeline(StandardScaler(), PoissonRegressor(alpha=penalty, solver="newton-cholesky"))
            fitted.append(FittedGlm(model=model.fit(values, counts), penalty=penalty))
        return [min(fitted, key=lambda glm: poisson_loss(glm.of_rows(later), later_counts))]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedGlm:
    model: Pipeline
    penalty: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"penalty": self.penalty}

    def of_rows(self, rows: Values) -> Values:
        return np.asarray(self.model.predict(rows), np.float32)

    def predict(self, values: Values) -> Values:
        return self.of_rows(flat(values)).reshape(values.shape[:2])
