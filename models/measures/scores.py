"""Score a forecast against the counts: every value counts; every figure is given in total and by category."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from models.measures.calibration import RELIABILITY_BINS, Intervals, Reliability, intervals, reliability
from models.measures.cube import Counts, Floats
from models.measures.proper import PROPER, proper_scores
from models.measures.ranking import AREA_SHARES, AtShare, Capture, average_precision, capture
from schemas.errors import DataError

BLOCK_VALUES = 1 << 18  # values that are scored at a time: they fit into a core's cache
MOST = 1e6  # expected incidents of one cell and step


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Means over all values (steps x cells x categories), the empty ones too.

    The predictive distribution is the negative binomial. nan where a figure needs an incident and there was none.
    """

    nb_log_score: float  # minus log probability of the count, nats; smaller is better, as for the next four
    poisson_deviance: float
    crps: float  # incidents
    brier: float  # of "at least one", as the next three
    log_loss: float  # nats
    ece: float
    auc_pr: float  # average precision over all values, categories pooled
    forecast_over_actual: float  # the sum of all forecasts over all incidents
    coverage_50: float  # by the randomised PIT, see calibration.Intervals
    coverage_90: float
    busy_coverage_90: float  # the same where at least one incident is expected
    plain_coverage_90: float
    width_90: float  # incidents
    ranking: tuple[AtShare, ...]  # at each of AREA_SHARES; cells are ranked by step and category


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What the plots that go with a sheet need."""

    reliability: Reliability
    pit: npt.NDArray[np.int64]  # (20,) histogram of the randomised PIT
    capture: Capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one category."""

    proper: Floats  # (5,) means of PROPER
    log_score_sums: Floats  # (steps,) negative binomial log score, summed over cells
    probability: npt.NDArray[np.float32]  # (steps, cells) of at least one incident
    happened: npt.NDArray[np.bool_]  # (steps, cells)
    forecast: float
    actual: int
    intervals: Intervals
    capture: Capture


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
    sheet, curves = _sheet_of(parts)
    return ModelScores(
        sheet=sheet,
        curves=curves,
        by_category={name: _sheet_of([part])[0] for name, part in zip(categories, parts, strict=True)},
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


def _sheet_of(parts: Sequence[Measured]) -> tuple[Sheet, Curves]:
    """The sheet of one category, or of several together."""
    spread: Intervals = reduce(add, (part.intervals for part in parts))
    caught: Capture = reduce(add, (part.capture for part in parts))
    probability = np.stack([part.probability for part in parts])
    happened = np.stack([part.happened for part in parts])
    table = reliability(probability, happened, bins=RELIABILITY_BINS)
    actual = sum(part.actual for part in parts)
    sheet = Sheet(
        **dict(zip(PROPER, np.mean([part.proper for part in parts], axis=0).tolist(), strict=True)),
        ece=table.ece,
        auc_pr=average_precision(probability, happened) if actual else np.nan,
        forecast_over_actual=sum(part.forecast for part in parts) / actual if actual else np.nan,
        **spread.figures(),
        ranking=tuple(caught.at(share) for share in AREA_SHARES),
    )
    return sheet, Curves(reliability=table, pit=spread.pit, capture=caught)
