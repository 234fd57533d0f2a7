"""How good a forecast is: the figures by which it is judged.

- *Scores*: every value counts, the empty ones too; every figure is given in total and by category.
- *Calibration*: do probabilities, intervals and whole distributions keep their promise?
- *Ranking*: how many of the incidents fall into the cells that a forecast puts first. The area is the cells with any
  history: a rectangle's empty cells would make each share of it larger.
- *Totals*: does a forecast expect the right number of incidents, of every category and in every part of the city?

Incidents are counted in a *cube*, by step of time, cell and category.
Whether one model is better than another, comparison.py says; what came of one forecast, outcomes.py. Pure functions on
arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from models.dispersion import Dispersion, log_scores, poisson_deviance
from models.outcomes import AtShare, Capture, by_places, districts
from schemas.errors import DataError

Counts = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
Runs = Iterable[tuple[AnyFloats, Counts]]  # forecasts and counts of runs of steps, in the order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Cube:
    """Steps stand one behind the other in local time: a step of a day that changes its clock is longer or shorter."""

    counts: Counts  # (steps, cells, categories), as `type_for` says: sums need a wider type
    starts_s: npt.NDArray[np.int64]  # (steps + 1,) epoch seconds; the last one is the end of the last step
    hour_of_week: npt.NDArray[np.int16]  # (steps,) local, at the step's start; 0 is Monday 00:00
    rows: int
    cols: int  # cell = row * cols + col
    cell_m: float
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def steps_per_week(self) -> int:
        """168 for hours, 7 for days."""
        return round(7 * 86_400 / float(np.median(np.diff(self.starts_s))))

    def until(self, step: int) -> "Cube":
        """The steps before `step`."""
        return replace(
            self, counts=self.counts[:step], starts_s=self.starts_s[: step + 1], hour_of_week=self.hour_of_week[:step]
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Cube":
        """The chosen steps alone, one behind the other. chosen: (steps,)."""
        if chosen.all():
            return self
        starts_s = np.append(self.starts_s[:-1][chosen], self.starts_s[-1])
        return replace(self, counts=self.counts[chosen], starts_s=starts_s, hour_of_week=self.hour_of_week[chosen])


def type_for(most: int) -> np.dtype[np.signedinteger[Any]]:
    """The smallest type of counts that are at most `most`: nearly all are 0 or 1, and there are many of them."""
    return np.min_scalar_type(-most - 1)


def added(total: Floats, rows: npt.NDArray[np.number]) -> Floats:
    """The total and the rows, added one after another: the sum does not depend on how rows are divided among calls.

    total: any one shape; rows: (n, ...) of that shape each.
    """
    total = total.copy()
    for row in rows:
        total += row
    return total


PIT_BINS = 20  # so that a 90 % interval is whole bins
RELIABILITY_BINS = 20
PART_VALUES = 1 << 20  # that are put into bins at a time
BUSY = 1.0  # expected incidents from which on a histogram of the PIT notices a wrong forecast
Probabilities = npt.NDArray[np.float32] | Floats
AREA_SHARES = (0.01, 0.05, 0.10, 0.20)
BLOCK_VALUES = 1 << 16  # values that are scored at a time: they fit into a core's cache
MOST = 1e6  # expected incidents of one cell and step
PROPER = ("nb_log_score", "poisson_deviance", "brier")  # smallest on average for the forecast that tells the truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Forecast against observed frequency of "at least one", bins from the lowest probability to the highest."""

    forecast: Floats  # (bins,) mean probability
    observed: Floats  # (bins,) share of values with at least one incident
    values: npt.NDArray[np.int64]  # (bins,) how many values

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over all values of a bin's |observed - forecast|.

        Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities, AAAI 2015; bins of equal mass.
        """
        return float(np.average(np.abs(self.observed - self.forecast), weights=self.values))


def reliability_of(probability: Probabilities, happened: npt.NDArray[np.bool_], *, bins: int) -> Reliability:
    """The table of at most `bins` bins of equally many values. probability, happened: any one shape.

    Equal probabilities share a bin, so ties make fewer and unequal bins; a constant forecast has one.
    """
    flat, came = probability.ravel(), happened.ravel()
    tops = np.unique(np.quantile(flat, np.arange(1, bins + 1) / bins, method="inverted_cdf"))
    forecast = np.zeros(len(tops))
    values, observed = np.zeros((2, len(tops)), np.int64)
    for start in range(0, flat.size, PART_VALUES):
        part = slice(start, start + PART_VALUES)
        bin_of = np.searchsorted(tops, flat[part])  # the first bin whose highest probability is not below
        values += np.bincount(bin_of, minlength=len(tops))
        observed += np.bincount(bin_of[came[part]], minlength=len(tops))
        np.add.at(forecast, bin_of, flat[part])  # one after another, so that the parts' size changes nothing
    return Reliability(forecast=forecast / values, observed=observed / values, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Tallies of a predictive distribution against counts; those of two sets of values add up.

    Counts are small: the plain 90 % interval of a mean of 0.03 is [0, 0] and covers 97 % however good the forecast.
    `coverage_90` is therefore the share of the randomised PIT in [0.05, 0.95], 0.9 for a forecast that is right.
    """

    pit: npt.NDArray[np.int64]  # (20,) histogram of the randomised PIT over 0..1; flat when the forecast is right
    busy: npt.NDArray[np.int64]  # the same of the values with an expected count of at least BUSY

    def __add__(self, other: "Intervals") -> "Intervals":
        return Intervals(pit=self.pit + other.pit, busy=self.busy + other.busy)

    def figures(self) -> dict[str, float]:
        """Coverages by their names in a score sheet."""
        outside, coverages = PIT_BINS // 20, []
        for pit in (self.pit, self.busy):
            coverages.append(float(pit[outside : PIT_BINS - outside].sum() / pit.sum()) if pit.any() else np.nan)
        return dict(zip(("coverage_90", "busy_coverage_90"), coverages, strict=True))


