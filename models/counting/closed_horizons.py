"""Which horizons have closed, and what came in them. Whole hours, so that a sum of the hour level is exact."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.counting.count_state import CountState
from schemas.spec import HOUR_S, Spec

GRACE_S = HOUR_S  # between the end of a horizon and its first judgement: most reports have come by then
MOST_HOURS = 48  # that are judged at once after an outage


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedHorizon:
    """What came in one horizon that has closed."""

    horizon: int  # place in the spec's horizons
    tick_s: int  # when it began, a whole hour
    judged_s: int  # when this judgement was due
    observed: npt.NDArray[np.int32]  # (cells, categories)


def last_grace_s(spec: Spec) -> int:
    """Between the end of a horizon and its last judgement: what is received later is refused as late.

    A message that was received in time but read later still counts; the judgement does not include it.
    """
    return spec.late_limit_s + GRACE_S


def horizons_closed_between(state: CountState, before_s: int) -> Iterator[ClosedHorizon]:
    """Horizons that are to be judged now and were not at `before_s`, the state's clock one batch earlier.

    Each is judged twice: soon after its end, and once more when late reports have come.
    """
    spec, hours = state.spec, state.levels["hour"]
    kept = hours.level.keep
    for grace_s in (GRACE_S, last_grace_s(spec)):
        last = (state.as_of_s - grace_s) // HOUR_S  # the newest hour that is judged by now
        first = max((before_s - grace_s) // HOUR_S + 1, last - MOST_HOURS + 1)
        for end in range(first, last + 1):
            skip = hours.newest - end + 1
            for number, horizon_s in enumerate(spec.horizons_s):
                if skip + horizon_s // HOUR_S > kept:
                    continue
                yield ClosedHorizon(
                    horizon=number,
                    tick_s=end * HOUR_S - horizon_s,
                    judged_s=end * HOUR_S + grace_s,
                    observed=state.shape(hours.sum_of_newest(horizon_s // HOUR_S, skip=skip)),
                )
