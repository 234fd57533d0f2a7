"""How good a forecast is: the figures by which it is judged.

- *Scores*: every value counts, the empty ones too; every figure is given in total and by category.
- *Calibration*: do probabilities, intervals and whole distributions keep their promise?
- *Ranking*: how many of the incidents fall into the cells that a forecast puts first. The area is the cells with any
  history: a rectangle's empty cells would make each share of it larger.
- *Totals*: does a forecast expect the right number of incidents, of every category and in every part of the city?
- *Outcomes*: what was expected of a horizon against what was observed in it. Forecasts made on the hour are kept; when
  their horizon has ended (`horizons_closed_between` says when) they are judged by the counts of whole hours.

Incidents are counted in a *cube*, by step of time, cell and category.
Whether one model is better than another, comparison.py says. Pure functions on arrays.
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
from scipy.special import betainc, gammaln

from models.baseline import BaselineConstants
from models.dispersion import Dispersion, at_least_one, log_scores, poisson_deviance
from models.nowcast import log_likelihood
from schemas.errors import DataError
from schemas.forecasts import ClosedHorizon, KeptForecast
from schemas.spec import Spec

Counts = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
BANDS = 4  # districts are the fields of a board of at most 4 x 4
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


def districts(rows: int, cols: int) -> npt.NDArray[np.int64]:
    """(cells,) the district of each cell, from 0: up to BANDS bands of rows, each cut into up to BANDS pieces."""
    bands, pieces = min(BANDS, rows), min(BANDS, cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.asarray(row * bands // rows * pieces + col * pieces // cols, np.int64)


PIT_BINS = 20  # so that a 90 % interval is whole bins
RELIABILITY_BINS = 20
PART_VALUES = 1 << 20  # that are put into bins at a time
BUSY = 1.0  # expected incidents from which on a histogram of the PIT notices a wrong forecast
Probabilities = npt.NDArray[np.float32] | Floats
AREA_SHARES = (0.01, 0.05, 0.10, 0.20)
BLOCK_VALUES = 1 << 16  # values that are scored at a time: they fit into a core's cache
MOST = 1e6  # expected incidents of one cell and step
PROPER = ("nb_log_score", "poisson_deviance", "brier")  # smallest on average for the forecast that tells the truth
AREA_PERCENTS = (5, 10)
CHANCES_FROM = (0.0, 0.01, 0.05, 0.2, 0.5)  # lower edges of the bins of P(at least one)
Means = npt.NDArray[np.float32]


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
class AtShare:
    """What flagging a fixed share of the area catches; all nan when there was no incident."""

    area_share: float  # of the cells with any history, as asked for
    cells: int  # flagged in every step: the share in whole cells, at least one
    hit_rate: float  # n/N: caught incidents over all
    ideal_hit_rate: float  # n*/N: of the best choice in hindsight, step by step
    pai: float  # (n/N) / (a/A): Chainey, Tompson and Uhlig, Security Journal 21, 2008. 1 is chance
    pei: float  # n/n*: Hunt, Do crime hot spots move?, 2016. 1 is the best choice in hindsight


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Incidents in the first k cells for every k, summed over steps; those of two sets of steps add up."""

    caught: Floats  # (cells,) [k - 1]: in the k cells of the highest forecast
    ideal: Floats  # (cells,) [k - 1]: in the k cells that turned out to have most
    incidents: float  # those in other cells, too

    def __add__(self, other: "Capture") -> "Capture":
        incidents = self.incidents + other.incidents
        return Capture(caught=self.caught + other.caught, ideal=self.ideal + other.ideal, incidents=incidents)

    def at(self, area_share: float) -> AtShare:
        """The figures at one share of the area."""
        cells, incidents = len(self.caught), self.incidents or np.nan
        flagged = max(1, round(area_share * cells))
        hit_rate, ideal = self.caught[flagged - 1] / incidents, self.ideal[flagged - 1] / incidents
        return AtShare(
            area_share=area_share,
            cells=flagged,
            hit_rate=float(hit_rate),
            ideal_hit_rate=float(ideal),
            pai=float(hit_rate / np.linspace(0, 1, cells + 1)[flagged]),
            pei=float(hit_rate / ideal),
        )


def captured(mean: Floats, counts: Counts) -> Capture:
    """Rank the cells of each step by the forecast. mean, counts: (steps, cells)."""
    credit, most_first = (by_place.sum(axis=0, dtype=np.float64) for by_place in by_places(mean, counts))
    return Capture(caught=credit.cumsum(), ideal=most_first.cumsum(), incidents=float(counts.sum()))


