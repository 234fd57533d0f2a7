"""Score a forecast against the counts: every value counts; every figure is given in total and by category."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from models.measures.calibration import Intervals, intervals
from models.measures.cube import Counts, Floats
from models.measures.proper import PROPER, proper_scores
from models.measures.ranking import Capture, capture
from models.measures.sheet import Curves, Measured, Sheet, sheet_of
from schemas.errors import DataError

BLOCK_VALUES = 1 << 18  # values that are scored at a time: they fit into a core's cache
MOST = 1e6  # expected incidents of one cell and step


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """All that is measured of one model."""

    sheet: Sheet
    curves: Curves
    by_category: Mapping[str, Sheet]
    log_score_sums: Floats  # (seeds, steps, categories) negative binomial log score, summed over cells


def score(
    mean: Floats, counts: Counts, dispersion: Floats, categories: Sequence[str], random: np.random.Generator
) -> ModelScores:
    """Score one model.

    mean: (steps, cells, categories) expected counts, > 0. counts: of the same shape. dispersion: (categories,) size r
    of the negative binomial, variance = mean + mean**2 / r. random: for the randomised PIT. Raises DataError when
    shapes do not agree, and for a mean or a size that no distribution has.
    """
    _check(mean, counts, dispersion, categories)
    parts = [_measure(mean[:, :, c], counts[:, :, c], float(size), random) for c, size in enumerate(dispersion)]
    sheet, curves = sheet_of(parts)
    return ModelScores(
        sheet=sheet,
        curves=curves,
        by_category={name: sheet_of([part])[0] for name, part in zip(categories, parts, strict=True)},
        log_score_sums=np.stack([part.log_score_sums for part in parts], axis=1)[None],
    )


def _check(mean: Floats, counts: Counts, dispersion: Floats, categories: Sequence[str]) -> None:
    if mean.ndim != 3 or mean.size == 0 or mean.shape != counts.shape:
        raise DataError(
            f"forecasts {mean.shape} for counts {counts.shape}", "give one for each step, cell and category"
        )
    if not dispersion.shape == (len(categories),) == mean.shape[2:]:
        raise DataError(
            f"dispersion {dispersion.shape} and {len(categories)} names for {mean.shape[2]} categories", "give one each"
        )
    low, high = float(mean.min()), float(mean.max())
    if not (low > 0 and high <= MOST):
        raise DataError(
            f"forecasts reach from {low:g} to {high:g} incidents in a cell and step: the model has failed",
            remedy=f"keep them above 0 and at most {MOST:g}",
        )
    if not ((dispersion > 0) & np.isfinite(dispersion)).all():
        raise DataError(f"dispersion {dispersion.tolist()}", "give a size above 0 and finite; a large one is Poisson")
    if counts.min() < 0:
        raise DataError(f"a count of {counts.min()}", remedy="counts must be 0 or more")


def _measure(mean: Floats, counts: Counts, size: float, random: np.random.Generator) -> Measured:
    """mean, counts: (steps, cells)."""
    probability = np.empty(mean.shape, np.float32)
    sums = np.empty((len(PROPER), len(mean)))
    height = max(1, BLOCK_VALUES // mean.shape[1])
    uniform = random.random(mean.shape)

    def block(start: int) -> tuple[Intervals, Capture]:
        steps = slice(start, start + height)
        means, seen = np.array(mean[steps], np.float64, order="C"), np.array(counts[steps], np.int32, order="C")
        scores, chance = proper_scores(means.ravel(), seen.ravel(), size)
        sums[:, steps] = scores.reshape(-1, *means.shape).sum(axis=2)
        probability[steps] = chance.reshape(means.shape)
        return intervals(means.ravel(), seen.ravel(), size, uniform[steps].ravel()), capture(means, seen)

    with ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter
        spreads, captures = zip(*pool.map(block, range(0, len(mean), height)), strict=True)
    return Measured(
        proper=sums.sum(axis=1) / mean.size,
        log_score_sums=sums[PROPER.index("nb_log_score")],
        probability=probability,
        happened=counts > 0,
        forecast=float(mean.sum(dtype=np.float64)),
        actual=int(counts.sum(dtype=np.int64)),
        intervals=reduce(add, spreads),
        capture=reduce(add, captures),
    )
