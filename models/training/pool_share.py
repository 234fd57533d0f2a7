"""How much of a network's correction is served: its weight in the log-linear pool with its baseline."""

import torch
from torch import Tensor

from models.measures.pool import pool_weights

MORE_OFF = 0.05  # of the log of a total's forecast over what came


def pool_share(log_usual: Tensor, correction: Tensor, counts: Tensor) -> float:
    """Whole percents, 0 to 1: the likeliest one under Poisson on time that the network did not learn from.

    Less where the total would be farther off by more than MORE_OFF than that of the baseline, 0 if any part is: a
    network may not undo the level that its baseline follows. log_usual, correction, counts: (n, categories).
    """
    came = counts.sum().clamp(min=1)

    def is_as_near(percent: int) -> bool:
        ratios = [(log_usual + share * correction).exp().sum() / came for share in (percent / 100, 0)]
        off, off_of_baseline = (abs(float(ratio.log())) for ratio in ratios)
        return off <= off_of_baseline + MORE_OFF

    means = [torch.exp(log_mean).numpy() for log_mean in (log_usual + correction, log_usual)]
    likeliest = round(100 * float(pool_weights(means, counts.numpy())[0]))
    return next(percent for percent in range(likeliest, -1, -1) if is_as_near(percent)) / 100
