"""The last hours of a region: what was counted in them, and what is usual."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, span_hours
from models.counting.count_state import CountState
from models.dispersion import AnyFloats, Floats
from schemas.spec import HOUR_S, Spec

WINDOWS_S = (HOUR_S, 2 * HOUR_S, 4 * HOUR_S)  # that end now
Span = tuple[int, int]  # [start, stop), epoch seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Incidents of the last WINDOWS_S: (windows, cells, categories) each."""

    counts: npt.NDArray[np.integer]
    usual: Floats
    spread: Floats  # variance beyond the mean, of each alone
    region_spreads: Floats  # (categories + 1,) of BaselineConstants: what cells have in common
    spread_of_sums: float  # of BaselineConstants: what categories have in common in a cell


def recent_counts(state: CountState) -> npt.NDArray[np.int32]:
    """(windows, cells, categories) incidents of the newest panes, the unfinished one included."""
    panes, taken, sums = state.levels["pane"], 0, [np.zeros(state.levels["pane"].places, np.int32)]
    for window_s in WINDOWS_S:
        more = window_s // panes.level.width_s - taken
        sums.append(sums[-1] + panes.sum_of_newest(more, skip=taken))
        taken += more
    return np.stack([state.shape(of) for of in sums[1:]])


def spans_of(spec: Spec, tick_s: int) -> Sequence[Span]:
    """What `recent_counts` cover until the end of the tick."""
    first_s = tick_s // spec.slide_s * spec.slide_s + spec.slide_s  # of the pane behind the unfinished one
    return [(first_s - window_s, tick_s + spec.tick_s) for window_s in WINDOWS_S]


def recent_of(
    counts: npt.NDArray[np.int32],
    usual: AnyFloats,
    constants: BaselineConstants,
    spec: Spec,
    tick_s: int,
    factors: Floats | None = None,
) -> Recent:
    """The last hours at a tick. counts: of `recent_counts`.

    usual: (cells, categories) of the shortest horizon from the tick on. factors: (cells, categories, windows) on what
    is usual, where forecasts follow a change.
    """
    ahead, *spans = (tick_s, tick_s + spec.horizons_s[0]), *spans_of(spec, tick_s)
    hours = span_hours(constants, [ahead, *spans], spec.timezone)
    before = usual[:, :, None] * (hours[:, :, 1:] / hours[:, :, :1])
    mean = (before if factors is None else before * factors).transpose(2, 0, 1)
    dispersion = constants.dispersion_in_cells(of_network=False)[..., 0]
    spread = mean * dispersion.excess(mean)
    return Recent(
        counts=counts,
        usual=mean,
        spread=spread,
        region_spreads=constants.region_spreads,
        spread_of_sums=float(constants.spread_of_sums.sum()),  # 0 where it was not fitted
    )
