"""What each group had of the forecasts of one horizon, moment by moment: sums, in which no single cell is left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.artifact import Artifact
from models.cube import AnyFloats, Floats
from models.evaluation.disparity.groups import Groups
from models.features import FeatureEngine
from models.scoring import means
from models.training.replay import IncidentHistory, Replay
from schemas.errors import DataError
from schemas.spec import DAY_S, HOUR_S

SUMS = (
    *("expected", "observed", "top", "missed", "false_alarms", "top_usual", "top_of_both", "after_a_day"),
    *("still_in_top", "top_less", "top_more"),
)
REPORTING = 0.2  # how much less, and more, one group is taken to report
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class GroupTally:
    """Forecasts of a horizon, in the order of time. Each series is a category, or all of them together."""

    groups: Groups
    horizon_s: int
    top: int  # cells that are put first at each moment
    moments_s: list[int] = field(default_factory=list)
    sums: list[Floats] = field(default_factory=list)  # of each moment, (SUMS, groups, series)
    moments_in_top: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series)
    stay: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series) moments that it now lasts
    longest: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series) moments
    tops: dict[int, Mask] = field(default_factory=dict)  # of the newest day, by moment

    def add(self, tick_s: int, expected: AnyFloats, usual: AnyFloats, observed: AnyFloats) -> None:
        """expected, usual, observed: (cells, series)."""
        members, first = self.groups.members, top_of(expected, self.top)
        less, more = (self._otherwise(expected, members, 1 + sign * REPORTING) for sign in (-1, 1))
        of_usual, a_day_ago = top_of(usual, self.top), self.tops.get(tick_s - DAY_S)
        since = np.zeros_like(first) if a_day_ago is None else first  # of them, a day ago is known
        still = np.zeros_like(first) if a_day_ago is None else first & a_day_ago
        wrong = (observed * ~first, first & (observed == 0))
        parts = (expected, observed, first, *wrong, of_usual, first & of_usual, since, still)
        self.tops = {at_s: top for at_s, top in self.tops.items() if at_s > tick_s - DAY_S} | {tick_s: first}
        self.sums.append(np.stack([*(members @ part for part in parts), less, more]))
        is_next = self.moments_s and tick_s == self.moments_s[-1] + self.horizon_s
        self.stay = np.where(first, self.stay * bool(is_next) + 1, 0.0)
        self.longest = np.maximum(self.longest, self.stay)
        self.moments_in_top = self.moments_in_top + first
        self.moments_s.append(tick_s)

    def _otherwise(self, expected: AnyFloats, members: Floats, reported: float) -> Floats:
        """(groups, series) cells of each group in the top, if it alone had reported so much of what it did."""
        scaled = (np.where(of_group[:, None] > 0, reported * expected, expected) for of_group in members)
        return np.stack([of @ top_of(mean, self.top) for of, mean in zip(members, scaled, strict=True)])


def top_of(mean: AnyFloats, cells: int) -> Mask:
    """(cells, series) whether a cell is among the first of its series; of equal ones the first in the grid is.

    >>> top_of(np.array([[0.1], [0.3], [0.2]]), 2).ravel().tolist()
    [False, True, True]
    """
    first = np.zeros(mean.shape, np.bool_)
    np.put_along_axis(first, np.argsort(-mean, axis=0, kind="stable")[:cells], values=True, axis=0)
    return first


def with_all(values: npt.NDArray[np.number]) -> Floats:
    """(cells, categories) and behind them their sum. With one category there is no other series."""
    wide = values.astype(np.float64)
    return np.concatenate([wide, wide.sum(axis=1, keepdims=True)], axis=1) if wide.shape[1] > 1 else wide


def tallies_of(
    artifact: Artifact, past: IncidentHistory, groups: Groups, share: float, tell: Callable[[float], object]
) -> Mapping[str, GroupTally]:
    """By the name of a horizon, from the artifact's cut-off to the end of the past, one behind the other.

    share: that is put first, of the cells with any history. Raises DataError when nothing can be judged.
    """
    spec, network, state = past.spec, artifact.network(), artifact.history()
    engine, replay = FeatureEngine(spec, artifact.constants), Replay(past, state=state)
    start_s = -(-state.as_of_s // HOUR_S) * HOUR_S
    cells = max(1, round(share * int((engine.compute(state).support > 0).any(axis=1).sum())))
    moments = {
        number: set(past.clear_of_cuts(range(start_s, past.cutoff_s - horizon_s + 1, horizon_s), horizon_s))
        for number, horizon_s in enumerate(spec.horizons_s)
    }
    tallies = {number: GroupTally(groups=groups, horizon_s=spec.horizons_s[number], top=cells) for number in moments}
    ticks = sorted(set[int]().union(*moments.values()))
    if not ticks:
        raise DataError("no hour lies after the artifact's data", "give a file that goes on, or an older artifact")
    for place, tick_s in enumerate(ticks):
        usual, expected = means(engine.compute(replay.lead_to(tick_s)).values, network, spec)
        for number in (number for number, of_horizon in moments.items() if tick_s in of_horizon):
            observed = past.counts(tick_s, tick_s + spec.horizons_s[number])
            forecast, without = (with_all(mean[:, :, number]) for mean in (expected, usual))
            tallies[number].add(tick_s, forecast, without, with_all(observed))
        tell((place + 1) / len(ticks))
    return {spec.horizon_names[number]: tally for number, tally in tallies.items() if tally.moments_s}
