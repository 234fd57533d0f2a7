"""Proper scores, value by value: each is smallest on average for the forecast that tells the truth."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import betainc
from scoringrules import crps_negbinom

from models.dispersion import Dispersion
from models.likelihood import log_scores, poisson_deviance
from models.measures.cube import AnyFloats, Counts, Floats

PROPER = ("nb_log_score", "poisson_deviance", "crps", "brier", "log_loss")
LIBRARY_SIZE = 20.0  # up to this size scoringrules 0.10 is right; beyond, large means give infinities and nan
NEGLIGIBLE = 1e-8  # a tail probability that is squared in a sum


def proper_scores(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """The scores of PROPER, (5, n), and the probability of at least one incident, (n,).

    mean: (n,) expected counts, > 0. counts: (n,). dispersion: of one place. Log score and log loss are in nats, the
    CRPS in incidents; Brier score and log loss are those of "at least one".
    """
    log_mean, observed = torch.from_numpy(mean).log(), torch.from_numpy(counts).double()
    happened = counts > 0
    size = dispersion.size(mean)
    log_none = -size * np.log1p(dispersion.excess(mean))
    probability = -np.expm1(log_none)
    scores = np.stack(
        [
            log_scores(mean, counts, dispersion),
            poisson_deviance(log_mean, observed).numpy(),
            crps(mean, counts, size),
            (probability - happened) ** 2,
            -np.where(happened, np.log(probability), log_none),
        ]
    )
    return scores, probability


def crps(mean: Floats, counts: Counts, size: AnyFloats) -> Floats:
    """Continuous ranked probability score, incidents: how far the whole distribution lies from the count.

    mean, counts: (n,); size: (n,) or one for all. Gives (n,).
    Source of the closed form for a small size: Wei and Held, Calibration tests for count data, TEST 23, 2014.
    """
    sizes = np.broadcast_to(size, mean.shape)
    values, small = np.empty(len(mean)), sizes <= LIBRARY_SIZE
    values[small] = crps_negbinom(counts[small], sizes[small], mu=mean[small])
    values[~small] = crps_by_sum(mean[~small], counts[~small], sizes[~small])
    return values


def crps_by_sum(mean: Floats, counts: Counts, size: AnyFloats) -> Floats:
    """The definition: sum over k >= 0 of (P(X <= k) - [count <= k])**2, until P(X > k) is negligible.

    Takes and gives what `crps` does. The terms are about as many as mean * (1 + 18 / size), so not for a small size.
    Source: Czado, Gneiting and Held, Predictive model assessment for count data, Biometrics 65, 2009.
    """
    size = np.broadcast_to(size, mean.shape)
    share = mean / (size + mean)
    total = np.zeros(len(mean))
    rest: npt.NDArray[np.intp] = np.arange(len(mean))
    k = 0
    while len(rest):
        above = betainc(k + 1.0, size[rest], share[rest])  # P(X > k)
        total[rest] += np.where(counts[rest] > k, 1 - above, above) ** 2
        k += 1
        rest = rest[(above > NEGLIGIBLE) | (counts[rest] > k)]
    return total
