"""Score a forecast against the counts: every value counts; every figure is given in total and by category."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import torch

from models.dispersion import Dispersion
from models.likelihood import log_scores, poisson_deviance
from models.measures.calibration import (
    NO_INTERVALS,
    RELIABILITY_BINS,
    Intervals,
    Reliability,
    intervals_of,
    reliability_of,
)
from models.measures.cube import AnyFloats, Counts, Floats, Runs, added
from models.measures.ranking import AREA_SHARES, AtShare, Capture, by_places, capture_of
from schemas.errors import DataError

BLOCK_VALUES = 1 << 16  # values that are scored at a time: they fit into a core's cache
MOST = 1e6  # expected incidents of one cell and step
PROPER = ("nb_log_score", "poisson_deviance", "brier")  # smallest on average for the forecast that tells the truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Means over all values (steps x cells x categories), the empty ones too.

    The predictive distribution is the negative binomial. nan where a figure needs an incident and there was none.
    """

    nb_log_score: float  # minus log probability of the count, nats; smaller is better, as for the next two
    poisson_deviance: float
    brier: float  # of "at least one", as the next
    ece: float
    forecast_over_actual: float  # the sum of all forecasts over all incidents
    coverage_90: float  # by the randomised PIT, see calibration.Intervals
    busy_coverage_90: float  # the same where at least one incident is expected
    ranking: tuple[AtShare, ...]  # at each of AREA_SHARES; cells are ranked by step and category


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """All that is measured of one model."""

    sheet: Sheet
    reliability: Reliability  # over all categories
    by_category: Mapping[str, Sheet]
    log_score_sums: Floats  # (seeds, steps, categories) negative binomial log score, summed over cells


def score(
    runs: Runs,
    dispersion: Dispersion,
    categories: Sequence[str],
    random: np.random.Generator,
    *,
    steps: int,
    has_history: npt.NDArray[np.bool_],
) -> ModelScores:
    """Score one model.

    runs: (n, cells, categories) expected counts, > 0, and counts, `steps` of them together; how long the runs are
    changes nothing. dispersion: (categories,). random: for the randomised PIT. has_history: (cells,) those among which
    cells are put first. Raises DataError for a mean that no distribution has.
    """
    cells = len(has_history)
    probability = np.empty((len(categories), steps, cells), np.float32)
    happened = np.empty(probability.shape, np.bool_)
    tallies = [
        _Tally(
            probability[number],
            happened[number],
            dispersion[number],
            _ahead(random, number * steps * cells),
            has_history,
        )
        for number in range(len(categories))
    ]
    first = 0
    with ThreadPoolExecutor() as pool:
        for mean, counts in runs:
            _refuse_failed(mean)
            for number, tally in enumerate(tallies):
                tally.add(first, mean[:, :, number], counts[:, :, number], pool)
            first += len(mean)
    sheet, table = _sheet_of(tallies, probability, happened)
    by_category = {
        name: _sheet_of(tallies[place : place + 1], probability[place : place + 1], happened[place : place + 1])[0]
        for place, name in enumerate(categories)
    }
    return ModelScores(
        sheet=sheet,
        reliability=table,
        by_category=by_category,
        log_score_sums=np.stack([tally.sums[PROPER.index("nb_log_score")] for tally in tallies], axis=1)[None],
    )


def _ahead(random: np.random.Generator, draws: int) -> np.random.Generator:
    """A copy that goes on `draws` numbers later: categories are drawn for one behind the other, and read together."""
    ahead = deepcopy(random)
    ahead.bit_generator.advance(draws)  # type: ignore[attr-defined]  # of PCG64, NumPy's default
    return ahead


def _refuse_failed(mean: AnyFloats) -> None:
    low, high = float(mean.min()), float(mean.max())
    if not (low > 0 and high <= MOST):
        raise DataError(
            f"forecasts reach from {low:g} to {high:g} incidents in a cell and step: the model has failed",
            remedy=f"keep them above 0 and at most {MOST:g}",
        )


