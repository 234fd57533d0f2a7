"""Fits the baseline: its profile of the week, the memory of each cell, and how far counts lie around it.

Where one incident is reported often, counts spread more. A cell's factor on the dispersion's r is one of FACTORS. The
likeliest is taken under a normal distribution of its logarithm around 0, so that a cell of which little is known has
the region's dispersion (empirical Bayes). Source: Efron and Morris, Stein's estimation rule and its competitors,
Journal of the American Statistical Association 68, 1973.

The nowcast, how much of a surge in the last hours is left in the next ones, is chosen by all hours of the past. Every
hour a setting's factor is put on what was usual in the region, and judged by the log score of what came. The best
setting must gain LEAST_NATS over no nowcast at all, else the region has none. Of those that gain nearly as much the
calmest is taken: the network knows a part of it already, and the storms of the next season are others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.baseline import (
    BaselineConstants,
    OlderDays,
    cell_rate,
    mixed_cell_rate,
    profile_hours,
    profile_of_hours,
    region_rate,
    ring_sum,
)
from models.dispersion import LEAST_GAIN, LEAST_NATS, LINEAR, QUADRATIC, Dispersion, Floats, negative_binomial_nll
from models.local_time import BLOCK_OF_HOUR, DAY_BLOCKS, HOURS, HOURS_OF_BLOCK, holiday_days, hour_of_week, hours_within
from models.nowcast import HOURS_BACK, Nowcast, log_likelihood, surge, weights
from models.training.replay import IncidentHistory
from models.unusual import with_sum
from schemas.grid import Grid
from schemas.spec import DAY_S, DAYS_KEPT, HOUR_S

PROFILE_PRIORS = (5.0, 20.0, 80.0, 320.0)  # incidents per hour of the week, spread as over all categories
PROFILE_HALF_LIVES_DAYS = (inf, 360.0, 180.0, 90.0)  # of hours of the week; inf: all of the time weighs the same
LIFT_PRIORS = (20.0, 50.0, 100.0, 200.0, 1e9)  # incidents per block of the day; the last leaves every cell the profile
SURELY_LIKELIER = 2.0  # nats that one more free number gains by chance in 5 of 100 cases
_WEEK_S = 7 * DAY_S


def choose_profile(history: IncidentHistory, validation_s: int, test_s: int) -> tuple[float, float]:
    """Prior and half-life of the profile by hour of the week under which the validation block was least surprising.

    Hours are forgotten only where that is surely likelier.
    """
    later, later_exposure = by_hour_of_week(history, validation_s, test_s)
    surprise = np.zeros((len(PROFILE_HALF_LIVES_DAYS), len(PROFILE_PRIORS)))
    for row, half_life in enumerate(PROFILE_HALF_LIVES_DAYS):
        by_hour = by_hour_of_week(history, history.first_s, validation_s, half_life)
        for column, prior in enumerate(PROFILE_PRIORS):
            share = profile_of(*by_hour, prior) * later_exposure
            share = share / share.sum(axis=1, keepdims=True)
            surprise[row, column] = -(later * np.log(np.where(later_exposure > 0, share, 1.0))).sum()
    surprise[1:] += SURELY_LIKELIER
    half_life, prior = divmod(int(surprise.argmin()), len(PROFILE_PRIORS))
    return PROFILE_PRIORS[prior], PROFILE_HALF_LIVES_DAYS[half_life]


def profile_of(incidents: Floats, exposure: Floats, prior: float) -> Floats:
    """(categories, 168) profile by hour of the week; its mean is 1."""
    over_all = (incidents.sum(axis=0) + prior) / (
        exposure + prior / max(incidents.sum() / max(exposure.sum(), 1.0), 1e-9)
    )
    over_all = over_all / over_all.mean()
    mean = np.maximum(incidents.sum(axis=1, keepdims=True) / max(exposure.sum(), 1.0), 1e-9)  # incidents per hour
    profile = (incidents + prior * over_all) / (mean * exposure + prior)
    return np.asarray(profile / profile.mean(axis=1, keepdims=True))


def choose_lift_prior(history: IncidentHistory, profile: Floats, validation_s: int, test_s: int) -> float:
    """The prior of the cells' lifts under which the validation block was least surprising."""
    incidents, share = by_block(history, profile, history.first_s, validation_s)
    later, later_share = by_block(history, profile, validation_s, test_s)
    surprise = []
    for prior in LIFT_PRIORS:
        expected = day_lift(incidents, share, prior, history.spec.grid) * later_share
        expected = expected / expected.sum(axis=2, keepdims=True)
        surprise.append(-float((later * np.log(np.where(later_share > 0, expected, 1.0))).sum()))
    return LIFT_PRIORS[int(np.argmin(surprise))]


