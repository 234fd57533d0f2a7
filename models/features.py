"""Features: what the network sees of one region at one moment. Pure functions of counts, clock and constants.

The same code serves training and the stream. What a level's finished bins give is remembered between calls under
the level's `past_version`; that can change the time it takes, never the result: long sums are sums of integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from models.baseline import (
    BaselineConstants,
    cell_rate,
    horizon_hours,
    mixed_cell_rate,
    profile_hours,
    profile_of_hours,
    region_rate,
    remember,
    ring_size,
    ring_sum,
)
from models.counting.count_state import CountState, LevelBins
from models.feature_lists import (
    LEVEL_LIMIT,
    LISTS,
    MEMORY_DAYS,
    SINCE_CAP_HOURS,
    USUAL,
    LongMemory,
    RecentCounts,
    RegionLevels,
    all_features,
    calendar_columns,
    calendar_features,
    columns,
    columns_of,
    usual_columns,
)
from models.local_time import HOURS, HOURS_OF_BLOCK, hour_of_week, local_from_utc
from models.nowcast import HOURS_BACK, LastHours, Nowcast, weights
from models.unusual import WINDOWS_S, Hole, holes, missing_share, recent_counts, with_sum
from schemas.errors import SpecMismatch
from schemas.frame import Silence
from schemas.spec import ALL_CATEGORIES, DAY_S, HOUR_S, Spec

Counts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.float32]
T = TypeVar("T")

SAME_HOURS_DAYS = 14
SAME_HOURS = 4
SPARSE_BELOW = 20  # remembered incidents below which a cell's rate is uncertain by more than a fifth
_LEVEL_PRIOR = 5.0  # incidents added to both sides of a level's ratio, so that small numbers stay near zero
_PANE_WINDOWS_S = (900, HOUR_S, 6 * HOUR_S, DAY_S)
_WINDOWS_S = {
    "15min": 900, "1h": HOUR_S, "6h": 6 * HOUR_S, "24h": DAY_S, "3d": 3 * DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S
}  # fmt: skip
_AGO = np.arange(SINCE_CAP_HOURS - 1, -1, -1)  # of the newest hours, oldest first: how many hours ago
_SAME_HOURS = (_AGO > 0) & (-_AGO % 24 < SAME_HOURS)  # those of `same_hours`


def feature_names(
    horizon_names: tuple[str, ...] = ("1h", "4h", "24h"), calendar: tuple[str, ...] = (), *, holidays: bool = False
) -> tuple[str, ...]:
    """Names of the columns in their order. The last ones are the log of the baseline's expected count.

    calendar: the names of days, whose columns stand before those; holidays: whether theirs do, too.

    >>> feature_names()[:2], feature_names(("1h",))[-1]
    (('cell_15min', 'cell_1h'), 'log_usual_1h')
    """
    return (
        *(name for feature in all_features() for name in feature.names),
        *(name for feature in calendar_features(calendar, holidays=holidays) for name in feature.names),
        *(f"{USUAL}{name}" for name in horizon_names),
    )


def features_of(spec: Spec) -> tuple[str, ...]:
    """Names of the columns that this version computes for a spec."""
    return feature_names(spec.horizon_names, spec.calendar, holidays=bool(spec.holidays))


def informed(spec: Spec, *, holidays: str, calendar: tuple[str, ...]) -> Spec:
    """The spec with what a model knows beside counts and clock, and the features of it."""
    spec = msgspec.structs.replace(spec, holidays=holidays, calendar=calendar)
    return msgspec.structs.replace(spec, features=features_of(spec))


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One region at one moment."""

    values: Columns  # (cells, categories, features), contiguous
    observed_1h: Counts  # (cells, categories) incidents of the newest hour's panes
    support: npt.NDArray[np.uint8]  # (cells, categories) position in schemas.frame.SUPPORT
    recent: Counts  # of `models.unusual.recent_counts`
    silent: tuple[Silence, ...]  # feeds that are silent, or were in the last hours
    lately: LastHours | None  # what a nowcast looks at; None where the region has none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Days:
    """What the finished days give."""

    columns: Columns  # (cells, categories, features) of the list `memory`
    log_rate_per_hour: Columns  # (cells, categories) of the baseline
    region_per_hour: Floats  # (categories,)
    remembered: Counts  # (cells, categories) incidents of all finished days that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hours:
    """What the finished hours give: counts (cells, categories)."""

    last_71: Counts
    last_167: Counts
    since: Counts  # hour bins since the last incident, 1..SINCE_CAP_HOURS
    same_hours: Counts
    of_region: Counts  # (hours, categories) of the whole region, the newest SINCE_CAP_HOURS - 1, oldest first


