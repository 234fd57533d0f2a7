"""Following in the order of time, as the stream does it: before each forecast, what has become final is learned."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

from models.following.factors import Following
from models.following.follower import FinalOutcome, Follower
from models.following.score_gain import Integers
from models.following.state import FollowerState
from schemas.left_behind.closed_counts import GRACE_S
from schemas.spec import DAY_S, HOUR_S

CountsOf = Callable[[int, int], Integers | None]  # (cells, categories) of [start, stop); None: it says nothing


def served_delay_s(late_limit_s: int = DAY_S) -> int:
    """From the end of a horizon until the stream has learned its outcome: an hour's factors know what is judged before.

    late_limit_s: of the region's spec.
    """
    return late_limit_s + GRACE_S + HOUR_S


@dataclass(slots=True, kw_only=True)
class SequentialFollowing:
    """A follower on its way through the forecasts of one region.

    counts: what came; it is only asked for what is final. delay_s: from the end of a horizon until it is learned.
    """

    follower: Follower
    counts: CountsOf
    delay_s: int
    state: FollowerState
    _shown: dict[int, tuple[npt.NDArray[np.floating], Following]] = field(default_factory=dict)
    _open: tuple[deque[int], ...] = ()  # of each horizon, ticks whose outcome is not final

    def __post_init__(self) -> None:
        self._open = tuple(deque() for _ in self.follower.spec.horizons_s)

    def next_factors(self, tick_s: int, raw: npt.NDArray[np.floating] | None) -> Following:
        """The factors at a tick after all others.

        raw: (cells, categories, horizons) a network's forecast at it; None where the baseline scored: it is not learned
        from.
        """
        self._learn_until(tick_s - self.delay_s)
        following = self.follower.at(self.state, tick_s)
        if raw is not None:
            self._shown[tick_s] = raw, following
            for ticks in self._open:
                ticks.append(tick_s)
        return following

    def _learn_until(self, end_s: int) -> None:
        """Learn the outcomes of horizons that end by `end_s`, those that end together at once."""
        due = []
        for horizon, (ticks, span_s) in enumerate(zip(self._open, self.follower.spec.horizons_s, strict=True)):
            while ticks and ticks[0] + span_s <= end_s:
                due.append((ticks[0] + span_s, horizon, ticks.popleft()))
        for _, together in groupby(sorted(due), key=lambda ended: ended[0]):
            outcomes = [self._outcome(*ended) for ended in together]
            self.state = self.follower.learn(self.state, [outcome for outcome in outcomes if outcome])
        oldest = min((ticks[0] for ticks in self._open if ticks), default=end_s)
        self._shown = {tick_s: shown for tick_s, shown in self._shown.items() if tick_s >= oldest}

    def _outcome(self, stop_s: int, horizon: int, tick_s: int) -> FinalOutcome | None:
        observed, (raw, following) = self.counts(tick_s, stop_s), self._shown[tick_s]
        if observed is None:
            return None
        return FinalOutcome(
            horizon=horizon, tick_s=tick_s, raw=raw[:, :, horizon], observed=observed, following=following
        )
