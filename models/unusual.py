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
from dataclasses import dataclass
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
# A bound exceeds what it bounds by less: by the log of one count's chance, 0.5 log(2 pi count (count + size) / size),
# and Stirling's rest, 42 for a million incidents where 1e-12 are usual.
_SLACK_NATS = 45.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Zones:
    """A category's zones of one shape: (windows, places north, places east) each, by their south-western cells."""

    rows: int
    cols: int
    count: Floats
    usual: Floats
    spread: Floats
    bound: Floats  # of `_bound`, with the looks; infinite where there are too few, and where a cell is taken
    log_looks: float  # a day: the chance of a zone, times these, is how often chance alone shows one like it

    def log_rates(self, most: float) -> tuple[npt.NDArray[np.intp], Floats]:
        """(n,) positions of the zones whose bound is `most` or less, and the log of how often a day each is shown."""
        at = np.flatnonzero(self.bound <= most)
        return at, self.log_looks + log_chance_of(*(part.ravel()[at] for part in (self.count, self.usual, self.spread)))

    def take(self, place: Unusual) -> None:
        """No other zone may share a cell with the place."""
        south, west = max(place.row - self.rows + 1, 0), max(place.col - self.cols + 1, 0)
        self.bound[:, south : place.row + place.rows, west : place.col + place.cols] = np.inf


def _zones_of(recent: Recent, category: int, grid: Grid) -> list[_Zones]:
    """category: its number; the number of categories for all of them together."""
    summed = np.zeros((3, len(recent.counts), grid.rows + 1, grid.cols + 1))
    categories = recent.counts.shape[2]
    of = slice(None) if category == categories else slice(category, category + 1)
    for sums, values in zip(summed, (recent.counts, recent.usual, recent.spread), strict=True):
        of_cells = values[:, :, of].sum(axis=2).reshape(-1, grid.rows, grid.cols)
        sums[:, 1:, 1:] = of_cells.cumsum(axis=1).cumsum(axis=2)
    if category == categories:  # one crash is a call for several services, so that counts of a cell rise together
        summed[2] += recent.spread_of_sums * summed[1]
    scanned = categories + (categories > 1)
    squares = [(side, side) for side in SIDES if side <= min(grid.rows, grid.cols)]
    shapes = dict.fromkeys([*squares, (grid.rows, grid.cols)])  # each once
    looks = {shape: _LOOKS_A_DAY * (grid.cells * scanned + _LARGE) for shape in shapes}
    if category == scanned - 1:
        looks[grid.rows, grid.cols] = _LOOKS_AT_ALL
    spread = float(recent.region_spreads[category])
    zones = []
    for (rows, cols), a_day in looks.items():
        corners = summed[..., rows:, :] - summed[..., :-rows, :]
        count, usual, own_spread = corners[..., cols:] - corners[..., :-cols]
        wide = own_spread + spread * usual**2  # what all cells have in common
        excess, bound = np.maximum(count - usual, 0), np.full(count.shape, np.inf)
        log_looks = float(np.log(a_day))
        # The deviance of a Poisson count is at most excess**2 / (2 usual), that of a wider one less.
        may_count = (count > LEAST_COUNT - 0.5) & (excess * excess > 2 * _LEAST_NATS * usual)
        bound[may_count] = log_looks + _bound(count[may_count], *_mean_and_size(usual[may_count], wide[may_count]))
        zone = _Zones(rows=rows, cols=cols, count=count, usual=usual, spread=wide, bound=bound, log_looks=log_looks)
        zones.append(zone)
    return zones


