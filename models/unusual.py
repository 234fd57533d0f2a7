"""Where more happens than usual, and when a feed is silent.

**More than usual** is found by a scan. Each square of cells, at each place of the grid and for each of the last
WINDOWS_S, is a zone. Its incidents are compared with what is usual there, by the chance that so many or more come of
themselves: of each category, and of all together. The least likely zone counts first, then the next that shares no cell
with it, and so on.

Sources: Kulldorff, Prospective time periodic geographical disease surveillance using a scan statistic, Journal of the
Royal Statistical Society A 164, 2001, for zones and windows that end now; Tango, Takahashi and Kohriyama, A space-time
scan statistic for detecting emerging outbreaks, Biometrics 67, 2011, for counts that lie wider than Poisson's.

**A feed is silent** when so few incidents come, hour after hour, that chance does not explain it. A run is a stretch of
quiet hours: each has at most QUIET of what is usual. A run is a hole where chance alone shows so few incidents once in
SILENT_DAYS or more seldom, somewhere in the region. Each category is tested, and all together, as feeds are often one
for each service. A hole that reaches the present is a feed that is silent now. What lies in a hole says nothing of the
city: features take what is usual in its place, also when the feed is back. The whole region's counts are negative
binomial, with the mean m and the variance m + spread * m**2, as its hours lay around the baseline in training. The test
is the scan's, at its other end.

scipy.special takes a while to import, and commands that count nothing reach this file: it is imported where it is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, span_hours
from models.counting.count_state import CountState
from models.dispersion import AnyFloats, Floats
from schemas.frame import Unusual
from schemas.grid import Grid
from schemas.limits import MOST_DAYS, SILENT_DAYS, UNUSUAL_DAYS
from schemas.spec import ALL_CATEGORIES, HOUR_S, Spec

WINDOWS_S = (HOUR_S, 2 * HOUR_S, 4 * HOUR_S)  # that end now
Span = tuple[int, int]  # [start, stop), epoch seconds
SIDES = (1, 2, 3, 4, 6, 8, 12, 16)  # of squares, cells; and the whole grid
LEAST_COUNT = 5  # incidents of a zone: fewer in a quiet place may be calls about the same
MOST = 3  # zones of a category
_LEAST_NATS = 6.0  # zones that are more likely than exp(-6) cannot be among those
# A day; the chance of a zone, times its looks, is how often chance shows one like it.
_LOOKS_A_DAY, _LARGE = 35.0, 300  # new looks at each cell and category, and as many as at _LARGE more at large zones
_LOOKS_AT_ALL = 70.0  # at all categories of the whole grid
_ALMOST_POISSON = 1e-6  # spread over the mean
QUIET = 0.2  # of the usual: a feed that still brings more is not silent
_RUNS_A_DAY = 24.0  # that can begin in a category
_LEAST_CHANCE = 1e-300
Counts = npt.NDArray[np.integer[Any]]
AnyCounts = TypeVar("AnyCounts", Counts, Floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Incidents of the last WINDOWS_S: (windows, cells, categories) each."""

    counts: npt.NDArray[np.integer]
    usual: Floats
    spread: Floats  # variance beyond the mean, of each alone
    region_spreads: Floats  # (categories + 1,) of BaselineConstants: what cells have in common
    spread_of_sums: float  # of BaselineConstants: what categories have in common in a cell


def recent_counts(state: CountState) -> npt.NDArray[np.int32]:
    """(windows, cells, categories) incidents of the newest panes, the unfinished one included."""
    panes, taken, sums = state.levels["pane"], 0, [np.zeros(state.levels["pane"].places, np.int32)]
    for window_s in WINDOWS_S:
        more = window_s // panes.level.width_s - taken
        sums.append(sums[-1] + panes.sum_of_newest(more, skip=taken))
        taken += more
    return np.stack([state.shape(of) for of in sums[1:]])


def spans_of(spec: Spec, tick_s: int) -> Sequence[Span]:
    """What `recent_counts` cover until the end of the tick."""
    first_s = tick_s // spec.slide_s * spec.slide_s + spec.slide_s  # of the pane behind the unfinished one
    return [(first_s - window_s, tick_s + spec.tick_s) for window_s in WINDOWS_S]


