"""Proper scores, value by value: each is smallest on average for the forecast that tells the truth."""

import numpy as np
import torch

from models.dispersion import Dispersion
from models.likelihood import log_scores, poisson_deviance
from models.measures.cube import Counts, Floats

PROPER = ("nb_log_score", "poisson_deviance", "brier")


def proper_scores(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """The scores of PROPER, (3, n), and the probability of at least one incident, (n,).

    mean: (n,) expected counts, > 0. counts: (n,). dispersion: of one place. The log score is in nats, the Brier score
    that of "at least one".
    """
    log_mean, observed = torch.from_numpy(mean).log(), torch.from_numpy(counts).double()
    probability = -np.expm1(-dispersion.size(mean) * np.log1p(dispersion.excess(mean)))
    scores = np.stack(
        [
            log_scores(mean, counts, dispersion),
            poisson_deviance(log_mean, observed).numpy(),
            (probability - (counts > 0)) ** 2,
        ]
    )
    return scores, probability
