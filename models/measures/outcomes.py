"""How forecasts turned out: what was expected of a horizon against what was observed in it.

Forecasts made on the hour are kept; when their horizon has ended (models/counting/closed_horizons.py says when) they
are judged by the counts of whole hours. Pure functions on arrays.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.dispersion import Dispersion
from models.likelihood import at_least_one, log_scores
from models.measures.districts import districts
from models.measures.ranking import captured
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.left_behind.kept_forecasts import KeptForecast
from schemas.spec import Spec

AREA_PERCENTS = (5, 10)
CHANCES_FROM = (0.0, 0.01, 0.05, 0.2, 0.5)  # lower edges of the bins of P(at least one)
Counts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Means = npt.NDArray[np.float32]


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
            proper = _proper(mean, observed[0], dispersion[..., c, h])
            figures |= {f"{prefix}{name}": value for name, value in proper}
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


def _proper(mean: Floats, observed: Counts, dispersion: Dispersion) -> Iterator[tuple[str, float]]:
    yield "brier", float(((_chance(mean, dispersion) - (observed > 0)) ** 2).mean())
    yield "log_score", float(log_scores(mean, observed, dispersion).mean())
