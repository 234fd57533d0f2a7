"""How much of a network's correction is served: its weight in the log-linear pool with its baseline."""

from math import log, sqrt

import torch
from torch import Tensor

from models.measures.pool import pool_weights

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