def day_lift(incidents: Floats, share: Floats, prior: float, grid: Grid) -> Floats:
    """(cells, categories, 16) what a cell has of the profile: its own incidents over the profile's, shrunk.

    A cell's category is shrunk to the cell, that to its 3 x 3 neighbourhood, that to 1. The share-weighted mean is 1.
    incidents: (cells, categories, 16) incidents; share: (categories, 16) of the profile in each block, sums to 1.
    """
    expected = incidents.sum(axis=2, keepdims=True) * share
    cell_seen, cell_expected = incidents.sum(axis=1), expected.sum(axis=1)
    around_seen = ring_sum(cell_seen, grid) + cell_seen
    around_expected = ring_sum(cell_expected, grid) + cell_expected
    around = (around_seen + 2 * prior) / (around_expected + 2 * prior)
    cell = (cell_seen + prior * around) / (cell_expected + prior)
    lift = (incidents + prior * cell[:, None]) / (expected + prior)
    return np.asarray(lift / (lift * share).sum(axis=2, keepdims=True))


def by_block(history: IncidentHistory, profile: Floats, start_s: int, stop_s: int) -> tuple[Floats, Floats]:
    """(cells, categories, 16) incidents of [start_s, stop_s), and (categories, 16) the profile's share, sums to 1."""
    part = history.uncut(start_s, stop_s)
    hour = hour_of_week(history.incidents.occurred_s[part], history.spec.timezone).astype(np.intp)
    cells, categories = history.spec.grid.cells, len(history.spec.categories)
    series = history.incidents.cell[part].astype(np.intp) * categories + history.incidents.category[part]
    incidents = np.bincount(series * DAY_BLOCKS + BLOCK_OF_HOUR[hour], minlength=cells * categories * DAY_BLOCKS)
    weighed = profile * _kept_hours(history, start_s, stop_s)
    share = weighed @ HOURS_OF_BLOCK.T
    return incidents.reshape(cells, categories, DAY_BLOCKS).astype(np.float64), share / share.sum(axis=1, keepdims=True)


