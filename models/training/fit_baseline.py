"""Learning the baseline's constants: closed forms on the training block, choices on the validation block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, Floats, OlderDays, cell_rate, mixed_cell_rate, profile_hours, region_rate
from models.dispersion import Dispersion
from models.local_time import DAY_BLOCKS, HOURS
from models.training.calendar import holiday_days
from models.training.fit_dispersion import DISPERSIONS
from models.training.fit_profile import (
    SURELY_LIKELIER,
    by_block,
    by_hour_of_week,
    choose_lift_prior,
    choose_profile,
    day_lift,
    profile_of,
)
from models.training.replay import IncidentHistory
from schemas.spec import DAY_S, DAYS_KEPT

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
    """The choices under which the validation block was least surprising, with constants from the training block."""
    start, chosen_by = _flat_constants(history, blocks.validation_s), (blocks.validation_s, blocks.test_s)
    half_life, shrink = _choose_memory(history, blocks, start, report)
    profile_prior, profile_half_life = choose_profile(history, *chosen_by)
    profile = profile_of(
        *by_hour_of_week(history, history.first_s, blocks.validation_s, profile_half_life), profile_prior
    )
    memory = replace(start, half_life_days=np.array(half_life), shrink_days=np.array(shrink), profile=profile)
    level = _choose_level(history, blocks, memory)
    lift_prior, share = choose_lift_prior(history, profile, *chosen_by), _choose_older_share(history, blocks, memory)
    return Choices(half_life, level, shrink, profile_prior, lift_prior, share, profile_half_life)


def constants_until(history: IncidentHistory, until_s: int, choices: Choices) -> BaselineConstants:
    """Constants from all incidents before `until_s`. Dispersion is Poisson's until fitted."""
    by_hour = by_hour_of_week(history, history.first_s, until_s, choices.profile_half_life_days)
    profile = profile_of(*by_hour, choices.profile_prior)
    lift = day_lift(*by_block(history, profile, history.first_s, until_s), choices.lift_prior, history.spec.grid)
    return replace(
        _flat_constants(history, until_s),
        half_life_days=np.array(choices.half_life_days),
        level_half_life_days=np.array(choices.level_half_life_days),
        shrink_days=np.array(choices.shrink_days),
        profile=profile,
        day_lift=np.maximum(lift.round(4), _LEAST_LIFT),  # four digits: a third of the artifact's size
        older=_older_days(history, until_s, choices.older_share) if choices.older_share else None,
    )


def _older_days(history: IncidentHistory, until_s: int, share: float) -> OlderDays:
    """The days before those whose counts are kept at `until_s`."""
    end_day = until_s // DAY_S - _FINISHED_DAYS
    counts = history.counts_before(end_day).astype(np.float64)
    return OlderDays(counts=counts, share=np.array(share), end_day=np.array(float(end_day)))


def _flat_constants(history: IncidentHistory, until_s: int) -> BaselineConstants:
    """The mean rates before `until_s`, the same at every hour and in every cell."""
    spec = history.spec
    cut_s = sum(stop_s - start_s for start_s, stop_s in history.cut_spans(history.first_s, until_s))
    days = max((until_s - history.first_s - cut_s) / DAY_S, 1.0)
    category = history.incidents.category[history.kept(history.first_s, until_s)]
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


def _choose_memory(
    history: IncidentHistory, blocks: Blocks, start: BaselineConstants, report: Callable[[float], None]
) -> tuple[float, tuple[float, ...]]:
    """Half-life, and shrinkage of each category, under which the validation block's days were least surprising.

    By Poisson. Of a rare category a cell learns less in the same time: one whose own shrinkage is surely likelier than
    the one that suits all of them has its own, the others that which suits them together.
    """
    losses = np.zeros((len(HALF_LIVES_DAYS), len(SHRINK_DAYS), len(start.mean_per_day)))
    shrunk = [replace(start, shrink_days=np.array(shrink)) for shrink in SHRINK_DAYS]
    for number, half_life in enumerate(HALF_LIVES_DAYS):
        report(number / len(HALF_LIVES_DAYS))
        for ((_, counts, past, past_days),) in _days_to_choose_by(history, blocks, (half_life,)):
            for loss, constants in zip(losses[number], shrunk, strict=True):
                rate = cell_rate(past, past_days, constants, history.spec)
                loss += (rate - counts * np.log(rate)).sum(axis=0)
    best, shared = np.unravel_index(losses.sum(axis=2).argmin(), losses.shape[:2])
    of_best = losses[best]
    apart = of_best.min(axis=0) < of_best[shared] - SURELY_LIKELIER
    chosen = np.where(apart, of_best.argmin(axis=0), of_best[:, ~apart].sum(axis=1).argmin())
    return HALF_LIVES_DAYS[best], tuple(SHRINK_DAYS[number] for number in chosen.tolist())


def _choose_level(history: IncidentHistory, blocks: Blocks, memory: BaselineConstants) -> float:
    """Half-life of the region's level under which the validation block's days were least surprising (Poisson).

    That of the memory, under which rates do not follow the level, is one of them. A block on which nothing changes may
    like it best, and then a city that changes would not be followed: the longest of LEVEL_HALF_LIVES_DAYS is the most.
    """
    own = float(memory.half_life_days)
    candidates = (own, *(days for days in LEVEL_HALF_LIVES_DAYS if days < own))
    losses = np.zeros(len(candidates))
    for same_day in _days_to_choose_by(history, blocks, candidates):
        day, counts, past, past_days = same_day[0]
        start_s, stop_s = day * DAY_S, (day + 1) * DAY_S
        rate = cell_rate(past, past_days, memory, history.spec) / region_rate(past, past_days, memory)
        rate = rate * profile_hours(memory, start_s, stop_s, history.spec.timezone) / 24
        for number, (_, _, level, level_days) in enumerate(same_day):
            mean = rate * region_rate(level, level_days, memory)
            losses[number] += float((mean - counts * np.log(mean)).sum())
    return min(candidates[int(losses.argmin())], LEVEL_HALF_LIVES_DAYS[-1])


def _choose_older_share(history: IncidentHistory, blocks: Blocks, memory: BaselineConstants) -> float:
    """Share of the map of all days under which the validation block's days were least surprising (Poisson).

    Memory and map are as when they serve. 0 where all days of the file are kept.
    """
    if not history.counts_before(blocks.end_s // DAY_S - _FINISHED_DAYS).any():
        return 0.0
    older = history.counts_before(blocks.validation_s // DAY_S - _FINISHED_DAYS)
    losses = np.zeros(len(OLDER_SHARES))
    half_lives = (float(memory.half_life_days), float("inf"))
    for same_day in _days_to_choose_by(history, blocks, half_lives, kept_days=_FINISHED_DAYS):
        (_, counts, past, past_days), (_, _, finished, _) = same_day
        for number, share in enumerate(OLDER_SHARES):
            rate = mixed_cell_rate(past, past_days, finished + older, share, memory, history.spec)
            losses[number] += float((rate - counts * np.log(rate)).sum())
    return OLDER_SHARES[int(losses.argmin())]


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
