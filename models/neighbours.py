"""Sums over the eight neighbours of every cell."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from schemas.grid import Grid

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
