"""The cube: incidents by step of time, cell and category, on which every forecast is judged. It needs no torch."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
BANDS = 4  # districts are the fields of a board of at most 4 x 4
Runs = Iterable[tuple[AnyFloats, Counts]]  # forecasts and counts of runs of steps, in the order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Cube:
    """Steps stand one behind the other in local time: a step of a day that changes its clock is longer or shorter."""

    counts: Counts  # (steps, cells, categories), as `type_for` says: sums need a wider type
    starts_s: npt.NDArray[np.int64]  # (steps + 1,) epoch seconds; the last one is the end of the last step
    hour_of_week: npt.NDArray[np.int16]  # (steps,) local, at the step's start; 0 is Monday 00:00
    rows: int
    cols: int  # cell = row * cols + col
    cell_m: float
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def steps_per_week(self) -> int:
        """168 for hours, 7 for days."""
        return round(7 * 86_400 / float(np.median(np.diff(self.starts_s))))

    def until(self, step: int) -> "Cube":
        """The steps before `step`."""
        return replace(
            self, counts=self.counts[:step], starts_s=self.starts_s[: step + 1], hour_of_week=self.hour_of_week[:step]
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Cube":
        """The kept steps alone, one behind the other. kept: (steps,)."""
        if chosen.all():
            return self
        starts_s = np.append(self.starts_s[:-1][chosen], self.starts_s[-1])
        return replace(self, counts=self.counts[chosen], starts_s=starts_s, hour_of_week=self.hour_of_week[chosen])


def type_for(most: int) -> np.dtype[np.signedinteger[Any]]:
    """The smallest type of counts that are at most `most`: nearly all are 0 or 1, and there are many of them."""
    return np.min_scalar_type(-most - 1)


def added(total: Floats, rows: npt.NDArray[np.number]) -> Floats:
    """The total and the rows, added one after another: the sum does not depend on how rows are divided among calls.

    total: any one shape; rows: (n, ...) of that shape each.
    """
    total = total.copy()
    for row in rows:
        total += row
    return total


def districts(rows: int, cols: int) -> npt.NDArray[np.int64]:
    """(cells,) the district of each cell, from 0: up to BANDS bands of rows, each cut into up to BANDS pieces."""
    bands, pieces = min(BANDS, rows), min(BANDS, cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.asarray(row * bands // rows * pieces + col * pieces // cols, np.int64)
