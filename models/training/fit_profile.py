"""The share of the day's hours: the profile of a region's week, and what single cells have of it."""

from math import inf

import numpy as np

from models.baseline import Floats
from models.local_time import BLOCK_OF_HOUR, DAY_BLOCKS, HOURS, HOURS_OF_BLOCK, hour_of_week, hours_within
from models.neighbours import ring_sum
from models.training.replay import IncidentHistory
from schemas.grid import Grid
from schemas.spec import DAY_S

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
    part = history.kept(start_s, stop_s)
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
    part, categories = history.kept(start_s, stop_s), len(history.spec.categories)
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
