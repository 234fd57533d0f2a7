"""How far counts spread around a forecast: in the region, and in each cell beside it.

Where one incident is reported often, they spread more. A cell's factor on the dispersion's r is one of FACTORS. The
likeliest is taken under a normal distribution of its logarithm around 0, so that a cell of which little is known has
the region's dispersion (empirical Bayes). Source: Efron and Morris, Stein's estimation rule and its competitors,
Journal of the American Statistical Association 68, 1973.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.baseline import BaselineConstants, profile_of_hours, region_rate
from models.dispersion import LEAST_GAIN, LEAST_NATS, LINEAR, QUADRATIC, Dispersion, Floats
from models.likelihood import negative_binomial_nll
from models.training.replay import IncidentHistory
from models.unusual import with_sum
from schemas.spec import HOUR_S

DISPERSIONS = np.geomspace(0.1, 300, 49)
FACTORS = np.exp([-1.0, -0.5, 0.0, 0.5, 1.0])
SPREADS = (0.3, 0.6)  # of the factors' logarithms
SPREAD_HOURS, _USUAL_AT_A_TIME = (1, 6, 24, 168), 5.0  # that are summed, so that so many incidents are usual in them
_NONE = 1e-9  # so narrow that every cell has the region's


def likeliest_dispersion(log_mean: torch.Tensor, counts: torch.Tensor) -> Dispersion:
    """(categories, horizons). log_mean, counts: (n, categories, horizons)."""
    return likeliest(dispersion_losses(log_mean, counts))


def likeliest(losses: Floats) -> Dispersion:
    """(categories, horizons) the dispersion of the least of `dispersion_losses`.

    LINEAR only where it gains LEAST_GAIN: it loses little where counts are small, so that chance would choose.
    """
    least = losses.min(axis=1)  # (powers, categories, horizons)
    is_linear = least[1] < (1 - LEAST_GAIN) * least[0]
    best = np.where(is_linear, *reversed(losses.argmin(axis=1)))
    return Dispersion(r=DISPERSIONS[best], power=np.where(is_linear, LINEAR, QUADRATIC))


def dispersion_losses(log_mean: torch.Tensor, counts: torch.Tensor) -> Floats:
    """(powers, DISPERSIONS, categories, horizons) loss under each; those of two sets of counts add up.

    log_mean, counts: (n, categories, horizons).
    """
    losses = np.empty((2, len(DISPERSIONS), *counts.shape[1:]))
    for place in np.ndindex(counts.shape[1:]):
        log_means, of_place = log_mean[(slice(None), *place)].double(), counts[(slice(None), *place)].double()
        some = of_place > 0
        busy, busy_counts, quiet = torch.exp(log_means[some]), of_place[some], torch.exp(log_means[~some])
        quiet_sum = quiet.sum()
        for number, r in enumerate(torch.from_numpy(DISPERSIONS)):
            none = ((r * torch.log1p(quiet / r)).sum(), r * torch.log1p(1 / r) * quiet_sum)  # nearly all counts are 0
            for power, (size, at_zero) in enumerate(zip((r, r * busy), none, strict=True)):
                seen_loss = negative_binomial_nll(log_means[some], busy_counts, size).sum()
                losses[(power, number, *place)] = float(seen_loss + at_zero)
    return losses


def dispersion_of_network(log_mean: torch.Tensor, counts: torch.Tensor, of_baseline: Dispersion) -> Dispersion | None:
    """(categories, horizons) that around a network's forecasts, where it knows much that the baseline does not.

    Elsewhere the baseline's: another one must gain LEAST_GAIN, and LEAST_NATS in all. None: it is that everywhere.
    log_mean, counts: (n, categories, horizons).
    """
    losses = dispersion_losses(log_mean, counts)
    own = likeliest(losses)
    before = _loss_of(of_baseline, losses)
    is_own = _loss_of(own, losses) < np.minimum((1 - LEAST_GAIN) * before, before - LEAST_NATS)
    if not is_own.any():
        return None
    return Dispersion(r=np.where(is_own, own.r, of_baseline.r), power=np.where(is_own, own.power, of_baseline.power))


def _loss_of(dispersion: Dispersion, losses: Floats) -> Floats:
    """(categories, horizons) loss under one of DISPERSIONS each. losses: as `dispersion_losses` gives them."""
    number = np.abs(DISPERSIONS[:, None, None] - dispersion.r).argmin(axis=0)
    of_both = np.take_along_axis(losses, number[None, None], axis=1)[:, 0]
    return np.asarray(np.where(dispersion.power == LINEAR, of_both[1], of_both[0]))


def factor_losses(
    log_mean: torch.Tensor, counts: torch.Tensor, cell: npt.NDArray[np.intp], dispersion: Dispersion, cells: int
) -> Floats:
    """(FACTORS, cells, categories, horizons) loss of each cell's examples under each factor, summed.

    log_mean, counts: (n, categories, horizons). cell: (n,) which cell each is of. dispersion: (categories, horizons).
    """
    losses = np.zeros((len(FACTORS), cells, *counts.shape[1:]))
    for place in np.ndindex(counts.shape[1:]):
        log_means, of_place = log_mean[(slice(None), *place)].double(), counts[(slice(None), *place)].double()
        mean = torch.exp(log_means)
        some = torch.nonzero(of_place)[:, 0]
        for number, factor in enumerate(FACTORS):
            of_cell = replace(dispersion[place], r=factor * dispersion.r[place])
            size = of_cell.tensor_size(mean).expand_as(mean)
            each = size * torch.log1p(mean / size)  # nearly all counts are 0
            each[some] = negative_binomial_nll(log_means[some], of_place[some], size[some])
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
    chosen = (_likeliest(learned, np.full(places, spread))[None] for spread in spreads)
    lost = np.stack([np.take_along_axis(validation, factors, axis=0)[0].sum(axis=0) for factors in chosen])
    gains = lost.min(axis=0) < (1 - LEAST_GAIN) * lost[0]
    return np.where(gains, np.array(spreads)[lost.argmin(axis=0)], 0.0)


def _likeliest(losses: Floats, spread: Floats) -> npt.NDArray[np.intp]:
    """(cells, categories, horizons) places in FACTORS."""
    prior = np.log(FACTORS)[:, None, None] ** 2 / (2 * np.maximum(spread, _NONE) ** 2)
    return np.asarray((losses + prior[:, None]).argmin(axis=0))


def common_spreads(
    past: IncidentHistory, constants: BaselineConstants, start_s: int, stop_s: int
) -> tuple[Floats, Floats]:
    """How far hourly counts lie around the baseline because they rise and fall together, by the hours of a span.

    (categories + 1,) of the whole region: the variance beyond Poisson's over the square of the mean; the last is that
    of all categories together. () of a cell's sum over the categories: its variance beyond that of categories that do
    not know each other, over its mean.
    """
    spec, categories = past.spec, len(past.spec.categories)
    hours = np.arange(past.first_s // HOUR_S + 1, stop_s // HOUR_S)
    at = past.incidents.occurred_s // HOUR_S - hours[0]
    kept = (at >= 0) & (at < len(hours)) & ~np.isin(at + hours[0], past.cut_hours)
    at, cell, category = at[kept], past.incidents.cell[kept], past.incidents.category[kept]
    came = np.bincount(at * categories + category, minlength=len(hours) * categories).reshape(-1, categories)
    mean = usual_by_hour(hours, came, constants, spec.timezone)
    judged = (hours * HOUR_S >= start_s) & ~np.isin(hours, past.cut_hours)
    counts, usual = with_sum(came[judged]), with_sum(mean[judged])
    of_totals = np.array([_spread(*of) for of in zip(counts.T, usual.T, strict=True)])
    # Pairs of incidents of two categories in the same cell and hour, and how many of them the means explain.
    of_judged = judged[at]
    _, which = np.unique(at[of_judged] * spec.grid.cells + cell[of_judged], return_inverse=True)
    in_cell = np.bincount(which * categories + category[of_judged], minlength=categories * (which.max(initial=-1) + 1))
    in_cell = in_cell.reshape(-1, categories)
    pairs = float((in_cell.sum(axis=1) ** 2 - (in_cell**2).sum(axis=1)).sum())
    share = np.bincount(cell * categories + category, minlength=spec.grid.cells * categories).reshape(-1, categories)
    share = share / np.maximum(share.sum(axis=0), 1)
    explained = (usual[:, :-1].T @ usual[:, :-1]) * (share.T @ share)
    beyond = pairs - (1 + of_totals[-1]) * (explained.sum() - np.trace(explained))
    return of_totals, np.maximum(np.asarray(beyond / max(usual[:, -1].sum(), 1.0)), 0.0)


def usual_by_hour(
    hours: npt.NDArray[np.int64], came: npt.NDArray[np.number[Any]], constants: BaselineConstants, timezone: str
) -> Floats:
    """(hours, categories) what is usual in the whole region in each hour, by the counts of the days before.

    hours: (hours,) since 1970, one after the other. came: (hours, categories).
    """
    mean, fade = profile_of_hours(constants, hours, timezone) / 24, 0.5 ** (1 / float(constants.level_half_life_days))
    before, days = np.zeros((1, came.shape[1])), 0.0
    for day in np.split(np.arange(len(hours)), np.flatnonzero(np.diff(hours // 24)) + 1):
        mean[day] *= region_rate(before, days, constants)
        before, days = fade * before + came[day].sum(axis=0), fade * days + 1
    return mean


def _spread(counts: Floats, usual: Floats) -> float:
    """Of (hours,) counts, over so many hours at a time that incidents are usual in them: else it is mostly chance."""
    hours = next((hours for hours in SPREAD_HOURS if hours * usual.mean() >= _USUAL_AT_A_TIME), SPREAD_HOURS[-1])
    starts = np.arange(0, len(usual) - hours + 1, hours)
    came, mean = (
        np.add.reduceat(of, starts)[: len(starts)]
        for of in (counts[: len(starts) * hours], usual[: len(starts) * hours])
    )
    return max(float(((came - mean) ** 2 - mean).sum() / (mean**2).sum()), 0.0) if len(starts) else 0.0
