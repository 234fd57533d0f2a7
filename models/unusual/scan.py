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
_LOOKS_A_DAY, _LARGE = 35.0, 300  # new looks at each cell and category, and as many as at _LARGE more at large zones
_MOST_LOG_DAYS = np.log(36_500.0)  # a hundred years: no figure beyond means anything
_ALMOST_POISSON = 1e-6  # spread over the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """(n,) each: squares of cells within a window, the south-western cell at row and col, and what is in them."""

    window: npt.NDArray[np.intp]
    category: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    col: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]
    count: Floats
    usual: Floats
    log_chance: Floats  # of so many or more


def surprising(recent: Recent, grid: Grid) -> Zones:
    """The zones that are less likely than exp(-_LEAST_NATS), in no order."""
    summed = np.stack([_summed(of, grid) for of in (recent.counts.astype(np.float64), recent.usual, recent.spread)])
    parts = [_of_shape(summed, rows, cols) for rows, cols in _shapes(grid)]
    return Zones(**{name: np.concatenate([part[name] for part in parts]) for name in Zones.__slots__})


def _shapes(grid: Grid) -> list[tuple[int, int]]:
    squares = [(side, side) for side in SIDES if side <= min(grid.rows, grid.cols)]
    return [*dict.fromkeys([*squares, (grid.rows, grid.cols)])]


def _summed(values: Floats, grid: Grid) -> Floats:
    """(windows, category, rows + 1, cols + 1) sums over all cells south-west of each corner."""
    by_category = values.transpose(0, 2, 1).reshape(len(values), values.shape[2], grid.rows, grid.cols)
    return np.pad(by_category, [(0, 0), (0, 0), (1, 0), (1, 0)]).cumsum(axis=2).cumsum(axis=3)


def _of_shape(summed: Floats, rows: int, cols: int) -> dict[str, npt.NDArray[np.generic]]:
    corners = summed[..., rows:, :] - summed[..., :-rows, :]
    counts, usual, spread = corners[..., cols:] - corners[..., :-cols]
    excess = counts - usual
    # The deviance of a Poisson count is at most excess**2 / (2 usual), that of a wider one less.
    at = np.nonzero((counts > LEAST_COUNT - 0.5) & (excess * excess > 2 * _LEAST_NATS * usual))
    count, mean = np.rint(counts[at]), usual[at]
    log_chance = log_chance_of(count, mean, np.maximum(spread[at], 0))
    is_seldom = log_chance < -_LEAST_NATS
    window, category, row, col = (axis[is_seldom] for axis in at)
    return {
        "window": window, "category": category, "row": row, "col": col, "rows": np.full(len(row), rows),
        "cols": np.full(len(row), cols), "count": count[is_seldom], "usual": mean[is_seldom],
        "log_chance": log_chance[is_seldom],
    }  # fmt: skip


def log_chance_of(count: Floats, mean: Floats, spread: Floats) -> Floats:
    """(n,) log of the chance of `count` or more, of the negative binomial with that mean and variance mean + spread.

    Where the chance is below the smallest number, its bound by Chernoff is given.
    """
    mean, size = np.maximum(mean, 1e-12), mean**2 / np.maximum(spread, _ALMOST_POISSON * mean)
    chance = betainc(count, size, mean / (mean + size))
    bound = (count + size) * np.log((count + size) / (mean + size)) - count * np.log(count / mean)
    with np.errstate(divide="ignore"):
        return np.where(chance > 0, np.log(chance), bound)


def unusual_places(recent: Recent, grid: Grid, categories: tuple[str, ...]) -> tuple[Unusual, ...]:
    """The least likely zones, the first first: of each category MOST at most, and no two with a cell in common.

    Chance alone shows any of them in the region once in UNUSUAL_DAYS or more seldom.
    """
    zones = surprising(recent, grid)
    days = once_in_days(zones.log_chance, recent)
    seldom = np.flatnonzero(days >= UNUSUAL_DAYS)
    order = seldom[np.lexsort((zones.rows[seldom], zones.log_chance[seldom]))]
    apart = [at for number in range(len(categories)) for at in _apart(zones, order[zones.category[order] == number])]
    apart.sort(key=lambda at: float(zones.log_chance[at]))
    return tuple(_unusual(zones, at, categories[zones.category[at]], float(days[at])) for at in apart)


def _apart(zones: Zones, order: npt.NDArray[np.intp]) -> Iterator[int]:
    """The first zone, then the next that has no cell with it in common, and so on."""
    for _ in range(MOST):
        if not len(order):
            return
        first = order[0]
        yield int(first)
        shares = np.ones(len(order), bool)
        for start, length in ((zones.row, zones.rows), (zones.col, zones.cols)):
            ends = start[order] + length[order]
            shares &= (start[order] < start[first] + length[first]) & (ends > start[first])
        order = order[~shares]


def _unusual(zones: Zones, at: int, category: str, days: float) -> Unusual:
    row, col, rows, cols = (int(of[at]) for of in (zones.row, zones.col, zones.rows, zones.cols))
    return Unusual(
        category=category, row=row, col=col, rows=rows, cols=cols, hours=WINDOWS_S[zones.window[at]] // HOUR_S,
        observed=int(zones.count[at]), usual=float(f"{zones.usual[at]:.4g}"), days=float(f"{days:.2g}"),
    )  # fmt: skip


def once_in_days(log_chance: Floats, recent: Recent) -> Floats:
    """(n,) days in which chance alone shows a zone as unlikely as this once, somewhere in the region.

    Zones share cells and windows share time, so that few of a day's looks are new. How many are was found by simulation
    of four grids, and half as many are added (docs/explanation/unusual.md).
    """
    looks = _LOOKS_A_DAY * (recent.usual[0].size + _LARGE)
    return np.asarray(np.exp(np.minimum(-log_chance - np.log(looks), _MOST_LOG_DAYS)))
