"""The score sheet: the figures of one model, or of one of its categories."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from models.measures.calibration import RELIABILITY_BINS, Intervals, Reliability, reliability
from models.measures.cube import Floats
from models.measures.proper import PROPER
from models.measures.ranking import AREA_SHARES, AtShare, Capture, average_precision


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


def sheet_of(parts: Sequence[Measured]) -> tuple[Sheet, Curves]:
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
        coverage_50=spread.coverage_50,
        coverage_90=spread.coverage_90,
        busy_coverage_90=spread.busy_coverage_90,
        plain_coverage_90=spread.plain_coverage_90,
        width_90=spread.width_90,
        ranking=tuple(caught.at(share) for share in AREA_SHARES),
    )
    return sheet, Curves(reliability=table, pit=spread.pit, capture=caught)
