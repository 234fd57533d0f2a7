"""The log-linear pool: the weighted geometric mean of several forecasts.

Source: Genest and Zidek, Combining Probability Distributions: A Critique and an Annotated Bibliography, Statistical
Science 1, 1986.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from models.measures.cube import AnyFloats, Counts, Floats


def pool_weights(means: Sequence[AnyFloats], counts: Counts) -> Floats:
    """(members,) 0 or more, together 1: those whose pool makes the counts likeliest under Poisson.

    means: of each member, of the shape of `counts` and above 0. The loss is convex, so there is one minimum.
    """
    logs, observed = np.stack([np.log(mean, dtype=np.float64).ravel() for mean in means]), counts.ravel()
    incidents = max(float(observed.sum()), 1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_mean = weights @ logs
        mean = np.exp(log_mean)
        return float(mean.sum() - observed @ log_mean) / incidents, logs @ (mean - observed) / incidents

    search = minimize(
        loss,
        np.full(len(logs), 1 / len(logs)),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(logs),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 200},
    )
    weights = np.clip(search.x, 0, 1)
    # A search that ends early, by rounding, may stand a little beside the minimum: never worse than one member alone.
    return min([np.asarray(weights / weights.sum()), *np.eye(len(logs))], key=lambda candidate: loss(candidate)[0])


def pooled(means: Sequence[AnyFloats], weights: Floats) -> Floats:
    """The pool of forecasts of one shape."""
    total = np.zeros(means[0].shape)
    for mean, weight in zip(means, weights.tolist(), strict=True):
        total += weight * np.log(mean)
    return np.exp(total)