def recent_of(
    counts: npt.NDArray[np.int32],
    usual: AnyFloats,
    constants: BaselineConstants,
    spec: Spec,
    tick_s: int,
    factors: Floats | None = None,
) -> Recent:
    """The last hours at a tick. counts: of `recent_counts`.

    usual: (cells, categories) of the shortest horizon from the tick on. factors: (cells, categories, windows) on what
    is usual, where forecasts follow a change.
    """
    ahead, *spans = (tick_s, tick_s + spec.horizons_s[0]), *spans_of(spec, tick_s)
    hours = span_hours(constants, [ahead, *spans], spec.timezone)
    before = usual[:, :, None] * (hours[:, :, 1:] / hours[:, :, :1])
    mean = (before if factors is None else before * factors).transpose(2, 0, 1)
    dispersion = constants.dispersion_in_cells(of_network=False)[..., 0]
    spread = mean * dispersion.excess(mean)
    return Recent(
        counts=counts,
        usual=mean,
        spread=spread,
        region_spreads=constants.region_spreads,
        spread_of_sums=float(constants.spread_of_sums.sum()),  # 0 where it was not fitted
    )


class RegionScan:
    """The scan of one region, batch after batch: it gives what a scan of each batch alone gives, for less work.

    What is usual holds until the minute ends or the forecast is renewed. Meanwhile a category is scanned again when one
    of its counts has changed.
    """

    def __init__(self, spec: Spec, constants: BaselineConstants) -> None:
        self.spec, self.constants = spec, constants
        self._at: tuple[int, AnyFloats, Floats | None] = -1, np.empty(0), None  # tick, usual, factors of the last batch
        self._recent: Recent | None = None  # the last batch, if all went well
        self._zones: list[_Zones] = []
        self._places: list[list[tuple[float, Unusual]]] = []  # with the log of how often a day chance shows one

    def places(
        self, counts: npt.NDArray[np.int32], usual: AnyFloats, tick_s: int, factors: Floats | None = None
    ) -> tuple[Unusual, ...]:
        """What `among` gives of the last hours at a tick. counts, usual, factors: as for `recent_of`."""
        before_s, before, factors_before = self._at
        if self._recent and tick_s == before_s and factors is factors_before and np.array_equal(usual, before):
            recent = replace(self._recent, counts=counts)
        else:
            recent = recent_of(counts, usual, self.constants, self.spec, tick_s, factors)
        self._at = tick_s, usual, factors  # only now: what failed before left the last batch as it was
        return self.among(recent)

    def among(self, recent: Recent) -> tuple[Unusual, ...]:
        """The least likely zones, the first first: of each category, and of all together, MOST at most.

        No two of a category have a cell in common. What is found of all categories and of one of them is told once, as
        that which is less likely. Chance alone shows any of them in the region once in UNUSUAL_DAYS or more seldom.
        """
        grid, categories = self.spec.grid, self.spec.categories
        before, self._recent = self._recent, None
        if before and recent.usual is before.usual and recent.spread is before.spread:
            of_each = (recent.counts != before.counts).any(axis=(0, 1))
        else:
            of_each = np.ones(len(categories), np.bool_)
            scanned = range(len(categories) + (len(categories) > 1))
            self._zones = [_Zones(recent, category, grid) for category in scanned]
            self._places = [[] for _ in scanned]
        has_changed = np.append(of_each, of_each.any())
        for zones in self._zones:
            if has_changed[zones.category]:
                self._places[zones.category] = list(_of_category(recent, zones, grid, categories))
        self._recent = recent
        places: list[Unusual] = []
        for _, place in sorted(chain.from_iterable(self._places), key=lambda with_rate: with_rate[0]):
            of = slice(None) if place.category == ALL_CATEGORIES else categories.index(place.category)
            came_in = recent.counts[WINDOWS_S.index(place.hours * HOUR_S)][:, of].reshape(grid.rows, grid.cols, -1)
            for other in places:
                if (place.category == ALL_CATEGORIES) == (other.category == ALL_CATEGORIES):
                    continue
                # One that is closer around few of the other's incidents tells something new: a burst in a night when
                # the whole city has more. Any other place that has mostly its incidents tells the same.
                is_around_few = 2 * place.observed < other.observed
                is_closer = is_around_few and 2 * place.rows * place.cols < other.rows * other.cols
                shared = came_in[
                    max(place.row, other.row) : min(place.row + place.rows, other.row + other.rows),
                    max(place.col, other.col) : min(place.col + place.cols, other.col + other.cols),
                ]
                if not is_closer and 2 * shared.sum() >= place.observed:
                    break
            else:
                places.append(place)
        return tuple(places)


