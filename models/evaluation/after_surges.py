"""The hours after a surge, apart: an average over all hours hides the few nights for which a live forecast is there.

A surge is defined before, by counts alone: in the last hour the whole region had SURGE standard deviations more than
is usual, by Poisson's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from models.comparison import day_blocks, ratio_of
from models.cube import Floats, Runs
from models.measures import captured
from models.nowcast import LastHours, log_likelihood
from models.training.fit_nowcast import JUDGED_SIZE

SURGE = 4.0
AREA_SHARE = 0.05  # of the cells, that are put first
LEAST_SURGES = 5  # steps; fewer say nothing
MOVED = 0.1  # of the forecast, that is worth counting


def is_surge(lately: Sequence[LastHours]) -> npt.NDArray[np.bool_]:
    """(steps,) whether each begins after a surge. lately: what was known at the begin of each."""
    came, usual = np.array([(at.came_1h.sum(), at.usual_1h.sum()) for at in lately]).T
    return np.asarray(came - usual > SURGE * np.sqrt(usual))


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeFigures:
    """A model in the judged steps: (kept steps,) each, of the whole region."""

    forecast: Floats
    came: Floats
    region_score: Floats  # nats
    hits: Floats  # incidents in the AREA_SHARE of the cells that are put first
    after: npt.NDArray[np.bool_]  # whether it begins after a surge

    @classmethod
    def of(cls, runs: Runs, after: npt.NDArray[np.bool_]) -> "SurgeFigures":
        """runs: (n, cells, categories) forecasts and counts. after: (steps,) of all runs together."""
        sums: list[list[Floats]] = []
        for mean, counts in runs:
            caught, cells = list[float](), max(1, round(AREA_SHARE * mean.shape[1]))
            for of_mean, of_counts in zip(mean.sum(axis=2), counts.sum(axis=2), strict=True):
                caught.append(float(captured(of_mean[None], of_counts[None]).caught[cells - 1]))
            sums.append([*(of.sum(axis=(1, 2), dtype=np.float64) for of in (mean, counts)), np.array(caught)])
        expected, came, hits = (np.concatenate(of) for of in zip(*sums, strict=True))
        return cls(
            forecast=expected,
            came=came,
            region_score=gammaln(came + 1) - log_likelihood(came, expected, JUDGED_SIZE),
            hits=hits,
            after=after,
        )

    @classmethod
    def joined(cls, parts: Sequence["SurgeFigures"]) -> "SurgeFigures":
        """Those of several origins, one behind the other."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeRow:
    """A model after surges, over all origins. Percents are of the plain network's score; below zero is better.

    Where fewer than LEAST_SURGES steps begin after a surge, what is of them alone is nan.
    """

    model: str
    steps: int  # after a surge
    came: float  # mean of a step
    forecast: float
    forecast_over_actual: float
    low: float  # of its 95 % interval
    high: float
    region_percent: float  # log score of the region's total
    cells_percent: float  # log score of the cells
    cells_low: float
    cells_high: float
    hits: float  # share of the incidents
    all_region_percent: float  # over all judged steps, as the next
    all_cells_percent: float
    moved: float  # share of all steps whose forecast differs from the plain network's by more than MOVED


def surge_rows(
    origins: Sequence[Mapping[str, tuple[SurgeFigures, Floats]]], beside: str, *, steps_per_week: int, seed: int
) -> tuple[SurgeRow, ...]:
    """A row for each model.

    origins: of each, by model, its figures and (kept steps,) log score of the cells, nats. beside: the plain network.
    """
    figures = {model: SurgeFigures.joined([of[model][0] for of in origins]) for model in origins[0]}
    cells = {model: np.concatenate([of[model][1] for of in origins]) for model in origins[0]}
    after = figures[beside].after
    enough = after.sum() >= LEAST_SURGES
    block = day_blocks(*(len(of[beside][1]) for of in origins), steps_per_week=steps_per_week)
    _, of_surges = np.unique(block[after], return_inverse=True)
    plain, plain_cells = figures[beside], cells[beside]
    rows = []
    for model, of in figures.items():
        ratio = cells_gain = (np.nan, np.nan, np.nan)
        if enough:
            ratio = ratio_of(of.forecast[after], of.came[after], of_surges, np.random.default_rng(seed))
            gain = ratio_of(cells[model][after], plain_cells[after], of_surges, np.random.default_rng(seed))
            cells_gain = 100 * (gain[0] - 1), 100 * (gain[1] - 1), 100 * (gain[2] - 1)
        rows.append(
            SurgeRow(
                model=model,
                steps=int(after.sum()),
                came=float(of.came[after].mean()) if enough else np.nan,
                forecast=float(of.forecast[after].mean()) if enough else np.nan,
                forecast_over_actual=ratio[0],
                low=ratio[1],
                high=ratio[2],
                region_percent=_percent(of.region_score[after], plain.region_score[after]) if enough else np.nan,
                cells_percent=cells_gain[0],
                cells_low=cells_gain[1],
                cells_high=cells_gain[2],
                hits=float(of.hits[after].sum() / max(of.came[after].sum(), 1.0)) if enough else np.nan,
                all_region_percent=_percent(of.region_score, plain.region_score),
                all_cells_percent=_percent(cells[model], plain_cells),
                moved=float((np.abs(of.forecast / plain.forecast - 1) > MOVED).mean()),
            )
        )
    return tuple(rows)


def _percent(score: Floats, plain: Floats) -> float:
    return float(100 * (score.sum() / plain.sum() - 1))
