"""The baseline: long-memory rate x the region's level x hour-of-week profile x the cell's own day, thin cells shrunk.

It is what the network starts from, and what answers when there is no network. Every sum over history is a sum of
integers (counts x weights in units of 2**-20), so it is exact and cannot depend on the order of adding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.counting.count_state import LevelBins
from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.local_time import DAY_BLOCKS, HOURS, HOURS_OF_BLOCK, hour_of_week, hours_within
from models.nowcast import Nowcast
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.limits import MAX_CALENDAR_DAYS
from schemas.spec import HOUR_S, Spec

Number = TypeVar("Number", np.int32, np.float32, np.float64)


def ring_sum(counts: npt.NDArray[Number], grid: Grid) -> npt.NDArray[Number]:
    """Sum over the up to eight cells around each cell, the cell itself left out.

    counts: (cells, ...) in grid order. Gives the same shape and type; cells beyond the grid's edge count nothing.
    """
    square = counts.reshape(grid.rows, grid.cols, *counts.shape[1:])
    rows = square.copy()  # each cell with the ones north and south of it
    rows[1:] += square[:-1]
    rows[:-1] += square[1:]
    block = rows.copy()  # all nine
    block[:, 1:] += rows[:, :-1]
    block[:, :-1] += rows[:, 1:]
    block -= square
    return block.reshape(counts.shape)


def ring_size(grid: Grid) -> npt.NDArray[np.int32]:
    """(cells,) how many neighbours each cell has: 8, at the grid's edges fewer."""
    return ring_sum(np.ones(grid.cells, np.int32), grid)


Floats = npt.NDArray[np.float64]