@lru_cache(maxsize=64)
def _zones_of(rows: int, cols: int) -> tuple[list[tuple[int, int]], npt.NDArray[np.int16]]:
    """The zones of a grid: rows and columns of each shape, and (5, zones) where they lie.

    That is window, first row and the one behind the last, and the same of columns: shape by shape, the whole grid last.
    """
    squares = [(side, side) for side in SIDES if side <= min(rows, cols)]
    shapes, spans = list(dict.fromkeys([*squares, (rows, cols)])), []  # each once
    for up, right in shapes:
        window, south, west = np.indices((len(WINDOWS_S), rows - up + 1, cols - right + 1), np.int16).reshape(3, -1)
        spans.append(np.stack([window, south, south + np.int16(up), west, west + np.int16(right)]))
    return shapes, np.concatenate(spans, axis=1)


def _in_zones(values: npt.NDArray[Any], category: int, grid: Grid) -> npt.NDArray[Any]:
    """(zones,) sums of (windows, cells, categories). category: its number; that of all together is their number."""
    of = slice(None) if category == values.shape[2] else slice(category, category + 1)
    of_cells = values[:, :, of].sum(axis=2).reshape(-1, grid.rows, grid.cols)
    south_west = np.zeros((len(values), grid.rows + 1, grid.cols + 1), of_cells.dtype)
    south_west[:, 1:, 1:] = of_cells.cumsum(axis=1).cumsum(axis=2)
    sums = []
    for rows, cols in _zones_of(grid.rows, grid.cols)[0]:
        strips = south_west[..., rows:, :] - south_west[..., :-rows, :]
        sums.append((strips[..., cols:] - strips[..., :-cols]).ravel())
    return np.concatenate(sums)


class _Zones:
    """What holds of a category's zones while incidents are counted. category: that of all is their number."""

    def __init__(self, recent: Recent, category: int, grid: Grid) -> None:
        self.category, categories = category, recent.usual.shape[2]
        self.usual, self.spread = (_in_zones(values, category, grid) for values in (recent.usual, recent.spread))
        if category == categories:  # one crash is a call for several services, so that counts of a cell rise together
            self.spread += recent.spread_of_sums * self.usual
        self.spread += float(recent.region_spreads[category]) * self.usual**2  # what all cells have in common
        scanned = categories + (categories > 1)
        looks = _LOOKS_A_DAY * (grid.cells * scanned + _LARGE)
        at_all = _LOOKS_AT_ALL if category == scanned - 1 else looks
        self.log_looks, self.log_looks_at_all = float(np.log(looks)), float(np.log(at_all))  # of the whole grid
        # Fewer incidents are not looked at: the deviance of a Poisson count is at most (count - usual)**2 / (2 usual),
        # that of a wider one less.
        enough = np.maximum(self.usual, 0) + np.sqrt(2 * _LEAST_NATS * np.maximum(self.usual, 0))
        least = np.clip(np.ceil(enough * (1 - 1e-9)), LEAST_COUNT, np.iinfo(np.uint16).max)
        self.least = least.astype(np.uint16)