def _mean_and_size(mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
    mean = np.maximum(mean, 1e-12)
    return mean, mean**2 / np.maximum(spread, _ALMOST_POISSON * mean)


def _bound(count: Floats, mean: Floats, size: Floats) -> Floats:
    """(n,) the log of the chance of `count` or more is at most this, by Chernoff, and less by _SLACK_NATS at most."""
    return (count + size) * np.log((count + size) / (mean + size)) - count * np.log(count / mean)


def log_chance_of(count: Floats, mean: Floats, spread: Floats) -> Floats:
    """(n,) log of the chance of `count` or more, of the negative binomial with that mean and variance mean + spread.

    Where the chance is below the smallest number, its bound by Chernoff is given.
    """
    from scipy.special import betainc

    mean, size = _mean_and_size(mean, spread)
    chance = betainc(count, size, mean / (mean + size))
    with np.errstate(divide="ignore"):
        return np.where(chance > 0, np.log(chance), _bound(count, mean, size))


def unusual_places(recent: Recent, grid: Grid, categories: tuple[str, ...]) -> tuple[Unusual, ...]:
    """The least likely zones, the first first: of each category, and of all together, MOST at most.

    No two of a category have a cell in common. What is found of all categories and of one of them is told once, as that
    which is less likely. Chance alone shows any of them in the region once in UNUSUAL_DAYS or more seldom.
    """
    names = (*categories, ALL_CATEGORIES) if len(categories) > 1 else categories
    zones = [
        place for number, name in enumerate(names) for place in _of_category(recent, number, name, grid, categories)
    ]
    places: list[Unusual] = []
    for _, place in sorted(zones, key=lambda with_rate: with_rate[0]):
        of = slice(None) if place.category == ALL_CATEGORIES else categories.index(place.category)
        came_in = recent.counts[WINDOWS_S.index(place.hours * HOUR_S)][:, of]
        for other in places:
            if (place.category == ALL_CATEGORIES) == (other.category == ALL_CATEGORIES):
                continue
            # One that is closer around few of the other's incidents tells something new: a burst in a night when the
            # whole city has more. Any other place that has mostly its incidents tells the same.
            is_closer = 2 * place.rows * place.cols < other.rows * other.cols and 2 * place.observed < other.observed
            shared = np.intersect1d(place.cells(grid), other.cells(grid))
            if not is_closer and 2 * came_in[shared].sum() >= place.observed:
                break
        else:
            places.append(place)
    return tuple(places)


def _of_category(
    recent: Recent, number: int, name: str, grid: Grid, categories: tuple[str, ...]
) -> Iterator[tuple[float, Unusual]]:
    """The least likely zone with the log of how often chance shows one, then the next without a cell in common, ...

    Of two that are as likely the one with fewer rows.
    """
    zones = _zones_of(recent, number, grid)
    for _ in range(MOST):
        most = min(of.bound.min() for of in zones) + _SLACK_NATS
        if not np.isfinite(most):
            return
        looked_at = [(of, *of.log_rates(most)) for of in zones]
        firsts = [(float(rates.min()), of.rows, of, at[rates.argmin()]) for of, at, rates in looked_at if len(at)]
        log_rate, _, of, at = min(firsts, key=lambda first: first[:2])
        days = float(np.exp(min(-log_rate, np.log(MOST_DAYS))))
        if days < UNUSUAL_DAYS:
            return
        window, row, col = map(int, np.unravel_index(at, of.count.shape))
        count, usual = float(of.count[window, row, col]), float(of.usual[window, row, col])
        place = Unusual(
            category=name, row=row, col=col, rows=of.rows, cols=of.cols, hours=WINDOWS_S[window] // HOUR_S,
            observed=round(count), usual=float(f"{usual:.4g}"), days=float(f"{days:.2g}"),
        )  # fmt: skip
        cells, one_cell = place.cells(grid), zones[0]
        above = cells[(one_cell.count > one_cell.usual)[window].ravel()[cells]]
        place = msgspec.structs.replace(place, above=tuple(above.tolist()))
        if name == ALL_CATEGORIES:
            by_category = recent.counts[window, cells].sum(axis=0).tolist()
            some = {each: came for each, came in zip(categories, by_category, strict=True) if came}
            place = msgspec.structs.replace(place, of_categories=some)
        yield log_rate, place
        for each in zones:
            each.take(place)


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
