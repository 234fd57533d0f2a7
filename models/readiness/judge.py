"""What posts kept of their promise: the share of calls that were within reach, at their real places, after the data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.measures.paired import BLOCK_DAYS, Difference, difference_of
from schemas.spec import DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Shares of the calls, as `question.Shares` promises them of expected ones."""

    within: float
    served: float
    calls: int


def kept(covered: npt.NDArray[np.int64], *, busy: float) -> Kept:
    """covered: (calls,) how many units reached each."""
    return Kept(within=float((covered > 0).mean()), served=float((1 - busy**covered).mean()), calls=len(covered))


def gain(
    covered: npt.NDArray[np.int64],
    other: npt.NDArray[np.int64],
    occurred_s: npt.NDArray[np.int64],
    *,
    busy: float,
) -> Difference:
    """The share that free units of the other posts reach, less that of the first: below 0 the first are better."""
    _, block = np.unique(occurred_s // (BLOCK_DAYS * DAY_S), return_inverse=True)
    return difference_of((busy**covered - busy**other)[None], block, np.random.default_rng(0))
