"""Following: what the last weeks showed, as factors on the forecasts of a region that changes.

    log expected = log usual + network + following

Three filters stand one behind the other, each by category: the region's level, the 24 local hours of the day, and the
cells. A filter holds the discounted counts O, and the discounted expectation E of the forecast with the factors of all
*other* filters, so that none takes what another has taken (backfitting). Its factor is

    f = (O + prior) / (E + prior)

the mean of a gamma distribution that Poisson counts have updated and that time flattens. Source: Harvey and Fernandes,
Time series models for count or qualitative observations, Journal of Business and Economic Statistics 7, 1989; the hours
of the day as a slowly moving shape: Matteson, McLean, Woodard and Henderson, Forecasting emergency medical service call
arrival rates, Annals of Applied Statistics 5, 2011.

Most regions stand still most of the time. So each filter races against a factor of 1: with p the chance of that, the
factor p + (1 - p) f is shown. At last the raw forecast races against all factors together, at each horizon.

How the chances and sums are learned, follower.py says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.dispersion import Floats
from models.local_time import hours_within
from schemas.errors import DataError
from schemas.spec import Spec

FILTERS = ("level", "hours", "cells")
GUARDS = len(FILTERS)  # the row of `still` with the first horizon's guard; after the guards the longer horizons' levels
_MOST = 1e12  # far around what counts, seconds and nats can come to; sums of it are finite
STILL = 0.7  # chance that nothing changes, before anything is learned
PRIORS = (20.0, 5.0, 3.0)  # of each filter, incidents that came as expected
LIMIT = 8.0  # factors lie within 1 / LIMIT and LIMIT
ALMOST_NONE = 1e-100  # incidents: where nothing was expected yet, all weigh the same
LEVEL, HOURS, CELLS = range(GUARDS)  # rows of `still`
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerState:
    """What a region's follower knows. Its arrays are never changed in place.

    The first axis of the filters: discounted counts O, discounted expectation E, expectation since the last incident.
    """

    level: Floats  # (3, categories, 1)
    hours: Floats  # (3, categories, 24)
    cells: Floats  # (3, categories, cells)
    still: Floats  # (2 + 2 x horizons, categories) chances that nothing changes: filters, guards, longer levels
    evidence: Floats  # of the same shape: nats for a change since the last incident
    waited_s: Floats  # () that was learned of since the last incident
    silent_until_s: Floats  # () end of the last stretch that was forgotten

    @classmethod
    def new(cls, spec: Spec) -> Self:
        """The state of a first champion: all factors are 1."""
        empty = {name: np.zeros(shape) for name, shape in _shapes(spec).items()}
        return cls(**{**empty, "still": empty["still"] + STILL})

    def arrays(self) -> dict[str, Floats]:
        """The state as it is stored."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @classmethod
    def checked(cls, arrays: Mapping[str, npt.NDArray[Any]], spec: Spec) -> Self:
        """The state that was stored as `arrays`. Raises DataError where it is not one of the region's."""
        of_file = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
        if of_file != {name: (shape, "<f8") for name, shape in _shapes(spec).items()}:
            raise DataError("the follower's state has other arrays than the region needs", "start it anew")
        lows = {name: -np.inf if name == "evidence" else 0.0 for name in arrays}
        is_possible = ((np.abs(array) < _MOST).all() and (array >= lows[name]).all() for name, array in arrays.items())
        if not all(is_possible) or (arrays["still"] > 1).any():
            raise DataError("the follower's state has impossible numbers", "start it anew")
        return cls(**arrays)