def proper_scores(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """The scores of PROPER, (3, n), and the probability of at least one incident, (n,).

    mean: (n,) expected counts, > 0. counts: (n,). dispersion: of one place. The log score is in nats, the Brier score
    that of "at least one".
    """
    log_mean, observed = torch.from_numpy(mean).log(), torch.from_numpy(counts).double()
    probability = -np.expm1(-dispersion.size(mean) * np.log1p(dispersion.excess(mean)))
    deviance, brier = poisson_deviance(log_mean, observed).numpy(), (probability - (counts > 0)) ** 2
    return np.stack([log_scores(mean, counts, dispersion), deviance, brier]), probability


class _Tally:
    """What is measured of one category, run of steps by run of steps; how long the runs are changes nothing."""

    def __init__(
        self,
        probability: npt.NDArray[np.float32],
        happened: npt.NDArray[np.bool_],
        dispersion: Dispersion,
        random: np.random.Generator,
        has_history: npt.NDArray[np.bool_],
    ) -> None:
        """probability, happened: (steps, cells) of at least one incident, to be filled. random: for the PIT."""
        self.probability, self.happened, self.random = probability, happened, random
        self.has_history = has_history
        self.dispersion = dispersion
        self.sums = np.empty((len(PROPER), len(probability)))
        self.forecast, self.actual = np.empty(len(probability)), 0
        self.intervals = NO_INTERVALS
        self.credit, self.most_first = np.zeros((2, int(has_history.sum())))

    def add(self, first: int, mean: AnyFloats, counts: Counts, pool: ThreadPoolExecutor) -> None:
        """mean, counts: (steps, cells), from step `first` on."""
        height = max(1, BLOCK_VALUES // mean.shape[1])
        uniform = self.random.random(mean.shape)

        def block(start: int) -> tuple[Intervals, tuple[Floats, Counts]]:
            part, here = slice(start, start + height), slice(first + start, min(start + height, len(mean)) + first)
            means, observed = np.array(mean[part], np.float64, order="C"), np.array(counts[part], np.int32, order="C")
            scores, chance = proper_scores(means.ravel(), observed.ravel(), self.dispersion)
            self.sums[:, here] = scores.reshape(-1, *means.shape).sum(axis=2)
            self.probability[here] = chance.reshape(means.shape)
            self.happened[here] = observed > 0
            self.forecast[here] = means.sum(axis=1)
            spread = intervals_of(means, observed, self.dispersion, uniform[part])
            return spread, by_places(means[:, self.has_history], observed[:, self.has_history])

        for spread, (credit, most_first) in pool.map(block, range(0, len(mean), height)):  # NumPy frees the interpreter
            self.intervals += spread
            self.credit, self.most_first = added(self.credit, credit), added(self.most_first, most_first)
        self.actual += int(counts.sum(dtype=np.int64))


def _sheet_of(
    tallies: Sequence[_Tally], probability: npt.NDArray[np.float32], happened: npt.NDArray[np.bool_]
) -> tuple[Sheet, Reliability]:
    """The sheet of one category, or of several together. probability, happened: (categories, steps, cells)."""
    spread: Intervals = reduce(add, (tally.intervals for tally in tallies))
    captures = (capture_of(tally.credit, tally.most_first, tally.actual) for tally in tallies)
    caught: Capture = reduce(add, captures)
    table = reliability_of(probability, happened, bins=RELIABILITY_BINS)
    actual = sum(tally.actual for tally in tallies)
    forecast = sum(float(tally.forecast.sum()) for tally in tallies)
    proper = np.mean([tally.sums.sum(axis=1) / tally.probability.size for tally in tallies], axis=0)
    sheet = Sheet(
        **dict(zip(PROPER, proper.tolist(), strict=True)),
        ece=table.ece,
        forecast_over_actual=forecast / actual if actual else np.nan,
        **spread.figures(),
        ranking=tuple(caught.at(share) for share in AREA_SHARES),
    )
    return sheet, table
