"""How much of a network's correction is served: its weight in the log-linear pool with its baseline.

The log-linear pool is the weighted geometric mean of several forecasts. Source: Genest and Zidek, Combining Probability
Distributions: A Critique and an Annotated Bibliography, Statistical Science 1, 1986.
"""

from collections.abc import Sequence
from math import log, sqrt

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from models.cube import AnyFloats, Counts, Floats

MORE_OFF = 0.05  # of the log of a total's forecast over what came


def pool_share(log_usual: Tensor, correction: Tensor, counts: Tensor) -> float:
    """Whole percents, 0 to 1: the likeliest one under Poisson on time that the network did not learn from.

    Less where the total would be farther off than that of the baseline by more than MORE_OFF and twice the standard
    error of so many incidents: a network may not undo the level that its baseline follows. log_usual, correction,
    counts: (n, categories).
    """
    came = max(float(counts.sum()), 1.0)

    def off(share: float) -> float:
        return abs(log(float((log_usual + share * correction).exp().sum()) / came))

    farthest = off(0) + MORE_OFF + 2 / sqrt(came)

    means = [torch.exp(log_mean).numpy() for log_mean in (log_usual + correction, log_usual)]
    likeliest = round(100 * float(pool_weights(means, counts.numpy())[0]))
    return next(percent / 100 for percent in range(likeliest, -1, -1) if off(percent / 100) <= farthest)


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