def _shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    categories, races = len(spec.categories), GUARDS + 2 * len(spec.horizons_s) - 1
    wide = {"level": 1, "hours": 24, "cells": spec.grid.cells}
    of_filters = {name: (3, categories, places) for name, places in wide.items()}
    return {
        **of_filters,
        "still": (races, categories),
        "evidence": (races, categories),
        "waited_s": (),
        "silent_until_s": (),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """The factors of one moment, and what of them the races need once its outcomes are final."""

    level: Floats  # (categories, 1) of the filter, before its race
    levels: Floats  # (horizons, categories, 1) as shown
    hours: Floats  # (horizons, categories, 1) as shown
    cells: Floats  # (categories, cells) as shown
    guards: Floats  # (horizons, categories, 1) chance that the raw forecast is as good

    def together(self, horizon: int) -> Floats:
        """(categories, cells) all filters' factors at one horizon, before the guard."""
        return _limited(self.cells * (self.levels[horizon] * self.hours[horizon]))

    def shown(self) -> Floats:
        """(cells, categories, horizons) what a raw forecast is multiplied by; within 1 / LIMIT and LIMIT."""
        factors = np.empty((*self.cells.T.shape, len(self.guards)))
        for horizon, guard in enumerate(self.guards):
            factors[:, :, horizon] = mixed(guard, self.together(horizon)).T
        return factors


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFactors:
    """What does not change with time of a region's factors."""

    spec: Spec
    profile: Floats  # (categories, 168) of the baseline

    @classmethod
    def of(cls, spec: Spec, constants: BaselineConstants) -> Self:
        return cls(spec=spec, profile=constants.profile)

    def at(self, state: FollowerState, tick_s: int) -> Following:
        """The factors on forecasts that are made at `tick_s`."""
        level, by_hour, cells = filters(state)
        hours, horizons = mixed(state.still[HOURS, :, None], by_hour), self.spec.horizons_s
        guards, longer = np.split(state.still[GUARDS:, :, None], [len(horizons)])
        return Following(
            level=level,
            levels=mixed(np.concatenate([state.still[LEVEL:HOURS, :, None], longer]), level),
            hours=np.stack([over(self.local_hours(tick_s, span_s) * hours) for span_s in horizons]),
            cells=mixed(state.still[CELLS, :, None], cells),
            guards=guards,
        )

    def over_spans(self, state: FollowerState, spans: Sequence[tuple[int, int]]) -> Floats:
        """(cells, categories, spans) the factors of stretches [start, stop), seconds, as shown at the first horizon."""
        level, by_hour, cells = (mixed(state.still[row, :, None], of) for row, of in enumerate(filters(state)))
        parts = [over(self.local_hours(start_s, stop_s - start_s) * by_hour) for start_s, stop_s in spans]
        together = [_limited(cells * (level * hours)) for hours in parts]
        return np.stack([mixed(state.still[GUARDS, :, None], factors).T for factors in together], axis=-1)

    def local_hours(self, tick_s: int, span_s: int) -> Floats:
        """(categories, 24) the share that each local hour of the day has of the profile's incidents in a span."""
        within = self.profile * hours_within(tick_s, tick_s + span_s, self.spec.timezone)
        of_day = within.reshape(len(within), 7, 24).sum(axis=1)
        return np.asarray(of_day / over(of_day))


def over(places: npt.NDArray[np.floating]) -> Floats:
    """(categories, 1) the sum over hours or cells."""
    return np.asarray(places.sum(axis=1, keepdims=True))


def filters(state: FollowerState) -> list[Floats]:
    """(categories, 1), (categories, 24) and (categories, cells) factors before their races; the last two of mean 1."""
    around = (np.roll(state.hours, 1, axis=2) + state.hours + np.roll(state.hours, -1, axis=2)) / 3
    sums = (state.level, around, state.cells)
    level, *shapes = ((of[0] + prior) / (of[1] + prior) for of, prior in zip(sums, PRIORS, strict=True))
    weights = (np.maximum(of[1], ALMOST_NONE) for of in (state.hours, state.cells))
    of_mean_one = (shape / (over(weight * shape) / over(weight)) for shape, weight in zip(shapes, weights, strict=True))
    return [_limited(factors) for factors in (level, *of_mean_one)]


def _limited(factors: Floats) -> Floats:
    return np.clip(factors, 1 / LIMIT, LIMIT, out=factors)


def mixed(still: Floats, factors: Floats) -> Floats:
    """The mean of 1, with the chance `still`, and of the factors."""
    mean = (1 - still) * factors
    mean += still
    return np.asarray(mean)