NO_INTERVALS = Intervals(pit=np.zeros(PIT_BINS, np.int64), busy=np.zeros(PIT_BINS, np.int64))


def intervals_of(mean: Floats, counts: Counts, dispersion: Dispersion, uniform: Floats) -> Intervals:
    """Tallies of the negative binomial. mean, counts, uniform: one shape, which the dispersion's is broadcast against.

    The randomised PIT is P(X < y) + u P(X = y), u in `uniform`, drawn from 0..1. Source: Czado, Gneiting
    and Held, Predictive model assessment for count data, Biometrics 65, 2009.
    """
    below, up_to = cumulative(mean, counts, dispersion)
    pit = below + uniform * (up_to - below)
    return Intervals(
        pit=np.histogram(pit, bins=PIT_BINS, range=(0, 1))[0].astype(np.int64),
        busy=np.histogram(pit[mean >= BUSY], bins=PIT_BINS, range=(0, 1))[0].astype(np.int64),
    )


def cumulative(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """P(X < count) and P(X <= count). mean, counts: one shape, which the dispersion's is broadcast against.

    By the incomplete beta function, because scipy's nbdtr cuts the size to a whole number.
    """
    size = np.broadcast_to(dispersion.size(mean), mean.shape)
    share = mean / (size + mean)
    up_to = 1 - betainc(counts + 1.0, size, share)
    below = np.zeros(mean.shape)
    some = counts > 0
    below[some] = 1 - betainc(counts[some], size[some], share[some])
    return below, up_to


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
    coverage_90: float  # by the randomised PIT, see `Intervals`
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
    tallies = []
    for number in range(len(categories)):  # drawn for one behind the other, and read together
        ahead = deepcopy(random)
        ahead.bit_generator.advance(number * steps * cells)  # type: ignore[attr-defined]  # of PCG64, NumPy's default
        tallies.append(_Tally(probability[number], happened[number], dispersion[number], ahead, has_history))
    first = 0
    with ThreadPoolExecutor() as pool:
        for mean, counts in runs:
            low, high = float(mean.min()), float(mean.max())
            if not (low > 0 and high <= MOST):
                raise DataError(
                    f"forecasts reach from {low:g} to {high:g} incidents in a cell and step: the model has failed",
                    remedy=f"keep them above 0 and at most {MOST:g}",
                )
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


def proper_scores(mean: Floats, counts: Counts, dispersion: Dispersion) -> tuple[Floats, Floats]:
    """The scores of PROPER, (3, n), and the probability of at least one incident, (n,).

    mean: (n,) expected counts, > 0. counts: (n,). dispersion: of one place. The log score is in nats, the Brier score
    that of "at least one".
    """
    import torch  # it takes seconds, and rivals that only count reach this file

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
    caught: Capture = reduce(
        add,
        (
            Capture(caught=tally.credit.cumsum(), ideal=tally.most_first.cumsum(), incidents=tally.actual)
            for tally in tallies
        ),
    )
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Expected and observed incidents of one part."""

    name: str
    forecast: float
    actual: int
    ratio: float  # forecast over actual; nan when nothing was observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The same incidents, divided in several ways."""

    city: Total
    by_category: tuple[Total, ...]
    by_district: tuple[Total, ...]  # from the south-west, west to east


def totals_of(runs: Runs, cube: Cube, scored: npt.NDArray[np.bool_]) -> Totals:
    """Compare steps of a cube with a forecast of them. In cells that are not scored nothing is expected or counted.

    runs: (steps, scored cells, categories) expected counts and counts. scored: (cells,) of the cube.
    """
    sums = np.zeros((2, *cube.counts.shape[1:]))  # of the forecast and of what came
    for mean, observed in runs:
        sums[:, scored] = added(sums[:, scored], np.stack([mean, observed], axis=1))
    district = districts(cube.rows, cube.cols)
    in_districts = [sums[:, district == number].sum(axis=(1, 2)) for number in range(district.max() + 1)]
    return Totals(
        city=_total("city", sums.sum(axis=(1, 2))),
        by_category=tuple(map(_total, cube.categories, sums.sum(axis=1).T)),
        by_district=tuple(_total(f"district {number}", pair) for number, pair in enumerate(in_districts, start=1)),
    )


def _total(name: str, pair: Floats) -> Total:
    forecast, actual = float(pair[0]), round(pair[1])
    return Total(name=name, forecast=forecast, actual=actual, ratio=forecast / actual if actual else float("nan"))
