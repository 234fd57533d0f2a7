"""The areas of which posts are to leave none without a unit: an agency's own, or parts of the grid by the compass."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from schemas.grid import Cells, Floats, Grid

LEAST_PART = 0.01  # of the expected calls: a part of the grid with fewer has no floor; an agency's own area has one
_COMPASS = (("south-west", "south", "south-east"), ("west", "centre", "east"), ("north-west", "north", "north-east"))


def parts_of(grid: Grid) -> dict[str, Cells]:
    """Nine parts of the grid; fewer where it has fewer than three rows or columns.

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=3, cols=3)
    >>> parts_of(grid)["north-west"].tolist()
    [6]
    """
    numbers = np.arange(grid.cells, dtype=np.int32).reshape(grid.rows, grid.cols)
    parts: dict[str, Cells] = {}
    for names, band in zip(_COMPASS, np.array_split(numbers, 3), strict=True):
        parts |= dict(zip(names, map(np.ravel, np.array_split(band, 3, axis=1)), strict=True))
    return {name: cells for name, cells in parts.items() if len(cells)}


def with_enough(
    areas: Mapping[str, Cells], expected: Floats, has_history: npt.NDArray[np.bool_], *, least: float
) -> dict[str, Cells]:
    """Those with history and `least` of the expected calls. expected, has_history: (cells,)."""
    enough = least * expected.sum()
    return {
        name: cells for name, cells in areas.items() if has_history[cells].any() and expected[cells].sum() >= enough
    }
