"""The features: each a function with its name, unit, range and attribution group declared at it.

A new feature is one function here and one entry in the list of what it reads. Column names, columns' places and
attribution groups follow from the lists; `feature_table` prints the list of docs/reference/features.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.frame import ATTRIBUTION_GROUPS

Counts = npt.NDArray[np.int32] | npt.NDArray[np.float64]  # whole, but where a feed was silent
Floats = npt.NDArray[np.float64]

USUAL = "log_usual_"  # begins the names of `usual_columns`
CALENDAR = "calendar_"  # begins those of days that a spec names
MEMORY_DAYS = (7, 30, 120, 480)
LEVEL_LIMIT = 1.5  # log ratio; a region at 4.5 times or a fifth of what is usual
SINCE_CAP_HOURS = 168
_LOG_COUNT, _LOG_RATE, _LOG_RATIO = "log(1 + incidents)", "log(incidents per day)", "log ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column, or one for each window: `{}` in name and meaning is the window, the second argument of `of`."""

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    group: str  # of schemas.frame.ATTRIBUTION_GROUPS
    each: tuple[Any, ...] = ()  # the windows
    of: Callable[..., Any]  # what its list reads, and a window -> what the list's comment says

    def __post_init__(self) -> None:
        if self.group not in ATTRIBUTION_GROUPS:
            raise ValueError(f"feature {self.name} has the group {self.group!r}: name one of {set(ATTRIBUTION_GROUPS)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the feature's columns."""
        return tuple(self.name.format(window) for window in self.each) or (self.name,)

    def columns(self, read: Any) -> Iterator[Any]:
        """What the function gives for each column."""
        return (self.of(read, window) for window in self.each) if self.each else iter((self.of(read),))


def declare(name: str, meaning: str, **declared: Any) -> Callable[[Callable[..., Any]], Feature]:
    """Declare the function below as a feature. declared: the other fields of Feature.

    >>> @declare("both_1h", "here and next door, newest hour", unit="log(1 + incidents)", low=0, high=22, group="here")
    ... def both(recent):
    ...     return recent.windows["1h"] + recent.around(recent.windows["1h"])
    >>> both.names
    ('both_1h',)
    """
    return lambda function: Feature(name=name, meaning=meaning, of=function, **declared)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentCounts:
    """What is counted in the newest bins: (cells, categories) each. The current bin is included.

    Where the feed was silent, what is usual stands in place of counts.
    """

    windows: Mapping[str, Counts]  # by name: 15min, 1h, 6h, 24h, 7d
    around: Callable[[Counts], Counts]  # the sum over the eight neighbours of each cell
    hours_since: Counts  # hour bins since the last incident, 0..SINCE_CAP_HOURS
    same_hours: Counts  # these four hours of the last 14 days


recent_count = partial(declare, unit=_LOG_COUNT, low=0, high=22)


@recent_count("cell_{}", "this cell and category, newest {}", group="here", each=("15min", "1h", "6h", "24h", "7d"))
def cell_counts(recent: RecentCounts, window: str) -> Counts:
    return recent.windows[window]


@recent_count("ring_{}", "the eight neighbours, this category, newest {}", group="next_door", each=("1h", "24h", "7d"))
def ring_counts(recent: RecentCounts, window: str) -> Counts:
    return recent.around(recent.windows[window])


@recent_count("all_{}", "this cell, all categories, newest {}", group="here", each=("1h", "24h", "7d"))
def counts_of_all_categories(recent: RecentCounts, window: str) -> Counts:
    return _all_categories(recent.windows[window])


@recent_count(
    "hours_since",
    "hour bins since the cell's last of this category, at most 168",
    unit="log(1 + hours)",
    high=5.13,
    group="here",
)
def hours_since(recent: RecentCounts) -> Counts:
    return recent.hours_since


@recent_count("same_hours_14d", "these 4 hours of the last 14 days, cell and category", group="here")
def same_hours(recent: RecentCounts) -> Counts:
    return recent.same_hours


@recent_count("same_hours_all_14d", "the same over all categories", group="here")
def same_hours_of_all_categories(recent: RecentCounts) -> Counts:
    return _all_categories(recent.same_hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongMemory:
    """Rates in incidents per day that the finished days give, > 0."""

    by_half_life: Mapping[int, Floats]  # (cells, categories) of MEMORY_DAYS, thin cells shrunk
    rate: Floats  # (cells, categories) of the baseline's half-life, thin cells shrunk
    block: Floats  # (cells, categories) its mean over the cell and its neighbours
    region: Floats  # (categories,) of the whole region


long_rate = partial(declare, unit=_LOG_RATE, low=-40, high=22, group="memory")


@long_rate("rate_{}d", "cell's shrunk rate, half-life {} days", each=MEMORY_DAYS)
def rates(memory: LongMemory, window: int) -> Floats:
    return memory.by_half_life[window]


@long_rate("block_rate", "mean of the cell and its neighbours")
def block_rate(memory: LongMemory) -> Floats:
    return memory.block


@long_rate("all_rate", "cell's shrunk rate, all categories")
def rate_of_all_categories(memory: LongMemory) -> Floats:
    return np.broadcast_to(memory.rate.sum(axis=1, keepdims=True), memory.rate.shape)


@long_rate("region_rate", "region's rate of this category")
def region_rate(memory: LongMemory) -> Floats:
    return np.broadcast_to(memory.region, memory.rate.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLevels:
    """Log of the region's counts over what is usual, within LEVEL_LIMIT; (categories,) each."""

    by_category: Mapping[str, Floats]  # by window: 1h, 6h, 24h, 3d, 7d, 30d
    over_all: Mapping[str, Floats]  # the same, of all categories together


level = partial(declare, unit=_LOG_RATIO, low=-LEVEL_LIMIT, high=LEVEL_LIMIT, group="level")


@level("level_{}", "region's count over what is usual, newest {}", each=("1h", "6h", "24h", "3d", "7d", "30d"))
def levels(region: RegionLevels, window: str) -> Floats:
    return region.by_category[window]


@level("level_all_{}", "the same over all categories, newest {}", each=("1h", "6h", "24h", "7d"))
def levels_of_all_categories(region: RegionLevels, window: str) -> Floats:
    return region.over_all[window]


local_time = partial(declare, unit="1", low=-1, high=1, group="time")


@local_time("day_{}", "local time of day", each=("sin", "cos"))
def time_of_day(hour_of_week: float, wave: str) -> float:
    return float(getattr(np, wave)(2 * np.pi * hour_of_week / 24))


@local_time("week_{}", "local time of week", each=("sin", "cos"))
def time_of_week(hour_of_week: float, wave: str) -> float:
    return float(getattr(np, wave)(2 * np.pi * hour_of_week / 168))


@partial(declare, unit="1", low=0, high=1, group="time")(
    "holiday_{}",
    "whether the local day is a holiday, the day before one, the day after one",
    each=("today", "eve", "after"),
)
def holiday(day: tuple[int, frozenset[int]], place: str) -> float:
    """day: since 1970, and those that are holidays, or that have the name of `calendar_features`."""
    today, those = day
    return float(today + {"today": 0, "eve": 1, "after": -1}[place] in those)


# By what a feature reads, in the order of the columns. An artifact is of one version of these lists.
LISTS: dict[str, tuple[Feature, ...]] = {
    # of RecentCounts: (cells, categories) counts, of which the column is log(1 + count)
    "recent": (
        cell_counts,
        ring_counts,
        counts_of_all_categories,
        hours_since,
        same_hours,
        same_hours_of_all_categories,
    ),
    # of LongMemory: (cells, categories) rates, of which the column is the log; computed when a day has ended
    "memory": (rates, block_rate, rate_of_all_categories, region_rate),
    # of RegionLevels: (categories,) the column of every cell
    "level": (levels, levels_of_all_categories),
    # of the position in the local week in hours, 0 <= x < 168: a number, the column of every cell and category
    "time": (time_of_day, time_of_week),
}


def all_features() -> tuple[Feature, ...]:
    """The declared features in the order of their columns."""
    return tuple(declared for features in LISTS.values() for declared in features)


def calendar_features(names: tuple[str, ...], *, holidays: bool) -> tuple[Feature, ...]:
    """Those of a spec's days, after those of LISTS: of the holidays, and of each name as if its days were holidays."""
    return (*((holiday,) if holidays else ()), *(replace(holiday, name=f"{CALENDAR}{name}_{{}}") for name in names))


def columns_of(name: str) -> slice:
    """Where the columns of one of LISTS stand."""
    width = {each: sum(len(declared.names) for declared in features) for each, features in LISTS.items()}
    names = list(LISTS)
    start = sum(width[before] for before in names[: names.index(name)])
    return slice(start, start + width[name])


def calendar_columns(horizons: int) -> slice:
    """Where the columns of `calendar_features` stand: between those of LISTS and `usual_columns`."""
    return slice(sum(len(declared.names) for declared in all_features()), -horizons)


def usual_columns(horizons: int) -> slice:
    """Where the log of the baseline's expected count stands, by horizon: last, also in the inputs of a network."""
    return slice(-horizons, None)


def columns(name: str, read: Any) -> list[Any]:
    """What the features of one of LISTS give, by column."""
    return [column for declared in LISTS[name] for column in declared.columns(read)]


@cache
def group_of(name: str) -> str:
    """The attribution group of a column. Raises ValueError for a name that is no feature."""
    if name.startswith(USUAL):
        return "memory"
    if name.startswith(CALENDAR):
        return holiday.group
    groups = {column: declared.group for declared in (*all_features(), holiday) for column in declared.names}
    if name not in groups:
        raise ValueError(f"{name!r} is no feature: declare it in models/feature_lists.py")
    return groups[name]


def feature_table() -> str:
    """The features as a list in Markdown, for docs/reference/features.md."""
    return "\n".join(
        f"- {', '.join(f'`{name}`' for name in declared.names)} ({declared.unit}, {declared.low:g} to "
        f"{declared.high:g}; group {declared.group}): {declared.meaning.format(', '.join(map(str, declared.each)))}"
        for declared in (*all_features(), holiday)
    )


def _all_categories(counts: Counts) -> Counts:
    """(cells, categories) with each cell's total in every category."""
    return np.asarray(np.broadcast_to(counts.sum(axis=1, keepdims=True, dtype=counts.dtype), counts.shape))
