"""Totals: does a forecast expect the right number of incidents, of every category and in every part of the city?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.measures.cube import Cube, Floats, Runs, added
from models.measures.districts import districts


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Expected and observed incidents of one part."""

    name: str
    forecast: float
    actual: int
    ratio: float  # forecast over actual; nan when nothing was observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The same incidents, divided in several ways."""

    city: Total
    by_category: tuple[Total, ...]
    by_district: tuple[Total, ...]  # from the south-west, west to east


def totals_of(runs: Runs, cube: Cube, scored: npt.NDArray[np.bool_]) -> Totals:
    """Compare steps of a cube with a forecast of them. In cells that are not scored nothing is expected or counted.

    runs: (steps, scored cells, categories) expected counts and counts. scored: (cells,) of the cube.
    """
    sums = np.zeros((2, *cube.counts.shape[1:]))  # of the forecast and of what came
    for mean, observed in runs:
        sums[:, scored] = added(sums[:, scored], np.stack([mean, observed], axis=1))
    district = districts(cube.rows, cube.cols)
    in_districts = [sums[:, district == number].sum(axis=(1, 2)) for number in range(district.max() + 1)]
    return Totals(
        city=_total("city", sums.sum(axis=(1, 2))),
        by_category=tuple(map(_total, cube.categories, sums.sum(axis=1).T)),
        by_district=tuple(_total(f"district {number}", pair) for number, pair in enumerate(in_districts, start=1)),
    )


def _total(name: str, pair: Floats) -> Total:
    forecast, actual = float(pair[0]), round(pair[1])
    return Total(name=name, forecast=forecast, actual=actual, ratio=forecast / actual if actual else float("nan"))
