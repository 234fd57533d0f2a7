"""What a forecast expected of a horizon against what was observed in it: hits, proper scores, districts, chances.

Forecasts made on the hour are kept; when their horizon has ended (`horizons_closed_between` says when) they are judged
by the counts of whole hours. How good a model is over many horizons, measures.py says. Pure functions on arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from models.baseline import BaselineConstants
from models.dispersion import Dispersion, at_least_one
from models.nowcast import log_likelihood
from schemas.forecasts import ClosedHorizon, KeptForecast
from schemas.spec import Spec

Counts = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]
Means = npt.NDArray[np.float32]
BANDS = 4  # districts are the fields of a board of at most 4 x 4
AREA_PERCENTS = (5, 10)
CHANCES_FROM = (0.0, 0.01, 0.05, 0.2, 0.5)  # lower edges of the bins of P(at least one)


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
class Forecast:
    """What was expected at a whole hour. (cells, categories, horizons) each."""

    model: str
    expected: Means
    usual: Means
    dispersion: Dispersion  # of `expected`: (categories, horizons), or of each cell (cells, categories, horizons)
    usual_dispersion: Dispersion  # of `usual`
    has_history: npt.NDArray[np.bool_] | None = (
        None  # (cells,) whether any incident is on record; a trial asks for none
    )
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


def districts(rows: int, cols: int) -> npt.NDArray[np.int64]:
    """(cells,) the district of each cell, from 0: up to BANDS bands of rows, each cut into up to BANDS pieces."""
    bands, pieces = min(BANDS, rows), min(BANDS, cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.asarray(row * bands // rows * pieces + col * pieces // cols, np.int64)


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
