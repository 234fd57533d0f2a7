"""Parts of a city, to see whether a forecast expects the right number of incidents in each."""

import numpy as np
import numpy.typing as npt

BANDS = 4  # districts are the fields of a board of at most 4 x 4


def districts(rows: int, cols: int) -> npt.NDArray[np.int64]:
    """(cells,) the district of each cell, from 0: up to BANDS bands of rows, each cut into up to BANDS pieces."""
    bands, pieces = min(BANDS, rows), min(BANDS, cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.asarray(row * bands // rows * pieces + col * pieces // cols, np.int64)
