"""Outside series as they were issued: at a moment only what had been issued by then is known.

The same book serves training, which replays a file in the order of issue, and the stream, which takes what arrives.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.covariate import NO_VALUES, Values
from schemas.limits import COVARIATE_HOURS_AHEAD
from schemas.spec import COVARIATE, HOUR_S, Spec

Floats = npt.NDArray[np.float64]
LIMIT = 4.0  # standard deviations of training; what lies farther out counts as that far
_LEAST_SCALE = 1e-6  # of a series that hardly changes


class CovariateBook:
    """What is known of a region's outside series: of each hour the newest issue, and those ahead of the clock.

    values: (n,) of VALUE, sorted by series, hour and issue. It holds only what can still enter a horizon, so its size
    is bounded. What it holds depends on the messages and the clock, not on the order of the messages.
    """

    def __init__(self, values: Values = NO_VALUES) -> None:
        self.values = values

    def add(self, values: Values, at_s: int) -> npt.NDArray[np.bool_]:
        """Take in (n,) values of VALUE at `at_s`, a moment that never goes back. Gives (n,) which of them it holds.

        A newer issue replaces an older one as soon as `at_s` has reached it; of equal issues the larger value stays.
        """
        together = np.concatenate([self.values, values])
        order = np.lexsort((-together["value"], together["issued_s"], together["hour"], together["series"]))
        order = order[_is_first(together[order], "series", "hour", "issued_s")]
        by_hour = together[order]
        is_replaced = np.zeros(len(order), bool)
        is_replaced[:-1] = ~_is_first(by_hour, "series", "hour")[1:] & (by_hour["issued_s"][1:] <= at_s)
        matters = by_hour["hour"] >= at_s // HOUR_S
        matters &= by_hour["hour"] <= by_hour["issued_s"] // HOUR_S + COVARIATE_HOURS_AHEAD
        order = order[matters & ~is_replaced]
        held = np.zeros(len(together), bool)
        held[order] = True
        is_held: npt.NDArray[np.bool_] = held[len(self.values) :]
        self.values = together[order]
        return is_held

    def known(self, spec: Spec, at_s: int, hours: int) -> Floats:
        """(series, hours) the value of each hour from the one that `at_s` is in, as issued by then; NaN: missing."""
        first = at_s // HOUR_S
        issued = as_issued(self.values, spec, np.full(len(self.values), at_s))
        issued = issued[(issued["hour"] >= first) & (issued["hour"] < first + hours)]
        table = np.full((len(spec.covariates), hours), np.nan)
        table[issued["series"], issued["hour"] - first] = issued["value"]
        return table


def as_issued(values: Values, spec: Spec, at_s: npt.NDArray[np.int64]) -> Values:
    """The newest value of each series and hour that was issued by `at_s` and was not too old then.

    values: (n,) of VALUE, sorted by series, hour and issue. at_s: (n,) the moment of each, the same for all of an hour.
    """
    oldest_s = (
        at_s - HOUR_S * np.array([series.max_age_hours for series in spec.covariates], np.int64)[values["series"]]
    )
    issued: Values = values[(values["issued_s"] <= at_s) & (values["issued_s"] >= oldest_s)]
    newest: Values = issued[_is_first(issued[::-1], "series", "hour")[::-1]]
    return newest


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScale:
    """What is usual of each outside series in training: (series,) each, in the series' own units."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, values: Values, spec: Spec, start_s: int, stop_s: int) -> "SeriesScale":
        """Mean and spread, over the hours in [start_s, stop_s), of what was known of an hour when it began.

        values: (n,) of VALUE in any order. A series that was never known has the centre 0 and the scale 1.
        """
        values = values[np.lexsort((-values["value"], values["issued_s"], values["hour"], values["series"]))]
        values = values[_is_first(values, "series", "hour", "issued_s")]
        values = values[(values["hour"] * HOUR_S >= start_s) & (values["hour"] * HOUR_S < stop_s)]
        at_begin = as_issued(values, spec, values["hour"] * HOUR_S)
        of_each = [at_begin["value"][at_begin["series"] == number] for number in range(len(spec.covariates))]
        centre = np.array([values_of_series.mean() if len(values_of_series) else 0.0 for values_of_series in of_each])
        spread = np.array([values_of_series.std() if len(values_of_series) else 1.0 for values_of_series in of_each])
        return cls(centre=centre, scale=np.where(spread > _LEAST_SCALE, spread, 1.0))


def covariate_names(series_names: tuple[str, ...], horizon_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns: of each series, one for every horizon."""
    return tuple(f"{COVARIATE}{name}_{horizon}" for name in series_names for horizon in horizon_names)


def covariate_columns(book: CovariateBook, scale: SeriesScale, spec: Spec, at_s: int) -> tuple[Floats, int]:
    """(series * horizons,) each series' mean over each horizon from `at_s` on, in spreads from its centre.

    It is within LIMIT, and 0 where it is missing. Beside it the number of series that are missing in some horizon.
    """
    means = covariate_means(book, spec, at_s)
    is_missing = np.isnan(means)
    distance = np.clip((means - scale.centre[:, None]) / scale.scale[:, None], -LIMIT, LIMIT)
    return np.where(is_missing, 0.0, distance).ravel(), int(is_missing.any(axis=1).sum())


def covariate_means(book: CovariateBook, spec: Spec, at_s: int) -> Floats:
    """(series, horizons) each series' mean over each horizon from `at_s` on; NaN where any of its hours is missing."""
    hours = -(-(at_s + max(spec.horizons_s)) // HOUR_S) - at_s // HOUR_S
    by_hour = book.known(spec, at_s, hours)
    begins_s = (at_s // HOUR_S + np.arange(hours)) * HOUR_S
    means = np.empty((len(by_hour), len(spec.horizons_s)))
    for number, horizon_s in enumerate(spec.horizons_s):
        overlap_s = np.minimum(begins_s + HOUR_S, at_s + horizon_s) - np.maximum(begins_s, at_s)
        covered = overlap_s > 0
        means[:, number] = (by_hour[:, covered] * overlap_s[covered]).sum(axis=1) / horizon_s
    return means


def _is_first(values: Values, *names: str) -> npt.NDArray[np.bool_]:
    """(n,) whether a value differs from the one before it in one of the fields."""
    differs = np.ones(len(values), bool)
    differs[1:] = np.any([values[name][1:] != values[name][:-1] for name in names], axis=0)
    return differs
