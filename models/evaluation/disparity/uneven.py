"""Is one model less even between groups than another? Both forecast the same moments, so their difference is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.comparison import LEAST_BLOCKS, interval_of
from models.cube import Floats
from models.evaluation.disparity.groups import Groups
from models.evaluation.disparity.measure import blocks_of, is_enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Unevenness:
    """Of the groups' observed over expected the largest over the smallest: 1 where all are served alike."""

    model: float
    rival: float
    low: float  # of the 95 % interval of model - rival
    high: float


def compare_evenness(
    groups: Groups, moments_s: Sequence[int], sums: Floats, random: np.random.Generator
) -> Unevenness | None:
    """None where fewer than two groups, or fewer than LEAST_BLOCKS blocks of days, are enough to say anything.

    sums: (moments, 3, groups) what came, what the model expected, and what its rival did.
    """
    enough, block = is_enough(groups, sums[:, 0].sum(axis=0)), blocks_of(moments_s)
    if enough.sum() < 2 or block.max() + 1 < LEAST_BLOCKS:
        return None
    per_block = np.stack([sums[block == number].sum(axis=0) for number in range(block.max() + 1)])[..., enough]

    def both(drawn: Floats) -> tuple[Floats, Floats]:
        came, expected, of_rival = np.moveaxis(drawn, -2, 0)
        return _apart(came / expected), _apart(came / of_rival)

    low, high = interval_of(per_block, lambda drawn: np.subtract(*both(drawn)), random)
    model, rival = both(per_block.sum(axis=0))
    return Unevenness(model=float(model), rival=float(rival), low=low, high=high)


def _apart(ratio: Floats) -> Floats:
    """ratio: (..., groups)."""
    return np.asarray(ratio.max(axis=-1) / ratio.min(axis=-1))
