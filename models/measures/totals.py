"""Totals: does a forecast expect the right number of incidents, of every category and in every part of the city?"""

from dataclasses import dataclass

import numpy as np

from models.measures.cube import Cube, Floats, Runs, added
from models.measures.districts import districts
from schemas.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Expected and observed incidents of one part."""

    name: str
    forecast: float
    actual: int

    @property
    def ratio(self) -> float:
        """Forecast over actual; nan when nothing was observed."""
        return self.forecast / self.actual if self.actual else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The same incidents, divided in several ways."""

    city: Total
    by_category: tuple[Total, ...]
    by_district: tuple[Total, ...]  # from the south-west, west to east


def totals_of(runs: Runs, cube: Cube) -> Totals:
    """Compare steps of a cube with a forecast of them.

    runs: (steps, cells, categories) expected counts and counts; the cube says which cells and categories these are.
    Raises DataError when the shapes do not agree.
    """
    sums = np.zeros((2, *cube.counts.shape[1:]))  # of the forecast and of what came
    for mean, observed in runs:
        if not mean.shape[1:] == observed.shape[1:] == cube.counts.shape[1:]:
            raise DataError(
                f"forecasts {mean.shape} for counts {observed.shape}",
                remedy="give a forecast for each cell and category",
            )
        sums = added(sums, np.stack([mean, observed], axis=1))
    district = districts(cube.rows, cube.cols)
    in_districts = [sums[:, district == number].sum(axis=(1, 2)) for number in range(district.max() + 1)]
    return Totals(
        city=_total("city", sums.sum(axis=(1, 2))),
        by_category=tuple(map(_total, cube.categories, sums.sum(axis=1).T)),
        by_district=tuple(_total(f"district {number}", pair) for number, pair in enumerate(in_districts, start=1)),
    )


def _total(name: str, pair: Floats) -> Total:
    return Total(name=name, forecast=float(pair[0]), actual=round(pair[1]))
