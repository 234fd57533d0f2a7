"""Features: what the network sees of one region at one moment. Pure functions of counts, clock and constants.

The same code serves training and the stream. What a level's finished bins give is remembered between calls under
the level's `past_version`; that can change the time it takes, never the result: long sums are sums of integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, cell_rate, horizon_hours, profile_hours, region_rate, remember
from models.counting.count_state import CountState
from models.counting.pyramid import LevelBins
from models.hour_of_week import HOURS, hour_of_week
from models.neighbours import ring_size, ring_sum
from schemas.errors import SpecMismatch
from schemas.spec import DAY_S, HOUR_S, Spec

Counts = npt.NDArray[np.int32]
Columns = npt.NDArray[np.float32]
T = TypeVar("T")

MEMORY_DAYS = (7.0, 30.0, 120.0, 480.0)
LEVEL_LIMIT = 1.5  # log ratio; a region at 4.5 times or a fifth of what is usual
SINCE_CAP_HOURS = 168
SAME_HOURS_DAYS = 14
SAME_HOURS = 4
SPARSE_BELOW = 20  # remembered incidents below which a cell's rate is uncertain by more than a fifth
_LEVEL_PRIOR = 5.0  # incidents added to both sides of a level's ratio, so that small numbers stay near zero
_PANE_WINDOWS_S = (900, HOUR_S, 6 * HOUR_S, DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column: its name, the unit it is in, its range, and what it says."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str


def _feature(name: str, unit: str, low: float, high: float, meaning: str) -> Feature:
    return Feature(name=name, unit=unit, low=low, high=high, meaning=meaning)


FEATURES: tuple[Feature, ...] = (
    *(
        _feature(f"cell_{w}", "log(1 + incidents)", 0, 22, f"this cell and category, newest {w}")
        for w in ("15min", "1h", "6h", "24h", "7d")
    ),
    *(
        _feature(f"ring_{w}", "log(1 + incidents)", 0, 22, f"the eight neighbours, this category, newest {w}")
        for w in ("1h", "24h", "7d")
    ),
    *(
        _feature(f"all_{w}", "log(1 + incidents)", 0, 22, f"this cell, all categories, newest {w}")
        for w in ("1h", "24h", "7d")
    ),
    _feature("hours_since", "log(1 + hours)", 0, 5.13, "hour bins since the cell's last of this category, at most 168"),
    _feature("same_hours_14d", "log(1 + incidents)", 0, 22, "these 4 hours of the last 14 days, cell and category"),
    _feature("same_hours_all_14d", "log(1 + incidents)", 0, 22, "the same over all categories"),
    *(
        _feature(f"rate_{d:.0f}d", "log(incidents per day)", -40, 22, f"cell's shrunk rate, half-life {d:.0f} days")
        for d in MEMORY_DAYS
    ),
    _feature("block_rate", "log(incidents per day)", -40, 22, "mean of the cell and its neighbours"),
    _feature("all_rate", "log(incidents per day)", -40, 22, "cell's shrunk rate, all categories"),
    _feature("region_rate", "log(incidents per day)", -40, 22, "region's rate of this category"),
    *(
        _feature(f"level_{w}", "log ratio", -1.5, 1.5, f"region's count over what is usual, newest {w}")
        for w in ("1h", "6h", "24h", "3d", "7d", "30d")
    ),
    *(
        _feature(f"level_all_{w}", "log ratio", -1.5, 1.5, f"the same over all categories, newest {w}")
        for w in ("1h", "6h", "24h", "7d")
    ),
    _feature("day_sin", "1", -1, 1, "local time of day"),
    _feature("day_cos", "1", -1, 1, "local time of day"),
    _feature("week_sin", "1", -1, 1, "local time of week"),
    _feature("week_cos", "1", -1, 1, "local time of week"),
)


def feature_names(horizon_names: tuple[str, ...] = ("1h", "4h", "24h")) -> tuple[str, ...]:
    """Names of the columns in their order. The last ones are the log of the baseline's expected count."""
    return (*(feature.name for feature in FEATURES), *(f"log_usual_{name}" for name in horizon_names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One region at one moment."""

    values: Columns  # (cells, categories, features), contiguous
    observed_1h: Counts  # (cells, categories) incidents of the newest hour's panes
    support: npt.NDArray[np.uint8]  # (cells, categories) position in schemas.frame.SUPPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Long:
    """What the finished days give."""

    columns: Columns  # (cells, categories, 7) the rate columns
    log_rate_per_hour: Columns  # (cells, categories) of the baseline
    region_per_hour: npt.NDArray[np.float64]  # (categories,)
    remembered: Counts  # (cells, categories) incidents of all finished days that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hours:
    """What the finished hours give: counts (cells, categories)."""

    last_71: Counts
    last_167: Counts
    since: Counts  # hour bins since the last incident, 1..SINCE_CAP_HOURS
    same_hours: Counts


class FeatureEngine:
    """Features of one region by one artifact's constants."""

    def __init__(self, spec: Spec, constants: BaselineConstants) -> None:
        if spec.features != feature_names(spec.horizon_names):
            raise SpecMismatch(f"spec of {spec.region} names other features than this version computes: train again")
        self.spec = spec
        self.constants = constants
        self._memo: dict[str, tuple[LevelBins, int, object]] = {}
        self._hours_at: tuple[int, Columns] = (-1, np.empty(0, np.float32))

    def compute(self, state: CountState) -> Features:
        """Features at the start of the tick that the state's clock is in.

        So they change inside a tick only where counts do: next to a new incident, and nowhere else.
        """
        spec, grid = self.spec, self.spec.grid
        at_s = state.as_of_s - state.as_of_s % spec.tick_s
        shape = (grid.cells, len(spec.categories))
        panes, hours, days = (state.levels[name] for name in ("pane", "hour", "day"))
        long = self._past(days, lambda level: self._long(level, state.first_day))
        past_hours = self._past(hours, self._hours)
        w15m, w1h, w6h, w24h = (past + panes.newest_bins(1).reshape(shape) for past in self._past(panes, self._panes))
        this_hour = hours.newest_bins(1).reshape(shape)
        w3d, w7d = past_hours.last_71 + this_hour, past_hours.last_167 + this_hour
        since = np.where(this_hour > 0, 0, past_hours.since)
        counts = [w15m, w1h, w6h, w24h, w7d]
        counts += [ring_sum(window, grid) for window in (w1h, w24h, w7d)]
        counts += [_all_categories(window) for window in (w1h, w24h, w7d)]
        counts += [since, past_hours.same_hours, _all_categories(past_hours.same_hours)]

        values = np.empty((*shape, len(spec.features)), np.float32)
        at = len(counts)
        np.log1p(np.stack(counts, axis=-1).astype(np.float32), out=values[:, :, :at])
        values[:, :, at : at + 7] = long.columns
        w30d = days.sum_of_newest(30).reshape(shape)
        levels = self._levels(panes, [w1h, w6h, w24h, w3d, w7d, w30d], long)
        moment = self._moment(at_s)
        values[:, :, at + 7 : at + 17] = levels
        values[:, :, at + 17 : at + 21] = moment
        values[:, :, at + 21 :] = long.log_rate_per_hour[:, :, None] + self._log_hours(at_s)

        remembered = long.remembered + days.newest_bins(1).reshape(shape)
        support = (remembered > 0).astype(np.uint8) + (remembered >= SPARSE_BELOW)
        return Features(values=values, observed_1h=w1h, support=support)

    def _past(self, level: LevelBins, give: Callable[[LevelBins], T]) -> T:
        """`give(level)`, a function of finished bins only, computed again when one of them has changed."""
        known = self._memo.get(level.level.name)
        if known is None or known[0] is not level or known[1] != level.past_version:
            known = self._memo[level.level.name] = (level, level.past_version, give(level))
        return known[2]  # type: ignore[return-value]

    def _panes(self, level: LevelBins) -> list[Counts]:
        """Finished panes of each pane window: its panes but the current one, summed from the shortest outwards."""
        shape = (self.spec.grid.cells, len(self.spec.categories))
        sums: list[Counts] = []
        total, taken = np.zeros(level.places, np.int32), 0
        for window_s in _PANE_WINDOWS_S:
            more = window_s // level.level.width_s - 1 - taken
            total, taken = total + level.sum_of_newest(more, skip=1 + taken), taken + more
            sums.append(total.reshape(shape))
        return sums

    def _hours(self, level: LevelBins) -> _Hours:
        shape = (self.spec.grid.cells, len(self.spec.categories))
        week = level.newest_bins(SINCE_CAP_HOURS - 1, skip=1)
        ages = np.arange(SINCE_CAP_HOURS - 1, 0, -1, dtype=np.int16)
        nearness = ((week > 0) * (SINCE_CAP_HOURS - ages)[:, None]).max(axis=0)
        last_71 = week[-71:].sum(axis=0, dtype=np.int32)
        same = np.zeros(level.places, np.int32)
        for day in range(1, SAME_HOURS_DAYS + 1):
            same += level.sum_of_newest(SAME_HOURS, skip=24 * day - SAME_HOURS + 1)
        return _Hours(
            last_71=last_71.reshape(shape),
            last_167=(last_71 + week[:-71].sum(axis=0, dtype=np.int32)).reshape(shape),
            since=(SINCE_CAP_HOURS - nearness).astype(np.int32).reshape(shape),
            same_hours=same.reshape(shape),
        )

    def _long(self, level: LevelBins, first_day: int) -> _Long:
        spec, constants = self.spec, self.constants
        half_lives = (*MEMORY_DAYS, float(constants.half_life_days), float("inf"))
        memory = remember(level, half_lives, constants, spec, first_day=first_day)
        counts, days = memory.counts[-2], float(memory.days[-2])
        rate = cell_rate(counts, days, constants, spec)
        region = region_rate(counts, days, constants)
        block = (rate + ring_sum(rate, spec.grid)) / (ring_size(spec.grid) + 1)[:, None]
        columns = [
            *(
                cell_rate(memory.counts[row], float(memory.days[row]), constants, spec)
                for row in range(len(MEMORY_DAYS))
            ),
            block,
            np.broadcast_to(rate.sum(axis=1, keepdims=True), rate.shape),
            np.broadcast_to(region, rate.shape),
        ]
        return _Long(
            columns=np.log(np.stack(columns, axis=-1)).astype(np.float32),
            log_rate_per_hour=np.log(rate / 24).astype(np.float32),
            region_per_hour=region / 24,
            remembered=memory.counts[-1].astype(np.int32),
        )

    def _levels(self, panes: LevelBins, windows: list[Counts], long: _Long) -> Columns:
        """(categories, 10) the region's windows against what is usual, by category and over all.

        The unfinished pane is left out: otherwise every incident would change every cell of the region.
        """
        unfinished = panes.newest_bins(1).reshape(windows[0].shape)
        seen = np.stack([(window - unfinished).sum(axis=0) for window in windows], axis=1)  # (categories, windows)
        until_s = panes.newest * self.spec.slide_s
        hour, day = until_s // HOUR_S * HOUR_S, until_s // DAY_S * DAY_S
        starts = [
            *(until_s + self.spec.slide_s - width for width in _PANE_WINDOWS_S[1:]),
            *(hour + HOUR_S - days * DAY_S for days in (3, 7)),
            day + DAY_S - 30 * DAY_S,
        ]
        integrals = [profile_hours(self.constants, start, until_s, self.spec.timezone) for start in starts]
        expected = long.region_per_hour[:, None] * np.stack(integrals, axis=1)
        by_category = np.log((seen + _LEVEL_PRIOR) / (expected + _LEVEL_PRIOR))
        over_all = np.log((seen.sum(axis=0) + _LEVEL_PRIOR) / (expected.sum(axis=0) + _LEVEL_PRIOR))
        over_all = np.broadcast_to(over_all[[0, 1, 2, 4]], (len(seen), 4))
        ratios = np.concatenate([by_category, over_all], axis=1)
        return np.clip(ratios, -LEVEL_LIMIT, LEVEL_LIMIT).astype(np.float32)  # type: ignore[no-any-return]

    def _log_hours(self, at_s: int) -> Columns:
        """(cells, categories, horizons) log of the horizons in hours of the cell's average rate."""
        if self._hours_at[0] != at_s:
            self._hours_at = at_s, np.log(horizon_hours(self.constants, at_s, self.spec)).astype(np.float32)
        return self._hours_at[1]

    def _moment(self, as_of_s: int) -> Columns:
        """(4,) time of day and of week as points on a circle."""
        hour = float(hour_of_week(np.array([as_of_s]), self.spec.timezone)[0])
        day, week = 2 * np.pi * hour / 24, 2 * np.pi * hour / HOURS
        return np.array([np.sin(day), np.cos(day), np.sin(week), np.cos(week)], np.float32)


def _all_categories(counts: Counts) -> Counts:
    """(cells, categories) with each cell's total in every category."""
    return np.asarray(np.broadcast_to(counts.sum(axis=1, keepdims=True, dtype=np.int32), counts.shape))
