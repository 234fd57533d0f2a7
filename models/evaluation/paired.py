"""Is one model better than another? Both forecast the same steps, so their difference is judged step by step."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.cube import Floats

BLOCK_DAYS = 3  # at hourly and daily steps alike: errors of neighbouring days are alike, by 0.3 on Chicago's days
LEAST_BLOCKS = 10  # fewer say nothing about how much one block differs from another
RESAMPLES = 2000
LEVELS = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of two models' mean log scores, nats per value; below zero the first is better."""

    mean: float
    low: float  # of the 95 % interval
    high: float
    blocks: int
    verdict: str  # better, worse, tie or too short, of the first


def compare(
    model: Floats,
    rival: Floats,
    *,
    values: int,
    steps_per_week: int,
    random: np.random.Generator,
    block_days: int = BLOCK_DAYS,
) -> Difference:
    """Compare log scores that were summed over the `values` values (cells x categories) of each step.

    model, rival: (steps,) sums, nats. The same `random` state for every pair makes the pairs comparable.
    """
    per_value = (model - rival) / values
    block = day_blocks(len(per_value), steps_per_week=steps_per_week, block_days=block_days)
    low, high = block_bootstrap(per_value, block, random)
    blocks = int(block[-1]) + 1
    return Difference(
        mean=float(per_value.mean()), low=low, high=high, blocks=blocks, verdict=verdict(low, high, blocks)
    )


def day_blocks(steps: int, *, steps_per_week: int, block_days: int = BLOCK_DAYS) -> npt.NDArray[np.int64]:
    """(steps,) the block of each step, from 0: runs of `block_days` days, at least one step each."""
    return np.arange(steps) // max(1, round(block_days * steps_per_week / 7))


def block_bootstrap(per_step: Floats, block: npt.NDArray[np.int64], random: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the mean over steps, by drawing whole blocks with replacement.

    per_step: (steps,). block: (steps,) number of each step's block, from 0, none left out. Source: block bootstrap
    with fixed blocks, Carlstein, Annals of Statistics 14, 1986; percentile interval, Efron 1979.
    """
    sums, steps = np.bincount(block, weights=per_step), np.bincount(block)
    draws = random.integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.percentile(sums[draws].sum(axis=1) / steps[draws].sum(axis=1), LEVELS)
    return float(low), float(high)


def verdict(low: float, high: float, blocks: int) -> str:
    """The interval of a difference of scores in words."""
    if blocks < LEAST_BLOCKS:
        return "too short"
    return "better" if high < 0 else "worse" if low > 0 else "tie"