def by_hour_of_week(
    history: IncidentHistory, start_s: int, stop_s: int, half_life_days: float = inf
) -> tuple[Floats, Floats]:
    """(categories, 168) incidents and (168,) hours of [start_s, stop_s) by hour of the local week, weighed by weeks.

    The newest week weighs 1.
    """
    part, categories = history.uncut(start_s, stop_s), len(history.spec.categories)
    occurred_s = history.incidents.occurred_s[part]
    hour = hour_of_week(occurred_s, history.spec.timezone).astype(np.intp)
    place, fade = history.incidents.category[part].astype(np.intp) * HOURS + hour, 0.5 ** (7 / half_life_days)
    weight = fade ** ((stop_s - 1 - occurred_s) // _WEEK_S).astype(np.float64)
    incidents = np.bincount(place, weight, categories * HOURS).astype(np.float64).reshape(categories, HOURS)
    if half_life_days == inf:
        return incidents, _kept_hours(history, start_s, stop_s)
    hours = np.zeros(HOURS)
    for weeks_ago, end_s in enumerate(range(stop_s, start_s, -_WEEK_S)):
        hours += fade**weeks_ago * _kept_hours(history, max(end_s - _WEEK_S, start_s), end_s)
    return incidents, hours


def _kept_hours(history: IncidentHistory, start_s: int, stop_s: int) -> Floats:
    """(168,) hours of [start_s, stop_s) in each hour of the local week, without those that are cut out."""
    zone = history.spec.timezone
    cut = sum((hours_within(*span, zone) for span in history.cut_spans(start_s, stop_s)), np.zeros(HOURS))
    return np.maximum(hours_within(start_s, stop_s, zone) - cut, 0.0)


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
    of_totals = np.zeros(categories + 1)
    for number, (observed, expected) in enumerate(zip(counts.T, usual.T, strict=True)):
        # Over so many hours at a time that incidents are usual in them: else it is mostly chance.
        usual_in = (span for span in SPREAD_HOURS if span * expected.mean() >= _USUAL_AT_A_TIME)
        span = next(usual_in, SPREAD_HOURS[-1])
        if whole := len(expected) // span:
            of_spans, mean_of_spans = (
                np.add.reduceat(of[: whole * span], np.arange(0, whole * span, span)) for of in (observed, expected)
            )
            beyond_chance = ((of_spans - mean_of_spans) ** 2 - mean_of_spans).sum() / (mean_of_spans**2).sum()
            of_totals[number] = max(float(beyond_chance), 0.0)
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


HALF_LIVES_DAYS = (30.0, 60.0, 120.0, 240.0, 480.0)
LEVEL_HALF_LIVES_DAYS = (7.0, 14.0, 30.0, 60.0)  # whole weeks and more: weekdays differ
SHRINK_DAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 160.0, 640.0, 2560.0)
OLDER_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the map of all days in a cell's rate
_LEAST_LIFT = 1e-4
JUDGED_PERCENT = 15  # of the time, and as much before it to choose by
_FINISHED_DAYS = DAYS_KEPT - 1  # the newest of the days that are kept is not over
_NONE_FORGOTTEN = 1_000_000
_Day = tuple[int, npt.NDArray[np.int32], Floats, float]  # with its counts, and the weighted counts and days before it
_LEAST_PER_DAY = 1e-3  # a category that was never seen in training still gets a rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """[train | validation | test], by time. Forecasts are made inside a block and come true inside it."""

    burn_in_s: int  # first moment of training: before it the memory is too short
    validation_s: int
    test_s: int
    end_s: int

    @classmethod
    def of(cls, first_s: int, cutoff_s: int) -> "Blocks":
        span = cutoff_s - first_s
        return cls(
            burn_in_s=first_s + min(28 * DAY_S, span // 5),
            validation_s=first_s + span * (100 - 2 * JUDGED_PERCENT) // 100,
            test_s=first_s + span * (100 - JUDGED_PERCENT) // 100,
            end_s=cutoff_s,
        )


class Choices(NamedTuple):
    """What is chosen by the validation block, to be held fixed when the constants are computed from more data."""

    half_life_days: float
    level_half_life_days: float
    shrink_days: tuple[float, ...]  # of each category
    profile_prior: float
    lift_prior: float
    older_share: float = 0.0  # of the map of all days; 0: the constants have no older days
    profile_half_life_days: float = inf


def fit_constants(history: IncidentHistory, blocks: Blocks) -> BaselineConstants:
    """Constants from the training block, choices by the validation block. Dispersion is Poisson's until fitted."""
    return constants_until(history, blocks.validation_s, choose(history, blocks))


def choose(history: IncidentHistory, blocks: Blocks, report: Callable[[float], None] = lambda share: None) -> Choices:
    """The choices under which the validation block was least surprising (Poisson); constants are of training alone."""
    spec, start = history.spec, _flat_constants(history, blocks.validation_s)
    # The memory's half-life, and shrinkage of each category. Of a rare category a cell learns less in the same time:
    # one whose own shrinkage is surely likelier than the one that suits all of them has its own, the others that which
    # suits them together.
    losses = np.zeros((len(HALF_LIVES_DAYS), len(SHRINK_DAYS), len(start.mean_per_day)))
    shrunk = [replace(start, shrink_days=np.array(shrink)) for shrink in SHRINK_DAYS]
    for number, half_life in enumerate(HALF_LIVES_DAYS):
        report(number / len(HALF_LIVES_DAYS))
        for ((_, counts, past, past_days),) in _days_to_choose_by(history, blocks, (half_life,)):
            for loss, constants in zip(losses[number], shrunk, strict=True):
                rate = cell_rate(past, past_days, constants, spec)
                loss += (rate - counts * np.log(rate)).sum(axis=0)
    best, shared = np.unravel_index(losses.sum(axis=2).argmin(), losses.shape[:2])
    of_best = losses[best]
    apart = of_best.min(axis=0) < of_best[shared] - SURELY_LIKELIER
    chosen = np.where(apart, of_best.argmin(axis=0), of_best[:, ~apart].sum(axis=1).argmin())
    half_life, shrink = HALF_LIVES_DAYS[best], tuple(SHRINK_DAYS[number] for number in chosen.tolist())
    profile_prior, profile_half_life = choose_profile(history, blocks.validation_s, blocks.test_s)
    by_hour = by_hour_of_week(history, history.first_s, blocks.validation_s, profile_half_life)
    profile = profile_of(*by_hour, profile_prior)
    memory = replace(start, half_life_days=np.array(half_life), shrink_days=np.array(shrink), profile=profile)
    # The level's half-life. That of the memory, under which rates do not follow the level, is one of them. A block on
    # which nothing changes may like it best, and then a city that changes would not be followed: the longest of
    # LEVEL_HALF_LIVES_DAYS is the most.
    candidates = (half_life, *(days for days in LEVEL_HALF_LIVES_DAYS if days < half_life))
    of_levels = np.zeros(len(candidates))
    for same_day in _days_to_choose_by(history, blocks, candidates):
        day, counts, past, past_days = same_day[0]
        start_s, stop_s = day * DAY_S, (day + 1) * DAY_S
        rate = cell_rate(past, past_days, memory, spec) / region_rate(past, past_days, memory)
        rate = rate * profile_hours(memory, start_s, stop_s, spec.timezone) / 24
        for number, (_, _, level, level_days) in enumerate(same_day):
            mean = rate * region_rate(level, level_days, memory)
            of_levels[number] += float((mean - counts * np.log(mean)).sum())
    level_half_life = min(candidates[int(of_levels.argmin())], LEVEL_HALF_LIVES_DAYS[-1])
    lift_prior, share = choose_lift_prior(history, profile, blocks.validation_s, blocks.test_s), 0.0
    # The share of the map of all days, with memory and map as when they serve; 0 where all days of the file are kept.
    if history.counts_before(blocks.end_s // DAY_S - _FINISHED_DAYS).any():
        older = history.counts_before(blocks.validation_s // DAY_S - _FINISHED_DAYS)
        of_shares = np.zeros(len(OLDER_SHARES))
        for same_day in _days_to_choose_by(history, blocks, (half_life, inf), kept_days=_FINISHED_DAYS):
            (_, counts, past, past_days), (_, _, finished, _) = same_day
            for number, older_share in enumerate(OLDER_SHARES):
                rate = mixed_cell_rate(past, past_days, finished + older, older_share, memory, spec)
                of_shares[number] += float((rate - counts * np.log(rate)).sum())
        share = OLDER_SHARES[int(of_shares.argmin())]
    return Choices(half_life, level_half_life, shrink, profile_prior, lift_prior, share, profile_half_life)


def constants_until(history: IncidentHistory, until_s: int, choices: Choices) -> BaselineConstants:
    """Constants from all incidents before `until_s`. Dispersion is Poisson's until fitted."""
    by_hour = by_hour_of_week(history, history.first_s, until_s, choices.profile_half_life_days)
    profile = profile_of(*by_hour, choices.profile_prior)
    lift = day_lift(*by_block(history, profile, history.first_s, until_s), choices.lift_prior, history.spec.grid)
    older, end_day = None, until_s // DAY_S - _FINISHED_DAYS  # the days before those whose counts are kept then
    if choices.older_share:
        counts = history.counts_before(end_day).astype(np.float64)
        older = OlderDays(counts=counts, share=np.array(choices.older_share), end_day=np.array(float(end_day)))
    return replace(
        _flat_constants(history, until_s),
        half_life_days=np.array(choices.half_life_days),
        level_half_life_days=np.array(choices.level_half_life_days),
        shrink_days=np.array(choices.shrink_days),
        profile=profile,
        day_lift=np.maximum(lift.round(4), _LEAST_LIFT),  # four digits: a third of the artifact's size
        older=older,
    )


def _flat_constants(history: IncidentHistory, until_s: int) -> BaselineConstants:
    """The mean rates before `until_s`, the same at every hour and in every cell."""
    spec = history.spec
    cut_s = sum(stop_s - start_s for start_s, stop_s in history.cut_spans(history.first_s, until_s))
    days = max((until_s - history.first_s - cut_s) / DAY_S, 1.0)
    category = history.incidents.category[history.uncut(history.first_s, until_s)]
    mean_per_day = np.bincount(category, minlength=len(spec.categories)) / days
    return BaselineConstants(
        half_life_days=np.array(HALF_LIVES_DAYS[0]),
        level_half_life_days=np.array(HALF_LIVES_DAYS[0]),
        shrink_days=np.full(len(spec.categories), SHRINK_DAYS[0]),
        profile=np.ones((len(spec.categories), HOURS)),
        day_lift=np.ones((spec.grid.cells, len(spec.categories), DAY_BLOCKS)),
        mean_per_day=np.maximum(mean_per_day, _LEAST_PER_DAY),
        dispersion=Dispersion.quadratic(np.full((len(spec.categories), len(spec.horizons_s)), DISPERSIONS[-1])),
        first_day=np.array(float(-(-history.first_s // DAY_S))),
        holidays=holiday_days(spec.holidays, history.first_s, history.cutoff_s),
        calendar=history.calendar,
    )


def _days_to_choose_by(
    history: IncidentHistory, blocks: Blocks, half_lives: tuple[float, ...], *, kept_days: int = _NONE_FORGOTTEN
) -> Iterator[tuple[_Day, ...]]:
    """The days of the validation block that are not cut, each as every half-life remembers what was before it."""
    span = range(-(-history.first_s // DAY_S), blocks.test_s // DAY_S)
    for same_day in zip(*(_days(history, half_life, span, kept_days) for half_life in half_lives), strict=True):
        start_s = same_day[0][0] * DAY_S
        if start_s >= blocks.validation_s and not history.cut_spans(start_s, start_s + DAY_S):
            yield same_day


def _days(history: IncidentHistory, half_life: float, span: range, kept_days: int) -> Iterator[_Day]:
    """Each day of a span, with what is remembered of the `kept_days` before it."""
    fade = 0.5 ** (1 / half_life)
    at_last = fade**kept_days
    past, past_days = np.zeros((history.spec.grid.cells, len(history.spec.categories))), 0.0
    for day in span:
        counts = history.counts(day * DAY_S, (day + 1) * DAY_S)
        yield day, counts, past, past_days
        past, past_days = fade * past + counts, fade * past_days + 1
        if (forgotten := day - kept_days) >= span.start:
            past = past - at_last * history.counts(forgotten * DAY_S, (forgotten + 1) * DAY_S)
            past_days -= at_last


HALF_LIVES_HOURS = (0.35, 0.5, 0.7, 1.0, 1.5)
PRIORS = (0.001, 0.003, 0.01, 0.03)
SIZES = (20.0, 50.0, 150.0)
SHARED = (0.0, 0.3, 1.0)
AHEAD = np.linspace(0, 1, 21)
NEARLY = 0.9  # of the best setting's gain
JUDGED_SIZE = 15.0  # of the negative binomial by which all settings are judged: a few nights must not decide alone
_DAY_PRIOR = 50.0  # incidents that came as usual, beside the last day's, in the level that a nowcast must beat


def fit_nowcast(past: IncidentHistory, constants: BaselineConstants, start_s: int, stop_s: int) -> Nowcast | None:
    """What is chosen by the hours in [start, stop); None where nothing gains enough.

    constants: of the baseline, and what is usual by them follows the last day's counts, as a network's forecast does.
    """
    spec, each = past.spec, HOUR_S // past.spec.slide_s
    first_hour, categories = past.first_s // HOUR_S + 1, len(spec.categories)
    hours = np.arange(first_hour, stop_s // HOUR_S)
    part = past.uncut(int(hours[0]) * HOUR_S, int(hours[-1] + 1) * HOUR_S)
    at = past.incidents.occurred_s[part] // spec.slide_s - first_hour * each
    place = at * categories + past.incidents.category[part]
    counts_of_all = np.bincount(place, minlength=len(hours) * each * categories)
    came: Floats = counts_of_all.reshape(-1, categories).astype(np.float64)
    by_hour: Floats = came.reshape(len(hours), each, categories).sum(axis=1)
    usual_of_hours = usual_by_hour(hours, by_hour, constants, spec.timezone)
    usual_of_hours[np.isin(hours, past.cut_hours)] = 0
    spans = [span_s // spec.slide_s for span_s in spec.horizons_s]
    first = max(-(-start_s // HOUR_S) - first_hour, HOURS_BACK)
    moments = np.arange(first * each, len(came) - spans[0] + 1, each)
    if not len(moments):
        return None
    sums, now = [_sums(of) for of in (by_hour, usual_of_hours)], moments // each
    came_before, usual_before = (of[now] - of[np.maximum(now - 24, 0)] for of in sums)
    level = (_DAY_PRIOR + came_before) / (_DAY_PRIOR + usual_before)
    usual = np.repeat(usual_of_hours / each, each, axis=0)
    sums, outcomes = [_sums(of) for of in (came, usual)], []
    for span in spans:
        is_over = np.asarray(moments + span <= len(came))
        counts, mean = (of[np.minimum(moments + span, len(came))] - of[moments] for of in sums)
        outcomes.append((counts, mean * level, is_over, min(each / span, 1.0)))
    ages = np.arange(HOURS_BACK * each, 0, -1)
    settings = []
    for half_life in HALF_LIVES_HOURS:
        weight = weights(half_life, (ages - 0.5) / each)
        lately = [np.einsum("a,mak->mk", weight, of[moments[:, None] - ages]) for of in (came, usual)]
        for prior, size, shared in product(PRIORS, SIZES, SHARED):
            tried = Nowcast.of(half_life, prior, size, shared, np.ones(len(spans)))
            factors, _ = surge(lately[0], lately[1] * level, tried)
            moves = np.asarray((factors > 1).any(axis=1))
            gains = np.empty((len(spans), len(AHEAD)))  # nats by which what came is likelier with so much of a factor
            for horizon, (counts, mean, is_over, share) in enumerate(outcomes):
                judged = moves & is_over
                more = factors[judged] - 1
                moved = [mean[judged] * (1 + part * more) for part in AHEAD]
                scores = np.array([log_likelihood(counts[judged], of_part, JUDGED_SIZE).sum() for of_part in moved])
                gains[horizon] = share * (scores - scores[0])
            settings.append((float(gains[0, -1]), float(moves.mean()), tried, gains))  # full over the first horizon
    best = max(gain for gain, *_ in settings)
    if best < LEAST_NATS:
        return None
    _, _, chosen, gains = min((of for of in settings if of[0] >= NEARLY * best), key=lambda of: of[1])
    enough = gains >= np.maximum(NEARLY * gains.max(axis=1, keepdims=True), 1e-9)
    ahead = np.where(gains.max(axis=1) >= LEAST_NATS, AHEAD[enough.argmax(axis=1)], 0.0)
    ahead[0] = 1.0
    return replace(chosen, ahead=ahead)


def _sums(values: Floats) -> Floats:
    """(n + 1, categories) of the values before each."""
    return np.vstack([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
