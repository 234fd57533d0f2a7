"""Questions for tests: a reach from pairs of places and points."""

import numpy as np

from models.readiness import Reach


def reach_of(place, point, minutes, *, places, cells):
    """place, point: (n,), in the order of the places."""
    start = np.searchsorted(place, np.arange(places + 1))
    kinds = {"point": np.asarray(point, np.int32), "minutes": np.asarray(minutes, np.float32)}
    return Reach(cells=cells, per_cell=1, start=start, **kinds)