def _mean_and_size(mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
    mean = np.maximum(mean, 1e-12)
    return mean, mean**2 / np.maximum(spread, _ALMOST_POISSON * mean)


def _bound(count: Floats, mean: Floats, size: Floats) -> Floats:
    """(n,) the log of the chance of `count` or more is at most this, by Chernoff, and less by `_slack` at most."""
    return (count + size) * np.log((count + size) / (mean + size)) - count * np.log(count / mean)


def _slack(count: Floats, size: Floats) -> Floats:
    """(n,) nats: by Stirling's formula for the chance of `count` alone; the rest is for its rest and for rounding."""
    of_small_sizes = 0.5 * np.maximum(-np.log(size), 0)
    return np.asarray(0.5 * np.log(2 * np.pi * count * (count + size) / size) + of_small_sizes + 0.3 + 1e-6 * count)


def log_chance_of(count: Floats, mean: Floats, spread: Floats) -> Floats:
    """(n,) log of the chance of `count` or more, of the negative binomial with that mean and variance mean + spread.

    Where the chance is below the smallest number, its bound by Chernoff is given.
    """
    from scipy.special import betainc

    mean, size = _mean_and_size(mean, spread)
    chance = betainc(count, size, mean / (mean + size))
    with np.errstate(divide="ignore"):
        return np.where(chance > 0, np.log(chance), _bound(count, mean, size))


def _of_category(
    recent: Recent, zones: _Zones, grid: Grid, categories: tuple[str, ...]
) -> Iterator[tuple[float, Unusual]]:
    """The least likely zone with the log of how often chance shows one, then the next without a cell in common, ...

    Of two that are as likely the one with fewer rows.
    """
    name, spans = (*categories, ALL_CATEGORIES)[zones.category], _zones_of(grid.rows, grid.cols)[1]
    counts = _in_zones(recent.counts, zones.category, grid)
    has_more = (counts > zones.usual)[: recent.counts[..., 0].size].reshape(len(WINDOWS_S), -1)  # of single cells
    numbers = np.flatnonzero(counts >= zones.least)
    count, usual, spread = (of[numbers].astype(np.float64) for of in (counts, zones.usual, zones.spread))
    is_whole_grid = numbers >= len(counts) - len(WINDOWS_S)
    log_looks = np.where(is_whole_grid, zones.log_looks_at_all, zones.log_looks)
    mean, size = _mean_and_size(usual, spread)
    most = log_looks + _bound(count, mean, size)  # of the log of how often chance shows one
    least = most - _slack(count, size)
    log_rate = np.full(len(count), np.nan)  # where it is not known yet
    for _ in range(MOST):
        # No other zone than these can be the least likely one, or be told.
        at = np.flatnonzero(least <= min(most.min(initial=np.inf), -np.log(UNUSUAL_DAYS)))
        if len(at) == 0:
            return
        new = at[np.isnan(log_rate[at])]
        log_rate[new] = log_looks[new] + log_chance_of(count[new], usual[new], spread[new])
        first = at[log_rate[at].argmin()]
        days = float(np.exp(min(-log_rate[first], np.log(MOST_DAYS))))
        if days < UNUSUAL_DAYS:
            return
        window, south, north, west, east = spans[:, numbers[first]].tolist()
        place = Unusual(
            category=name, row=south, col=west, rows=north - south, cols=east - west,
            hours=WINDOWS_S[window] // HOUR_S, observed=round(count[first]), usual=float(f"{usual[first]:.4g}"),
            days=float(f"{days:.2g}"),
        )  # fmt: skip
        cells = place.cells(grid)
        place = msgspec.structs.replace(place, above=tuple(cells[has_more[window, cells]].tolist()))
        if name == ALL_CATEGORIES:
            by_category = recent.counts[window, cells].sum(axis=0).tolist()
            some = {each: came for each, came in zip(categories, by_category, strict=True) if came}
            place = msgspec.structs.replace(place, of_categories=some)
        yield float(log_rate[first]), place
        _, souths, norths, wests, easts = np.take(spans, numbers, axis=1)
        shares_a_cell = (souths < north) & (norths > south) & (wests < east) & (easts > west)
        least[shares_a_cell] = most[shares_a_cell] = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Hours [first, stop) of those looked at in which the feed of a category, or of all together, was silent."""

    category: int  # that of all together is the number of categories
    first: int
    stop: int
    observed: int
    usual: float
    days: float  # once in so many days chance alone shows as much


def with_sum(by_category: AnyCounts) -> AnyCounts:
    """(..., categories + 1) with the sum over the categories as the last."""
    return np.concatenate([by_category, by_category.sum(axis=-1, keepdims=True)], axis=-1)


def holes(counts: Counts, usual: Floats, spread: Floats, last_hour: tuple[Counts, Floats]) -> list[Hole]:
    """counts, usual: (hours, categories) of the whole region, the hour that is not over as the last.

    usual: 0 where nobody counted, which says nothing. spread: (categories + 1,) variance beyond Poisson's over the
    square of the mean. last_hour: (categories,) counts and usual of the last sixty minutes, by which the newest hour is
    judged, as it may have hardly begun.
    """
    came, mean = with_sum(counts), with_sum(usual)
    last_came, last_mean = with_sum(last_hour[0]), with_sum(last_hour[1])
    is_quiet = np.zeros((len(came) + 2, came.shape[1]), np.int8)
    is_quiet[1:-1] = (came <= QUIET * mean) & (mean > 0)
    is_quiet[-2] = (last_came <= QUIET * last_mean) & (last_mean > 0)
    edges = np.diff(is_quiet, axis=0).T
    (category, first), (_, stop) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    before_came, before_mean = (np.vstack([0 * of[:1], of.cumsum(axis=0)]) for of in (came, mean))
    observed = before_came[stop, category] - before_came[first, category]
    expected = before_mean[stop, category] - before_mean[first, category]
    is_short = first == len(came) - 1  # what began within sixty minutes
    observed, expected = (
        np.where(is_short, last_came[category], observed),
        np.where(is_short, last_mean[category], expected),
    )
    days = _days(observed, expected, spread[category], of=came.shape[1])
    found = [
        Hole(category=int(category[at]), first=int(first[at]), stop=int(stop[at]), observed=int(observed[at]),
             usual=float(expected[at]), days=float(f"{days[at]:.2g}"))
        for at in np.flatnonzero(days >= SILENT_DAYS).tolist()
    ]  # fmt: skip
    return [hole for hole in found if hole.category < counts.shape[1] or _is_of_all(hole, found, counts, usual, spread)]


def _days(count: Counts, mean: Floats, spread: Floats, *, of: int) -> Floats:
    """(n,) once in how many days chance alone shows a run with `count` or fewer. of: categories that are tested."""
    from scipy.special import betainc

    size = 1 / np.maximum(spread, 1e-6)
    chance = betainc(size, count + 1.0, size / (size + np.maximum(mean, 1e-9)))
    return np.asarray(np.minimum(1 / (_RUNS_A_DAY * of * np.maximum(chance, _LEAST_CHANCE)), MOST_DAYS))


def _is_of_all(hole: Hole, found: list[Hole], counts: Counts, usual: Floats, spread: Floats) -> bool:
    """Whether a hole of all together is one also without the categories whose own are longer at either end."""
    longer = [
        other.category
        for other in found
        if (other.first < hole.first - 1 and other.stop > hole.first)
        or (other.stop > hole.stop + 1 and other.first < hole.stop)
    ]
    rest = np.setdiff1d(np.arange(counts.shape[1]), longer)
    came, mean = (of[hole.first : hole.stop, rest].sum() for of in (counts, usual))
    return not longer or bool(_days(came, mean, spread[-1], of=counts.shape[1] + 1) >= SILENT_DAYS)


def missing_share(found: list[Hole], counts: Counts, usual: Floats) -> Floats:
    """(hours, categories) how much of the usual is missing in the holes: 1 where nothing came; outside of them 0."""
    is_hole = np.zeros(counts.shape, bool)
    for hole in found:
        is_hole[hole.first : hole.stop, slice(None) if hole.category == counts.shape[1] else hole.category] = True
    return np.where(is_hole, np.clip(1 - counts / np.maximum(usual, 1e-9), 0, 1), 0.0)