_OF_NETWORK = ("network_dispersion", "network_dispersion_power")
_DISPERSIONS = ("dispersion", "dispersion_power", *_OF_NETWORK)
_SPREAD_OF_TOTALS = 0.05  # of a version that was made before it was fitted: three cities have 0.01 to 0.1
_OF_OLDER = ("older_counts", "older_share", "older_end_day")
_OF_NOWCAST = {f"nowcast_{part.name}": part.name for part in fields(Nowcast)}
# What a region may lack, together.
_MAY_LACK = (_OF_NETWORK, _OF_OLDER, (*_OF_NOWCAST,), ("spread_of_totals",), ("spread_of_sums",), ("cell_dispersion",))
WEIGHT_ONE = 1 << 20
_BLOCK_DAYS = 32  # days that are weighed at a time: they fit into a core's cache
_SURELY_SOME = 20.0  # where so many incidents a day are usual, a day without any is a day without data
_REGION_DAYS = 1.0  # weight of the training mean in the region's rate, days
_LEAST_VARIANCE = 0.05  # of a mixed map over that of the long memory's: some shrinkage stays where nearly all is old
_NEIGHBOURHOOD_CELL_DAYS = 30.0  # weight of the region's mean cell in a neighbourhood's rate
_RANGES = {  # far around what training can find; within them every score is finite
    "half_life_days": (0.1, 1e5),
    "level_half_life_days": (0.1, 1e5),
    "shrink_days": (1e-3, 1e5),
    "profile": (1e-6, HOURS),
    "day_lift": (1e-6, 1e3),
    "mean_per_day": (1e-6, 1e7),
    "dispersion": (1e-3, 1e6),
    "dispersion_power": (QUADRATIC, LINEAR),
    "network_dispersion": (1e-3, 1e6),
    "network_dispersion_power": (QUADRATIC, LINEAR),
    "cell_dispersion": (1e-2, 1e2),
    "spread_of_totals": (0.0, 1e2),
    "spread_of_sums": (0.0, 1e2),
    "first_day": (1.0, 1e5),
    "older_counts": (0.0, 1e9),
    "older_share": (0.0, 1.0),
    "older_end_day": (1.0, 1e5),
    "nowcast_half_life_hours": (0.05, 24.0),
    "nowcast_prior": (1e-6, 0.5),
    "nowcast_size": (0.1, 1e6),
    "nowcast_shared": (0.0, 1.0),
    "nowcast_ahead": (0.0, 1.0),
    "holidays": (0.0, 1e5),
    "calendar": (0.0, 1e5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderDays:
    """Where the incidents were before the days whose counts are kept: of a map the stream does not hold."""

    counts: Floats  # (cells, categories) incidents of all older days
    share: Floats  # () of the map of all days in a cell's rate; the rest is of the long memory
    end_day: Floats  # () first UTC day (days since 1970) that is not one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineConstants:
    """What was learned of a region besides its counts. Rates are per day for the whole region."""

    half_life_days: Floats  # () of the long memory
    level_half_life_days: Floats  # () of the region's level, that all cells' rates follow; as the memory's: they do not
    shrink_days: Floats  # (categories,) days of the neighbourhood's rate that are mixed into a cell's own
    profile: Floats  # (categories, 168) rate by hour of the local week, mean 1
    day_lift: Floats  # (cells, categories, 16) what a cell has of the profile at that time of the day
    mean_per_day: Floats  # (categories,) incidents of the region per day in training, > 0
    dispersion: Dispersion  # (categories, horizons) of the negative binomial around the baseline's forecasts
    first_day: Floats  # () first UTC day (days since 1970) that the history covers from its start
    holidays: Floats = field(default_factory=lambda: np.zeros(0))  # (n,) local days since 1970 that are holidays
    calendar: Floats = field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2) which of the spec's names, local day
    older: OlderDays | None = None  # None: the long memory alone makes a cell's rate
    network_dispersion: Dispersion | None = None  # around the network's; None: the baseline's
    cell_dispersion: Floats = field(default_factory=lambda: np.zeros(0))  # (cells, categories, horizons) factor on r
    spread_of_totals: Floats = field(default_factory=lambda: np.zeros(0))  # as `region_spreads`; empty: not fitted
    spread_of_sums: Floats = field(default_factory=lambda: np.zeros(0))  # () of a cell's sum over categories: scan.py
    nowcast: Nowcast | None = None  # None: the last hours tell nothing that is worth a factor

    def arrays(self) -> dict[str, Floats]:
        """The constants as they are stored; those that a region may lack are there only where it has any."""
        named = {constant.name: getattr(self, constant.name) for constant in fields(self)}
        named |= {"dispersion": self.dispersion.r, "dispersion_power": self.dispersion.power}
        if own := named.pop("network_dispersion"):
            named |= dict(zip(_OF_NETWORK, (own.r, own.power), strict=True))
        if older := named.pop("older"):
            named |= dict(zip(_OF_OLDER, (older.counts, older.share, older.end_day), strict=True))
        if nowcast := named.pop("nowcast"):
            named |= {name: getattr(nowcast, part) for name, part in _OF_NOWCAST.items()}
        may_be_empty = ("cell_dispersion", "spread_of_totals", "spread_of_sums", "holidays", "calendar")
        return {name: array for name, array in named.items() if array.size or name not in may_be_empty}

    @property
    def region_spreads(self) -> Floats:
        """(categories + 1,) how far the region's hourly counts lie around the baseline, the last of all together.

        Their variance is mean + spread * mean**2: cells, and categories, rise and fall together.
        """
        fitted = self.spread_of_totals
        return fitted if fitted.size else np.full(len(self.profile) + 1, _SPREAD_OF_TOTALS)

    def dispersion_in_cells(self, *, of_network: bool) -> Dispersion:
        """The dispersion around the network's forecasts, or the baseline's, in each cell.

        (categories, horizons), or with factors (cells, categories, horizons).
        """
        of_all = self.network_dispersion if of_network and self.network_dispersion else self.dispersion
        if not self.cell_dispersion.size:
            return of_all
        r = self.cell_dispersion * of_all.r
        return Dispersion(r=r, power=np.broadcast_to(of_all.power, r.shape))

    @classmethod
    def checked(cls, arrays: Mapping[str, Floats], spec: Spec) -> "BaselineConstants":
        """Constants from arrays of any origin. Raises DataError when one is missing, misshapen or impossible."""
        categories = len(spec.categories)
        places = (categories, len(spec.horizons_s))
        shapes: dict[str, tuple[int, ...]] = {
            "half_life_days": (),
            "level_half_life_days": (),
            "shrink_days": (categories,),
            "profile": (categories, HOURS),
            "day_lift": (spec.grid.cells, categories, DAY_BLOCKS),
            "mean_per_day": (categories,),
            "dispersion": places,
            "dispersion_power": places,
            "first_day": (),
            "spread_of_totals": (categories + 1,),
            "spread_of_sums": (),
            "cell_dispersion": (spec.grid.cells, *places),
            **dict.fromkeys(_OF_NETWORK, places),
            **dict(zip(_OF_OLDER, ((spec.grid.cells, categories), (), ()), strict=True)),
            **dict.fromkeys(_OF_NOWCAST, ()),
            "nowcast_ahead": (len(spec.horizons_s),),
        }
        for names in _MAY_LACK:
            if arrays.keys().isdisjoint(names):
                shapes = {name: shape for name, shape in shapes.items() if name not in names}
        if spec.holidays:
            shapes["holidays"] = (min(np.size(arrays.get("holidays", 0.0)), MAX_CALENDAR_DAYS),)
        if spec.calendar:
            shapes["calendar"] = (min(np.size(arrays.get("calendar", 0.0)) // 2, MAX_CALENDAR_DAYS), 2)
        if set(arrays) != set(shapes):
            raise DataError(f"baseline holds {sorted(arrays)}, needs {sorted(shapes)}", "train again")
        for name, shape in shapes.items():
            array = arrays[name]
            if array.dtype != np.float64 or array.shape != shape:
                raise DataError(
                    f"baseline's {name} is {array.dtype}{array.shape}, must be float64{shape}", "train again"
                )
            low, high = _RANGES[name]
            if not ((array >= low) & (array <= high)).all():
                raise DataError(f"baseline's {name} has values outside {low:g} to {high:g}", "train again")
        own = _dispersion(arrays, "network_dispersion") if "network_dispersion" in arrays else None
        of_older = {name.removeprefix("older_"): arrays[name] for name in _OF_OLDER if name in arrays}
        older = OlderDays(**of_older) if of_older else None
        of_nowcast = {part: arrays[name] for name, part in _OF_NOWCAST.items() if name in arrays}
        nowcast = Nowcast(**of_nowcast) if of_nowcast else None
        apart = (*_DISPERSIONS, *_OF_OLDER, *_OF_NOWCAST)
        others: dict[str, Any] = {name: array for name, array in arrays.items() if name not in apart}
        others |= {"network_dispersion": own, "older": older, "nowcast": nowcast}
        return cls(dispersion=_dispersion(arrays, "dispersion"), **others)


def _dispersion(arrays: Mapping[str, Floats], name: str) -> Dispersion:
    power = arrays[f"{name}_power"]
    if not np.isin(power, (QUADRATIC, LINEAR)).all():
        raise DataError(f"baseline's {name}_power is {power.tolist()}, must be 0 or 1", "train again")
    return Dispersion(r=arrays[name], power=power)


@lru_cache(maxsize=64)
def day_weights(half_life_days: float, days: int) -> Floats:
    """(days,) whole numbers, oldest day first: 2**20 for yesterday, half of it one half-life earlier."""
    age = np.arange(days - 1, -1, -1)
    weights: Floats = np.rint(WEIGHT_ONE * 0.5 ** (age / half_life_days))
    weights.flags.writeable = False
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Finished days weighed by each of some half-lives: counts, and the days of data behind them."""

    counts: Floats  # (half-lives, cells, categories) weighted incidents
    days: Floats  # (half-lives,) weighted days that have data


def remember(
    level: LevelBins, half_lives_days: tuple[float, ...], constants: BaselineConstants, spec: Spec, *, first_day: int
) -> Memory:
    """Weigh the finished bins of the day level. An infinite half-life weighs all days alike.

    The counts of a running job may begin with another day (`first_day`) than the data of the artifact that it has taken
    over since: what is remembered begins with the later of the two, incidents and days alike.
    """
    finished = level.level.keep - 1
    weights = np.stack([day_weights(half_life, finished) for half_life in half_lives_days])
    totals = np.zeros((len(weights), level.places))
    per_day = np.empty(finished)
    first_bin = level.newest - finished
    covered = min(max(first_day, int(constants.first_day)) - first_bin, finished)
    for start in range(0, finished, _BLOCK_DAYS):
        stop = min(start + _BLOCK_DAYS, finished)
        block = level.newest_bins(stop - start, skip=1 + finished - stop).astype(np.float64)
        block[: max(covered - start, 0)] = 0
        totals += weights[:, start:stop] @ block
        per_day[start:stop] = block.sum(axis=1)
    has_data = per_day > 0 if constants.mean_per_day.sum() >= _SURELY_SOME else np.arange(finished) >= covered
    counts = (totals / WEIGHT_ONE).reshape(len(weights), spec.grid.cells, len(spec.categories))
    return Memory(counts=counts, days=(weights * has_data).sum(axis=1) / WEIGHT_ONE)


def region_rate(counts: Floats, days: float, constants: BaselineConstants) -> Floats:
    """(categories,) incidents per day of the whole region; without data the training mean. counts: (cells, cats)."""
    total = counts.sum(axis=0) + _REGION_DAYS * constants.mean_per_day
    return np.asarray(total / (days + _REGION_DAYS))


def cell_rate(counts: Floats, days: float, constants: BaselineConstants, spec: Spec) -> Floats:
    """(cells, categories) incidents per day, > 0: a cell's own rate, shrunk to its neighbourhood, that to the region.

    counts: (cells, categories) weighted incidents in `days` weighted days.
    """
    mean_cell = region_rate(counts, days, constants) / spec.grid.cells
    around = ring_sum(counts, spec.grid) + counts + _NEIGHBOURHOOD_CELL_DAYS * mean_cell
    cell_days = (ring_size(spec.grid) + 1)[:, None] * days + _NEIGHBOURHOOD_CELL_DAYS
    shrink = constants.shrink_days
    return np.asarray((counts + shrink * (around / cell_days)) / (days + shrink))


def mixed_cell_rate(
    counts: Floats, days: float, of_all_days: Floats, share: float, constants: BaselineConstants, spec: Spec
) -> Floats:
    """`cell_rate` with a share of the counts spread over the cells as the incidents of all days are.

    The region's rate stays: the map is mixed, the level is not. The mean of two maps has less chance in it than the
    long memory's alone, so less of the neighbourhood is mixed in. of_all_days: (cells, categories) incidents.
    """
    part = counts.sum(axis=0) / np.maximum(of_all_days.sum(axis=0), 1.0)  # of all days' incidents, 0..1
    mixed = (1 - share) * counts + share * (of_all_days * part)
    variance = np.maximum(1 - (1 - part) * (1 - (1 - share) ** 2), _LEAST_VARIANCE)
    return cell_rate(mixed, days, replace(constants, shrink_days=variance * constants.shrink_days), spec)


def profile_hours(constants: BaselineConstants, start_s: int, stop_s: int, timezone: str) -> Floats:
    """(categories,) the stretch [start_s, stop_s) in hours of average rate: the profile's integral over it."""
    return np.asarray((constants.profile * hours_within(start_s, stop_s, timezone)).sum(axis=1))


def profile_of_hours(constants: BaselineConstants, hours: npt.NDArray[np.int64], timezone: str) -> Floats:
    """(hours, categories) the profile's mean in each of these hours, since 1970.

    By its four quarters: some zones' own hours begin 15, 30 or 45 minutes later.
    """
    starts_s = np.array([[0], [15], [30], [45]]) * 60 + hours * HOUR_S
    first, second, third, last = constants.profile.T[hour_of_week(starts_s, timezone).astype(np.intp)]
    return np.asarray(((first + second) + (third + last)) / 4)


def horizon_hours(constants: BaselineConstants, as_of_s: int, spec: Spec) -> Floats:
    """(cells, categories, horizons) each horizon from `as_of_s` on in hours of the cell's average rate."""
    return span_hours(constants, [(as_of_s, as_of_s + h) for h in spec.horizons_s], spec.timezone)


def span_hours(constants: BaselineConstants, spans: Sequence[tuple[int, int]], timezone: str) -> Floats:
    """(cells, categories, spans) each stretch [start, stop), seconds, in hours of the cell's average rate."""
    hours = np.stack([hours_within(start_s, stop_s, timezone) for start_s, stop_s in spans], axis=1)
    blocks = np.einsum("bw,kw,wh->kbh", HOURS_OF_BLOCK, constants.profile, hours)
    return np.asarray(np.einsum("ckb,kbh->ckh", constants.day_lift, blocks))
