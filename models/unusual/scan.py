"""Where more happens than usual: a scan over squares of cells and the last hours.

Each square of cells, at each place of the grid and for each of the last WINDOWS_S, is a zone. Its incidents are
compared with what is usual there, by the chance that so many or more come of themselves. The least likely zone counts
first, then the next that shares no cell with it, and so on.

Sources: Kulldorff, Prospective time periodic geographical disease surveillance using a scan statistic, Journal of the
Royal Statistical Society A 164, 2001, for zones and windows that end now; Tango, Takahashi and Kohriyama, A space-time
scan statistic for detecting emerging outbreaks, Biometrics 67, 2011, for counts that lie wider than Poisson's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from models.dispersion import Floats
from models.unusual.windows import WINDOWS_S, Recent
from schemas.frame import Unusual
from schemas.grid import Grid
from schemas.limits import UNUSUAL_DAYS
from schemas.spec import HOUR_S

SIDES = (1, 2, 3, 4, 6, 8, 12, 16)  # of squares, cells; and the whole grid
LEAST_COUNT = 5  # incidents of a zone: fewer in a quiet place may be calls about the same
MOST = 3  # zones of a category
_LEAST_NATS = 6.0  # zones that are more likely than exp(-6) cannot be among those
# A bound exceeds what it bounds by less: by the log of one count's chance, 0.5 log(2 pi count (count + size) / size),
# and Stirling's rest, 42 for a million incidents where 1e-12 are usual.
_SLACK_NATS = 45.0
_LOOKS_A_DAY, _LARGE = 35.0, 300  # new looks at each cell and category, and as many as at _LARGE more at large zones
_MOST_LOG_DAYS = np.log(36_500.0)  # a hundred years: no figure beyond means anything
_ALMOST_POISSON = 1e-6  # spread over the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class _Zones:
    """A category's zones of one shape: (windows, places north, places east) each, by their south-western cells."""

    rows: int
    cols: int
    count: Floats
    usual: Floats
    spread: Floats
    bound: Floats  # of `_bound`; infinite where there are too few, and where a cell is taken

    def log_chances(self, most: float) -> tuple[npt.NDArray[np.intp], Floats]:
        """(n,) positions of the zones whose bound is `most` or less, and the log of the chance of each."""
        at = np.flatnonzero(self.bound <= most)
        return at, log_chance_of(*(part.ravel()[at] for part in (self.count, self.usual, self.spread)))

    def take(self, place: Unusual) -> None:
        """No other zone may share a cell with the place."""
        south, west = max(place.row - self.rows + 1, 0), max(place.col - self.cols + 1, 0)
        self.bound[:, south : place.row + place.rows, west : place.col + place.cols] = np.inf


def _zones_of(recent: Recent, category: int, grid: Grid) -> list[_Zones]:
    summed = np.zeros((3, len(recent.counts), grid.rows + 1, grid.cols + 1))
    for sums, values in zip(summed, (recent.counts, recent.usual, recent.spread), strict=True):
        sums[:, 1:, 1:] = values[:, :, category].reshape(-1, grid.rows, grid.cols).cumsum(axis=1).cumsum(axis=2)
    return [_of_shape(summed, rows, cols) for rows, cols in _shapes(grid)]


def _shapes(grid: Grid) -> list[tuple[int, int]]:
    squares = [(side, side) for side in SIDES if side <= min(grid.rows, grid.cols)]
    return [*dict.fromkeys([*squares, (grid.rows, grid.cols)])]


def _of_shape(summed: Floats, rows: int, cols: int) -> _Zones:
    """summed: (3, windows, rows + 1, cols + 1), of all cells south-west of each corner."""
    corners = summed[..., rows:, :] - summed[..., :-rows, :]
    count, usual, spread = corners[..., cols:] - corners[..., :-cols]
    excess, bound = np.maximum(count - usual, 0), np.full(count.shape, np.inf)
    # The deviance of a Poisson count is at most excess**2 / (2 usual), that of a wider one less.
    may_count = (count > LEAST_COUNT - 0.5) & (excess * excess > 2 * _LEAST_NATS * usual)
    bound[may_count] = _bound(count[may_count], *_mean_and_size(usual[may_count], spread[may_count]))
    return _Zones(rows=rows, cols=cols, count=count, usual=usual, spread=spread, bound=bound)


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
    mean, size = _mean_and_size(mean, spread)
    chance = betainc(count, size, mean / (mean + size))
    with np.errstate(divide="ignore"):
        return np.where(chance > 0, np.log(chance), _bound(count, mean, size))


def unusual_places(recent: Recent, grid: Grid, categories: tuple[str, ...]) -> tuple[Unusual, ...]:
    """The least likely zones, the first first: of each category MOST at most, and no two with a cell in common.

    Chance alone shows any of them in the region once in UNUSUAL_DAYS or more seldom.
    """
    places = [place for number, name in enumerate(categories) for place in _of_category(recent, number, name, grid)]
    return tuple(place for _, place in sorted(places, key=lambda with_chance: with_chance[0]))


def _of_category(recent: Recent, number: int, name: str, grid: Grid) -> Iterator[tuple[float, Unusual]]:
    """The least likely zone with the log of its chance, then the next that has no cell in common, and so on.

    Of two that are as likely the one with fewer rows.
    """
    zones = _zones_of(recent, number, grid)
    for _ in range(MOST):
        most = min(of.bound.min() for of in zones) + _SLACK_NATS
        if not np.isfinite(most):
            return
        looked_at = [(of, *of.log_chances(most)) for of in zones]
        firsts = [(float(chances.min()), of.rows, of, at[chances.argmin()]) for of, at, chances in looked_at if len(at)]
        log_chance, _, of, at = min(firsts, key=lambda first: first[:2])
        days = float(once_in_days(np.array(log_chance), recent))
        if days < UNUSUAL_DAYS:
            return
        window, row, col = map(int, np.unravel_index(at, of.count.shape))
        count, usual = float(of.count[window, row, col]), float(of.usual[window, row, col])
        place = Unusual(
            category=name, row=row, col=col, rows=of.rows, cols=of.cols, hours=WINDOWS_S[window] // HOUR_S,
            observed=round(count), usual=float(f"{usual:.4g}"), days=float(f"{days:.2g}"),
        )  # fmt: skip
        yield log_chance, place
        for each in zones:
            each.take(place)


def once_in_days(log_chance: Floats, recent: Recent) -> Floats:
    """(n,) days in which chance alone shows a zone as unlikely as this once, somewhere in the region.

    Zones share cells and windows share time, so that few of a day's looks are new. How many are was found by simulation
    of four grids, and half as many are added (docs/explanation/unusual.md).
    """
    looks = _LOOKS_A_DAY * (recent.usual[0].size + _LARGE)
    return np.asarray(np.exp(np.minimum(-log_chance - np.log(looks), _MOST_LOG_DAYS)))