def by_places(mean: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """(steps, cells) incidents in the cells of each step, in the order of the forecast, and the most first.

    Cells of equal forecast stand in no order: each of them is credited with their mean count, which is what a
    random order catches on average. No order of the grid is favoured. mean, counts: (steps, cells).
    """
    order = np.argsort(-mean, axis=1)
    ranked = np.take_along_axis(mean, order, axis=1)
    first_of_ties = np.ones(mean.shape, np.bool_)
    first_of_ties[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    tie = np.cumsum(first_of_ties) - 1  # a number for each set of equals of a step
    incidents = np.bincount(tie, weights=np.take_along_axis(counts, order, axis=1).ravel())
    credit = (incidents / np.bincount(tie))[tie].reshape(mean.shape)
    return credit, np.sort(counts, axis=1)[:, ::-1]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What was expected at a whole hour. (cells, categories, horizons) each."""

    model: str
    expected: Means
    usual: Means
    dispersion: Dispersion  # of `expected`: (categories, horizons), or of each cell (cells, categories, horizons)
    usual_dispersion: Dispersion  # of `usual`
    has_history: npt.NDArray[np.bool_] | None = None  # (cells,) any incident is on record; a trial asks for none
    raw: Means | None = None  # expected by the network alone; None: the same
    raised: Floats | None = None  # (categories, horizons) factors of surges in `expected`; None: there was none

    @classmethod
    def of(
        cls, model: str, expected: Means, usual: Means, constants: BaselineConstants, *, of_network: bool
    ) -> "Forecast":
        """of_network: whether a network expected that; else it is the baseline's."""
        return cls(
            model=model,
            expected=expected,
            usual=usual,
            dispersion=constants.dispersion_in_cells(of_network=of_network),
            usual_dispersion=constants.dispersion_in_cells(of_network=False),
        )

    @classmethod
    def of_kept(cls, stored: KeptForecast) -> "Forecast":
        """The forecast that was kept."""
        return cls(
            model=stored.model,
            expected=stored.expected,
            usual=stored.usual,
            dispersion=Dispersion(r=stored.dispersion, power=stored.dispersion_power),
            usual_dispersion=Dispersion(r=stored.usual_dispersion, power=stored.usual_dispersion_power),
            has_history=None if stored.has_history is None else stored.has_history > 0,
            raw=stored.raw,
            raised=stored.raised,
        )

    def to_keep(self) -> KeptForecast:
        """The form in which the job keeps the forecast."""
        return KeptForecast(
            model=self.model,
            expected=self.expected,
            usual=self.usual,
            dispersion=self.dispersion.r,
            dispersion_power=self.dispersion.power,
            usual_dispersion=self.usual_dispersion.r,
            usual_dispersion_power=self.usual_dispersion.power,
            has_history=None if self.has_history is None else self.has_history.astype(np.uint8),
            raised=self.raised,
        )


def judge(forecast: Forecast, closed: ClosedHorizon, spec: Spec) -> dict[str, dict[str, float]]:
    """What was expected and what came, hits at fixed shares of the area, and proper scores, by category.

    `hits_5` are incidents in the 5 % of the cells with history that were put first, `baseline_hits_5` those of the
    baseline, `ideal_hits_5` of the best choice in hindsight. Without any history all cells take part. Brier score (of
    at least one) and log score (negative binomial, nats) are means over all cells. Where a surge raised the forecast,
    `raised` is its factor, and `unraised` what was expected without it.
    """
    h, by_category = closed.horizon, {}
    has_history = forecast.has_history
    area = np.flatnonzero(has_history if has_history is not None and has_history.any() else np.ones(spec.grid.cells))
    last = {percent: max(1, round(percent / 100 * len(area))) - 1 for percent in AREA_PERCENTS}
    expected, usual = (means[:, :, h].astype(np.float64) for means in (forecast.expected, forecast.usual))
    for c, category in enumerate(spec.categories):
        observed = closed.observed[None, :, c]
        figures = {
            "observed": float(observed.sum()),
            "expected": float(expected[:, c].sum()),
            "usual": float(usual[:, c].sum()),
        }
        for prefix, mean, dispersion in (
            ("", expected[:, c], forecast.dispersion),
            ("baseline_", usual[:, c], forecast.usual_dispersion),
        ):
            of_place = dispersion[..., c, h]
            figures[f"{prefix}brier"] = float(((_chance(mean, of_place) - (observed[0] > 0)) ** 2).mean())
            size = np.asarray(of_place.size(mean), np.float64)
            log_scores_of = gammaln(observed[0] + 1) - log_likelihood(observed[0], mean, size)
            figures[f"{prefix}log_score"] = float(log_scores_of.mean())
            caught = captured(mean[None, area], observed[:, area])
            figures |= {f"{prefix}hits_{percent}": float(caught.caught[cell]) for percent, cell in last.items()}
        figures |= {f"ideal_hits_{percent}": float(caught.ideal[cell]) for percent, cell in last.items()}
        if forecast.raised is not None and (raised := float(forecast.raised[c, h])) > 1:
            figures |= {"raised": raised, "unraised": figures["expected"] / raised}
        by_category[category] = figures
    return by_category


def by_district(forecast: Forecast, closed: ClosedHorizon, spec: Spec) -> Mapping[tuple[str, int], tuple[float, float]]:
    """(category, district) -> expected, observed. Districts are blocks of the grid, from the south-west."""
    district = districts(spec.grid.rows, spec.grid.cols)
    totals = {}
    for c, category in enumerate(spec.categories):
        expected = np.bincount(district, weights=forecast.expected[:, c, closed.horizon])
        observed = np.bincount(district, weights=closed.observed[:, c])
        for number, (mean, count) in enumerate(zip(expected.tolist(), observed.tolist(), strict=True)):
            totals[category, number + 1] = mean, count
    return totals


def by_chance(
    forecast: Forecast, closed: ClosedHorizon, spec: Spec
) -> Mapping[tuple[str, float], tuple[int, float, int]]:
    """(category, where a bin begins) -> cells whose chance of at least one lay in it, their chances' sum, who had one.

    A forecast that is calibrated has as many as its chances add up to. Bins without a cell are left out.
    """
    h, bins_of = closed.horizon, {}
    for c, category in enumerate(spec.categories):
        chance = _chance(forecast.expected[:, c, h], forecast.dispersion[..., c, h])
        bins = np.searchsorted(CHANCES_FROM, chance, side="right") - 1
        for number in np.unique(bins).tolist():
            here = bins == number
            observed = int((closed.observed[here, c] > 0).sum())
            bins_of[category, CHANCES_FROM[number]] = int(here.sum()), float(chance[here].sum()), observed
    return bins_of


def _chance(mean: npt.NDArray[np.floating], dispersion: Dispersion) -> Floats:
    """(cells,) of at least one."""
    return at_least_one(mean.astype(np.float32), dispersion).astype(np.float64)
