"""How far the counts of each cell spread, beside the whole region's: places where one incident is reported often.

A cell's factor on the dispersion's r is one of FACTORS. The likeliest is taken under a normal distribution of its
logarithm around 0, so that a cell of which little is known has the region's dispersion (empirical Bayes). Source: Efron
and Morris, Stein's estimation rule and its competitors, Journal of the American Statistical Association 68, 1973.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from models.dispersion import LEAST_GAIN, Dispersion, Floats
from models.likelihood import negative_binomial_nll

FACTORS = np.exp([-1.0, -0.5, 0.0, 0.5, 1.0])
SPREADS = (0.3, 0.6)  # of the factors' logarithms
_NONE = 1e-9  # so narrow that every cell has the region's


def factor_losses(
    log_mean: torch.Tensor, counts: torch.Tensor, cell: npt.NDArray[np.intp], dispersion: Dispersion, cells: int
) -> Floats:
    """(FACTORS, cells, categories, horizons) loss of each cell's examples under each factor, summed.

    log_mean, counts: (n, categories, horizons). cell: (n,) which cell each is of. dispersion: (categories, horizons).
    """
    losses = np.zeros((len(FACTORS), cells, *counts.shape[1:]))
    for place in np.ndindex(counts.shape[1:]):
        log_means, seen = log_mean[(slice(None), *place)].double(), counts[(slice(None), *place)].double()
        mean = torch.exp(log_means)
        some = torch.nonzero(seen)[:, 0]
        for number, factor in enumerate(FACTORS):
            of_cell = replace(dispersion[place], r=factor * dispersion.r[place])
            size = of_cell.tensor_size(mean).expand_as(mean)
            each = size * torch.log1p(mean / size)  # nearly all counts are 0
            each[some] = negative_binomial_nll(log_means[some], seen[some], size[some])
            losses[(number, slice(None), *place)] = np.bincount(cell, weights=each.numpy(), minlength=cells)
    return losses


def likeliest_factors(losses: Floats, spread: Floats) -> Floats:
    """(cells, categories, horizons) of FACTORS. spread: (categories, horizons), 0 where cells keep the region's."""
    return np.asarray(FACTORS[_likeliest(losses, spread)])


def choose_spread(learned: Floats, validation: Floats) -> Floats:
    """(categories, horizons) the one of SPREADS whose factors, taken from `learned`, lose least on validation.

    0 where none gains LEAST_GAIN. Both as `factor_losses` gives them.
    """
    places = validation.shape[2:]
    spreads = (0.0, *SPREADS)
    lost = np.stack([_lost(validation, _likeliest(learned, np.full(places, spread))) for spread in spreads])
    gains = lost.min(axis=0) < (1 - LEAST_GAIN) * lost[0]
    return np.where(gains, np.array(spreads)[lost.argmin(axis=0)], 0.0)


def _likeliest(losses: Floats, spread: Floats) -> npt.NDArray[np.intp]:
    """(cells, categories, horizons) places in FACTORS."""
    prior = np.log(FACTORS)[:, None, None] ** 2 / (2 * np.maximum(spread, _NONE) ** 2)
    return np.asarray((losses + prior[:, None]).argmin(axis=0))


def _lost(losses: Floats, chosen: npt.NDArray[np.intp]) -> Floats:
    """(categories, horizons)"""
    return np.asarray(np.take_along_axis(losses, chosen[None], axis=0)[0].sum(axis=0))
