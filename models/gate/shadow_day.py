"""What one local day of a shadow has shown: sums over cells, categories and hours, of the hours that both scored."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from models.measures.cube import Floats


class ShadowDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one-hour forecasts of one local day, after late reports. Sums of log scores in nats, smaller is better."""

    day: str  # local date, 2026-11-25
    weekday: int  # Monday is 1
    hours: int  # that were judged
    values: int  # cells x categories x hours
    champion: float
    challenger: float
    baseline: float  # the champion's own
    observed: Mapping[str, int]  # by category
    champion_expected: Mapping[str, float]
    challenger_expected: Mapping[str, float]


LEAST_HOURS = 12  # of a day; one with fewer says too little of its kind and is left out


def whole_enough(days: Sequence[ShadowDay]) -> list[ShadowDay]:
    return [day for day in days if day.hours >= LEAST_HOURS]


def mean_scores(days: Sequence[ShadowDay], name: str) -> Floats:
    """(days,) mean log score of `champion`, `challenger` or `baseline`, nats per value."""
    return np.array([getattr(day, name) / day.values for day in days], np.float64)
