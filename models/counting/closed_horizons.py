"""Which horizons have closed, and what came in them. Whole hours, so that a sum of the hour level is exact."""

from collections.abc import Iterator

from models.counting.count_state import CountState
from schemas.left_behind.closed_counts import GRACE_S, ClosedHorizon, last_grace_s
from schemas.spec import HOUR_S

MOST_HOURS = 48  # that are judged at once after an outage


def horizons_closed_between(state: CountState, before_s: int) -> Iterator[ClosedHorizon]:
    """Horizons that are to be judged now and were not at `before_s`, the state's clock one batch earlier.

    Each is judged twice: soon after its end, and once more when late reports have come.
    """
    spec, hours = state.spec, state.levels["hour"]
    bins_kept = hours.level.keep
    for grace_s in (GRACE_S, last_grace_s(spec)):
        last = (state.as_of_s - grace_s) // HOUR_S  # the newest hour that is judged by now
        first = max((before_s - grace_s) // HOUR_S + 1, last - MOST_HOURS + 1)
        for end in range(first, last + 1):
            skip = hours.newest - end + 1
            for number, horizon_s in enumerate(spec.horizons_s):
                bins = horizon_s // HOUR_S
                if skip + bins <= bins_kept:
                    yield ClosedHorizon(
                        horizon=number,
                        tick_s=end * HOUR_S - horizon_s,
                        judged_s=end * HOUR_S + grace_s,
                        observed=state.shape(hours.sum_of_newest(bins, skip=skip)),
                    )
