"""Rivals that see the product's features. To add one: a class here or in a file beside, and an entry of REGRESSIONS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.evaluation.rival_contract import Regression, Values, poisson_loss
from models.feature_lists import usual_columns
from models.training.fit_network import Examples


def flat(values: Values) -> Values:
    """(n * categories, features + categories): the features, and the category as columns of 0 and 1.

    values: (n, categories, features).
    """
    n, categories, features = values.shape
    indicator = np.broadcast_to(np.eye(categories, dtype=np.float32), (n, categories, categories))
    return np.concatenate([values, indicator], axis=2).reshape(n * categories, features + categories)


def flat_counts(examples: Examples) -> npt.NDArray[np.float64]:
    """(n * categories,) what came within the only horizon."""
    return examples.counts[:, :, 0].reshape(-1).double().numpy()


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


REGRESSIONS: list[Regression] = [PoissonGlm(), Boosting()]
