"""Totals: does a forecast expect the right number of incidents, in every part of the city and of the week?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from models.dispersion import Dispersion
from models.measures.cube import Cube, Floats, Runs, added
from schemas.errors import DataError

BANDS = 4  # districts are the fields of a board of at most 4 x 4
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Expected and observed incidents of one part."""

    name: str
    forecast: float
    actual: int
    variance: float  # of the count that the forecast expects: sum of m + m**2 / size

    @property
    def ratio(self) -> float:
        """Forecast over actual; nan when nothing was observed."""
        return self.forecast / self.actual if self.actual else float("nan")

    @property
    def n_test(self) -> float:
        """Probability of a total as far from the forecast, on either side; nan where no cell is scored.

        The N-test of CSEP with the variance of the negative binomial, in the normal approximation. Source: Zechar,
        Gerstenberger and Rhoades, Bulletin of the Seismological Society of America 100, 2010. The variance takes the
        values as independent; a city's good and bad days make the true one larger, so a small probability alone
        says little and the ratio says by how much.
        """
        spread = sqrt(2 * self.variance)
        return erfc(abs(self.actual - self.forecast) / spread) if spread else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The same incidents, divided in several ways."""

    city: Total
    by_category: tuple[Total, ...]
    by_hour: tuple[Total, ...]  # local hour in which a step starts; one row for steps of a day
    by_weekday: tuple[Total, ...]
    by_week: tuple[Total, ...]  # runs of seven days from the first step; the last may be shorter
    by_district: tuple[Total, ...]  # from the south-west, west to east


def totals(runs: Runs, cube: Cube, dispersion: Dispersion) -> Totals:
    """Compare the last steps of a cube with a forecast of them.

    runs: (steps, cells, categories) expected counts and counts, together those of the last steps of `cube`; nothing
    else of its counts is read. dispersion: (categories,). Raises DataError when the shapes do not agree.
    """
    each, by_cell = [], np.zeros((3, *cube.counts.shape[1:]))
    for mean, observed in runs:
        if not mean.shape[1:] == observed.shape[1:] == cube.counts.shape[1:] or dispersion.r.shape != mean.shape[2:]:
            raise DataError(
                f"forecasts {mean.shape} and dispersions {dispersion.r.shape} for counts {observed.shape}",
                remedy="give a forecast for each cell and category, and a dispersion for each category",
            )
        values = np.stack([mean, observed, mean * (1 + dispersion.excess(mean))])  # forecast, actual, variance
        each.append(values.sum(axis=2))
        by_cell = added(by_cell, values.swapaxes(0, 1))
    steps = sum(sums.shape[1] for sums in each)
    if not 0 < steps <= len(cube):
        raise DataError(f"forecasts of {steps} steps for {len(cube)}", "give a forecast for each of the last steps")
    by_step = np.concatenate(each, axis=1)
    hours = cube.hour_of_week[len(cube) - steps :]
    district = districts(cube.rows, cube.cols)
    weekday, week = hours // 24, np.arange(steps) // cube.steps_per_week
    return Totals(
        city=_total("city", by_step.sum(axis=(1, 2))),
        by_category=_groups(by_step.sum(axis=1), np.arange(len(cube.categories)), cube.categories),
        by_hour=_groups(by_step.sum(axis=2), hours % 24, [f"{hour:02d}" for hour in range(24)]),
        by_weekday=_groups(by_step.sum(axis=2), weekday, WEEKDAYS),
        by_week=_groups(by_step.sum(axis=2), week, [f"week {number + 1}" for number in range(week[-1] + 1)]),
        by_district=_groups(by_cell.sum(axis=2), district, [f"district {n + 1}" for n in range(district[-1] + 1)]),
    )


def districts(rows: int, cols: int) -> npt.NDArray[np.int64]:
    """(cells,) the district of each cell, from 0: up to BANDS bands of rows, each cut into up to BANDS pieces."""
    bands, pieces = min(BANDS, rows), min(BANDS, cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.asarray(row * bands // rows * pieces + col * pieces // cols, np.int64)


def _groups(sums: Floats, group: npt.NDArray[np.integer], names: Sequence[str]) -> tuple[Total, ...]:
    """A total for each group that occurs. sums: (3, n) forecast, actual, variance. group: (n,) place in names."""
    return tuple(_total(names[place], sums[:, group == place].sum(axis=1)) for place in np.unique(group))


def _total(name: str, sums: Floats) -> Total:
    return Total(name=name, forecast=float(sums[0]), actual=round(sums[1]), variance=float(sums[2]))