class FeatureEngine:
    """Features of one region by one artifact's constants.

    counts_before: (cells, categories) incidents before a UTC day. Given where moments lie before the end of the data
    that the constants are from, as in training: there the constants' older days are partly still to come.
    """

    def __init__(
        self, spec: Spec, constants: BaselineConstants, counts_before: Callable[[int], Counts] | None = None
    ) -> None:
        if spec.features != features_of(spec):
            raise SpecMismatch(f"spec of {spec.region} names other features than this version computes", "train again")
        self.spec, self.constants, self._counts_before = spec, constants, counts_before
        self._shape = (spec.grid.cells, len(spec.categories))
        self._place = {name: columns_of(name) for name in LISTS}  # where the columns of each list stand
        self._memo: dict[str, tuple[LevelBins, int, object]] = {}
        self._hours_at: dict[int, Columns] = {}
        of_names = (constants.calendar[constants.calendar[:, 0] == n, 1] for n in range(len(spec.calendar)))
        days_of = (*((constants.holidays,) if spec.holidays else ()), *of_names)
        features = calendar_features(spec.calendar, holidays=bool(spec.holidays))
        self._calendar = [(feature, frozenset(days.tolist())) for feature, days in zip(features, days_of, strict=True)]

    def compute(self, state: CountState) -> Features:
        """Features at the start of the tick that the state's clock is in.

        So they change inside a tick only where counts do: next to a new incident, and nowhere else.
        """
        spec, shape, nowcast = self.spec, self._shape, self.constants.nowcast
        at_s = state.tick_s
        panes, hours, days = (state.levels[name] for name in ("pane", "hour", "day"))
        past_days = self._past(days, lambda level: self._days(level, state.first_day))
        past_hours = self._past(hours, self._hours)
        w15m, w1h, w6h, w24h = (past + panes.newest_bins(1).reshape(shape) for past in self._past(panes, self._panes))
        this_hour = hours.newest_bins(1).reshape(shape)
        w3d, w7d = past_hours.last_71 + this_hour, past_hours.last_167 + this_hour
        w30d = days.sum_of_newest(30).reshape(shape)
        windows: dict[str, Counts | Floats]
        windows = {"15min": w15m, "1h": w1h, "6h": w6h, "24h": w24h, "3d": w3d, "7d": w7d, "30d": w30d}
        same_hours: Counts | Floats
        hours_since, same_hours = np.where(this_hour > 0, 0, past_hours.since), past_hours.same_hours
        of_region = np.vstack([past_hours.of_region, this_hour.sum(axis=0, dtype=np.int32)])
        usual_of_hours = self._usual_of_hours(past_days.region_per_hour, state)
        usual_of_region = usual_of_hours.copy()
        usual_of_region[-1] *= at_s % HOUR_S / HOUR_S
        hour_s = (panes.newest + 1) * spec.slide_s - HOUR_S  # since the begin of the panes of w1h
        usual_1h = past_days.region_per_hour * profile_hours(self.constants, hour_s, max(at_s, hour_s), spec.timezone)
        last_hour = w1h.sum(axis=0), np.where(usual_of_hours[-1] > 0, usual_1h, 0.0)
        spread = self.constants.spread_of_totals  # empty where none was fitted: a guess tells no silence
        gaps = holes(of_region, usual_of_region, spread, last_hour) if spread.size else []
        if gaps:
            share = missing_share(gaps, of_region, usual_of_region)
            rate = np.exp(past_days.log_rate_per_hour)
            owed = self._missing([(share, _WINDOWS_S[name]) for name in windows], rate, at_s)
            windows = {name: of + more for (name, of), more in zip(windows.items(), owed, strict=True)}
            same_hours = same_hours + self._missing([(share * _SAME_HOURS[:, None], _WINDOWS_S["7d"])], rate, at_s)[0]
            silent_hours = np.vstack([np.zeros(shape[1:]), np.cumsum(share[::-1] > 0.5, axis=0)])  # by hours ago
            hours_since = hours_since - np.take_along_axis(silent_hours, hours_since, axis=0).astype(np.int32)
            usual_of_hours *= 1 - share  # a surge is not hidden by hours in which nobody counted
        recent = RecentCounts(
            windows=windows, around=partial(ring_sum, grid=spec.grid), hours_since=hours_since, same_hours=same_hours
        )
        of_levels = {name: of for name, of in windows.items() if name != "15min"}
        levels = self._levels(panes, of_levels, past_days.region_per_hour)
        hour = float(hour_of_week(np.array([at_s]), spec.timezone)[0])

        values = np.empty((*shape, len(spec.features)), np.float32)
        counts = np.stack(columns("recent", recent), axis=-1)
        np.log1p(counts.astype(np.float32), out=values[:, :, self._place["recent"]])
        values[:, :, self._place["memory"]] = past_days.columns
        values[:, :, self._place["level"]] = np.stack(columns("level", levels), axis=1)
        values[:, :, self._place["time"]] = columns("time", hour)
        if self._calendar:
            day = int(local_from_utc(np.array([at_s]), spec.timezone)[0]) // DAY_S
            of_day = [column for feature, days in self._calendar for column in feature.columns((day, days))]
            values[:, :, calendar_columns(len(spec.horizons_s))] = of_day  # the same in every cell
        if at_s not in self._hours_at:
            self._hours_at = {at_s: np.log(horizon_hours(self.constants, at_s, spec)).astype(np.float32)}
        log_usual = past_days.log_rate_per_hour[:, :, None] + self._hours_at[at_s]
        values[:, :, usual_columns(len(spec.horizons_s))] = log_usual

        remembered = past_days.remembered + days.newest_bins(1).reshape(shape)
        support = (remembered > 0).astype(np.uint8) + (remembered >= SPARSE_BELOW)
        return Features(
            values=values,
            observed_1h=w1h,
            support=support,
            recent=recent_counts(state),
            silent=self._silent(gaps, state, past_days.region_per_hour),
            lately=self._lately(nowcast, state, usual_of_hours, last_hour) if nowcast else None,
        )

    def _lately(
        self, nowcast: Nowcast, state: CountState, usual_of_hours: Floats, last_hour: tuple[Counts, Floats]
    ) -> LastHours:
        """What came in the region's last hours and what was usual, pane by pane until the end of the tick.

        usual_of_hours: as `_usual_of_hours` gives it, less what silent feeds owe.
        """
        panes, slide_s = state.levels["pane"], self.spec.slide_s
        numbers = panes.newest - np.arange(HOURS_BACK * HOUR_S // slide_s, -1, -1)
        counts = panes.newest_bins(len(numbers))
        came = np.stack([counts[:, k :: self._shape[1]].sum(axis=1) for k in range(self._shape[1])], axis=1)
        end_s = state.tick_s + self.spec.tick_s
        covered_s = np.clip(end_s - numbers * slide_s, 0, slide_s)
        ago = np.clip(state.tick_s // HOUR_S - numbers * slide_s // HOUR_S, 0, None)
        usual = usual_of_hours[-1 - ago] * (covered_s / HOUR_S)[:, None]
        age_hours = np.maximum(end_s - numbers * slide_s - slide_s / 2, 0) / HOUR_S
        weight = weights(nowcast.half_life_hours, age_hours)[:, None] * (usual > 0)  # nothing is usual: nobody counted
        return LastHours(
            came=(weight * came).sum(axis=0),
            usual=(weight * usual).sum(axis=0),
            came_1h=last_hour[0].astype(np.float64),
            usual_1h=last_hour[1],
        )

    def _usual_of_hours(self, per_hour: Floats, state: CountState) -> Floats:
        """(hours, categories) usual in each of the newest SINCE_CAP_HOURS of the whole region, the last one whole.

        0 until the first day of the counts has ended, as they may begin within it.
        """
        at_s = state.tick_s
        hours = at_s // HOUR_S + np.arange(1 - SINCE_CAP_HOURS, 1)
        usual = per_hour * profile_of_hours(self.constants, hours, self.spec.timezone)
        first_hour = 24 * (max(state.first_day, int(self.constants.first_day)) + 1)
        usual[: max(first_hour - (at_s // HOUR_S + 1 - SINCE_CAP_HOURS), 0)] = 0
        return np.asarray(usual)

    def _missing(self, shares: list[tuple[Floats, int]], rate: Columns, at_s: int) -> Floats:
        """(windows, cells, categories) incidents that silent feeds owe to windows that end now.

        shares: of each window (hours, categories) of `missing_share`, and its length in seconds. rate: (cells,
        categories) usual in an average hour.
        """
        begins_s = (at_s // HOUR_S + np.arange(1 - SINCE_CAP_HOURS, 1)) * HOUR_S
        hours, blocks = hour_of_week(begins_s + HOUR_S // 2, self.spec.timezone).astype(np.intp), []  # by their middles
        for share, window_s in shares:
            inside_s = np.minimum(begins_s + HOUR_S, at_s) - np.maximum(begins_s, at_s - window_s)
            owed = share * np.maximum(inside_s, 0)[:, None] / HOUR_S
            weekly = np.stack([np.bincount(hours, weights=of, minlength=HOURS) for of in owed.T])
            blocks.append((self.constants.profile * weekly) @ HOURS_OF_BLOCK.T)
        return np.stack([rate * np.einsum("ckb,kb->ck", self.constants.day_lift, of) for of in blocks])

    def _silent(self, gaps: list[Hole], state: CountState, per_hour: Floats) -> tuple[Silence, ...]:
        """The feeds that are silent now, or were within the last hours that the scan looks at.

        That of all categories alone, where it is; else those of some.
        """
        at_s, panes, days = state.tick_s, state.levels["pane"], state.levels["day"]
        recent = [hole for hole in gaps if hole.stop > SINCE_CAP_HOURS - 1 - WINDOWS_S[-1] // HOUR_S]
        begin_s, slide_s = (at_s // HOUR_S + 1 - SINCE_CAP_HOURS) * HOUR_S, self.spec.slide_s
        of_all, silent = len(self.spec.categories), []
        for hole in [hole for hole in recent if hole.category == of_all] or recent:
            since_s, until_s = begin_s + hole.first * HOUR_S, begin_s + hole.stop * HOUR_S
            before = panes.newest - since_s // slide_s + 1  # panes since the hole's first hour
            if before + HOUR_S // slide_s < panes.level.keep:  # its last incident is known by the minute
                hour = panes.newest_bins(HOUR_S // slide_s, skip=before).reshape(-1, *self._shape)
                some = np.flatnonzero(with_sum(hour.sum(axis=1))[:, hole.category])
                since_s -= (HOUR_S // slide_s - 1 - int(some[-1])) * slide_s if len(some) else 0
            if hole.first == 0 and not hole.observed:  # it began before the hours looked at, after a day with any
                of_days = days.newest_bins(days.level.keep).reshape(-1, *self._shape).sum(axis=1)
                some = np.flatnonzero(with_sum(of_days)[:, hole.category])
                since_s = (days.newest - days.level.keep + 2 + int(some[-1])) * DAY_S if len(some) else since_s
            usual = per_hour * profile_hours(self.constants, since_s, min(until_s, at_s), self.spec.timezone)
            silent.append(
                Silence(
                    category=ALL_CATEGORIES if hole.category == of_all else self.spec.categories[hole.category],
                    since_s=since_s,
                    until_s=until_s if hole.stop < SINCE_CAP_HOURS else 0,
                    observed=hole.observed,
                    usual=float(f"{with_sum(usual)[hole.category]:.4g}"),
                    days=hole.days,
                )
            )
        return tuple(silent)

    def _past(self, level: LevelBins, give: Callable[[LevelBins], T]) -> T:
        """`give(level)`, a function of finished bins only, computed again when one of them has changed."""
        memo = self._memo.get(level.level.name)
        if memo is None or memo[0] is not level or memo[1] != level.past_version:
            memo = self._memo[level.level.name] = (level, level.past_version, give(level))
        return memo[2]  # type: ignore[return-value]

    def _panes(self, level: LevelBins) -> list[Counts]:
        """Finished panes of each pane window: its panes but the current one, summed from the shortest outwards."""
        sums: list[Counts] = []
        total, taken = np.zeros(level.places, np.int32), 0
        for window_s in _PANE_WINDOWS_S:
            more = window_s // level.level.width_s - 1 - taken
            total, taken = total + level.sum_of_newest(more, skip=1 + taken), taken + more
            sums.append(total.reshape(self._shape))
        return sums

    def _hours(self, level: LevelBins) -> _Hours:
        week = level.newest_bins(SINCE_CAP_HOURS - 1, skip=1)
        ages = np.arange(SINCE_CAP_HOURS - 1, 0, -1, dtype=np.int16)
        nearness = ((week > 0) * (SINCE_CAP_HOURS - ages)[:, None]).max(axis=0)
        last_71 = week[-71:].sum(axis=0, dtype=np.int32)
        skips = (24 * day - SAME_HOURS + 1 for day in range(1, SAME_HOURS_DAYS + 1))
        same = np.asarray(sum(level.sum_of_newest(SAME_HOURS, skip=skip) for skip in skips))
        return _Hours(
            last_71=last_71.reshape(self._shape),
            last_167=(last_71 + week[:-71].sum(axis=0, dtype=np.int32)).reshape(self._shape),
            since=(SINCE_CAP_HOURS - nearness).astype(np.int32).reshape(self._shape),
            same_hours=same.reshape(self._shape),
            # By category: the sum over the middle of three axes takes five times as long.
            of_region=np.stack([week[:, k :: self._shape[1]].sum(axis=1) for k in range(self._shape[1])], axis=1),
        )

    def _days(self, level: LevelBins, first_day: int) -> _Days:
        spec, constants = self.spec, self.constants
        baseline = (float(constants.half_life_days), float(constants.level_half_life_days))
        half_lives = (*map(float, MEMORY_DAYS), *baseline, np.inf)
        memory = remember(level, half_lives, constants, spec, first_day=first_day)
        shrunk = [
            cell_rate(memory.counts[n], float(memory.days[n]), constants, spec) for n in range(len(half_lives) - 2)
        ]
        if older := constants.older:  # the days that end before those whose counts are kept begin, none counted twice
            of_all_days = memory.counts[-1]
            if self._counts_before:
                of_all_days = of_all_days + self._counts_before(min(level.oldest, int(older.end_day)))
            elif level.oldest >= older.end_day:
                of_all_days = of_all_days + older.counts
            of_baseline, share = (memory.counts[-3], float(memory.days[-3])), float(older.share)
            shrunk[-1] = mixed_cell_rate(*of_baseline, of_all_days, share, constants, spec)
        rate = shrunk[-1]
        region, newest = (region_rate(memory.counts[n], float(memory.days[n]), constants) for n in (-3, -2))
        block = (rate + ring_sum(rate, spec.grid)) / (ring_size(spec.grid) + 1)[:, None]
        long = LongMemory(
            by_half_life={days: shrunk[n] for n, days in enumerate(MEMORY_DAYS)}, rate=rate, block=block, region=region
        )
        return _Days(
            columns=np.log(np.stack(columns("memory", long), axis=-1)).astype(np.float32),
            log_rate_per_hour=np.log(rate * (newest / region) / 24).astype(np.float32),
            region_per_hour=newest / 24,
            remembered=memory.counts[-1].astype(np.int32),
        )

    def _levels(self, panes: LevelBins, windows: dict[str, Counts | Floats], region_per_hour: Floats) -> RegionLevels:
        """The region's windows against what is usual, by category and over all.

        The unfinished pane is left out: otherwise every incident would change every cell of the region.
        """
        unfinished = panes.newest_bins(1).reshape(self._shape)
        counts = np.stack(
            [(window - unfinished).sum(axis=0) for window in windows.values()], axis=1
        )  # (categories, windows)
        until_s = panes.newest * self.spec.slide_s
        hour, day = until_s // HOUR_S * HOUR_S, until_s // DAY_S * DAY_S
        starts = [
            *(until_s + self.spec.slide_s - width for width in _PANE_WINDOWS_S[1:]),
            *(hour + HOUR_S - days * DAY_S for days in (3, 7)),
            day + DAY_S - 30 * DAY_S,
        ]
        integrals = [profile_hours(self.constants, start, until_s, self.spec.timezone) for start in starts]
        expected = region_per_hour[:, None] * np.stack(integrals, axis=1)
        by_category = np.log((counts + _LEVEL_PRIOR) / (expected + _LEVEL_PRIOR))
        over_all = np.log((counts.sum(axis=0) + _LEVEL_PRIOR) / (expected.sum(axis=0) + _LEVEL_PRIOR))
        by_category, over_all = (
            np.clip(ratio, -LEVEL_LIMIT, LEVEL_LIMIT)
            for ratio in (by_category, np.broadcast_to(over_all, by_category.shape))
        )
        return RegionLevels(
            by_category={window: by_category[:, n] for n, window in enumerate(windows)},
            over_all={window: over_all[:, n] for n, window in enumerate(windows)},
        )
