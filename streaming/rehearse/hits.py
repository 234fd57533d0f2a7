"""How much of what happened lay where it was expected: hit rate at a fixed share of the area."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.measures.ranking import Capture, capture
from schemas.errors import DataError
from schemas.frame import RiskFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRates:
    """Shares of a period's incidents inside equally many cells, chosen three ways. Fractions, 0..1."""

    flagged_cells: int
    active_cells: int
    incidents: int  # in active cells or not
    model: float
    baseline: float
    ideal: float  # the cells that turned out to have the most: nobody can know them beforehand


def hit_rates(frame: RiskFrame, counts: npt.NDArray[np.int32], *, area_share: float) -> HitRates:
    """Hit rates of the frame's longest horizon, all categories together, in `area_share` of the active cells.

    counts: (cells,) incidents that happened in that horizon. Active are cells with any remembered incident. Cells of
    equal values are credited with their mean, as in every ranking of ours. Raises DataError when nothing happened.
    """
    total = int(counts.sum())
    if total == 0:
        raise DataError("no incident in the horizon: there is nothing that could have been hit")
    active = np.flatnonzero((frame.support > 0).any(axis=1))
    flagged = max(1, round(area_share * len(active)))

    def ranked(order_by: npt.NDArray[Any]) -> Capture:
        return capture(order_by[None, active].astype(np.float64), counts[None, active])

    def share(caught: npt.NDArray[np.float64]) -> float:
        return float(caught[:flagged][-1:].sum() / total)  # 0 when no cell is active

    model = ranked(frame.expected[:, :, -1].sum(axis=1))
    baseline = ranked(frame.usual[:, :, -1].sum(axis=1))
    return HitRates(
        flagged_cells=flagged,
        active_cells=len(active),
        incidents=total,
        model=share(model.caught),
        baseline=share(baseline.caught),
        ideal=share(model.ideal),
    )
