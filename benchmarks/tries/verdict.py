"""A difference of log scores as the results have it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.measures.paired import difference


def verdict(apart: npt.NDArray[np.float64], block: npt.NDArray[np.int64], mean: float) -> dict[str, Any]:
    """In percent of `mean`, with the 95 % interval; below zero is better.

    apart: (seeds, steps) differences of mean log scores; block: (steps,) the span of days of each step.
    """
    found = difference(apart, block, np.random.default_rng(0))
    percent = {side: round(100 * getattr(found, side) / mean, 4) for side in ("mean", "low", "high")}
    return percent | {"verdict": found.verdict}
