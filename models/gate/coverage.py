"""Do a challenger's 90 % intervals hold 90 % of the counts? Asked by horizon, of forecasts that do not overlap.

Where nearly every count is 0, any forecast's intervals hold about 90 %: on Chicago's file even one that expects an
incident in every cell and hour. So what is asked of all counts is asked again of those where the challenger expects an
incident or more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from models.gate.plan import GatePlan
from models.measures.calibration import BUSY, Intervals, intervals
from models.measures.outcomes import Forecast
from models.training.replay import IncidentHistory

RIGHT = 0.9
_CHANCE = 2.0  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many counts of a horizon lie in the challenger's 90 % intervals, as a share of the values; see `Intervals`.

    `busy`: where it expects BUSY incidents or more. A share of no values is nan.
    """

    horizon: str  # 1h
    values: int
    share: float
    busy_values: int
    busy_share: float


class CoverageTally:
    """Collects the forecasts of a span, and compares them with what came."""

    def __init__(self, past: IncidentHistory) -> None:
        self.past = past
        self._found: list[list[Intervals]] = [[] for _ in past.spec.horizons_s]
        self._random = np.random.default_rng(0)

    def add(self, forecast: Forecast, tick_s: int) -> None:
        """Take each horizon that begins where the one before ended, has ended, and has no hour that is cut out."""
        for h, horizon_s in enumerate(self.past.spec.horizons_s):
            end_s = tick_s + horizon_s
            if tick_s % horizon_s or end_s > self.past.cutoff_s or self.past.cut_spans(tick_s, end_s):
                continue
            observed = self.past.counts(tick_s, end_s)
            for c, mean in enumerate(forecast.expected[:, :, h].T.astype(np.float64)):
                uniform = self._random.random(len(mean))
                self._found[h].append(intervals(mean, observed[:, c], forecast.dispersion[..., c, h], uniform))

    def coverage(self) -> tuple[Coverage, ...]:
        """By horizon."""
        return tuple(_added_up(name, its) for name, its in zip(self.past.spec.horizon_names, self._found, strict=True))


def _added_up(horizon: str, parts: Sequence[Intervals]) -> Coverage:
    if not parts:
        return Coverage(horizon=horizon, values=0, share=np.nan, busy_values=0, busy_share=np.nan)
    found = sum(parts[1:], start=parts[0])
    figures = found.figures()
    return Coverage(
        horizon=horizon,
        values=int(found.pit.sum()),
        share=figures["coverage_90"],
        busy_values=int(found.busy.sum()),
        busy_share=figures["busy_coverage_90"],
    )


def enough_values(plan: GatePlan) -> int:
    """Of how many values chance alone moves the share by no more than the plan allows."""
    return ceil(RIGHT * (1 - RIGHT) * (_CHANCE / plan.coverage) ** 2)


def coverage_faults(found: Sequence[Coverage], plan: GatePlan) -> Iterator[str]:
    """Horizons whose share lies outside of what the plan allows by more than chance."""
    for one in found:
        parts = (
            ("", one.values, one.share),
            (f" where it expects {BUSY:g} or more", one.busy_values, one.busy_share),
        )
        for where, values, share in parts:
            if values < enough_values(plan):
                continue
            chance = _CHANCE * sqrt(RIGHT * (1 - RIGHT) / values)
            if abs(share - RIGHT) > plan.coverage + chance:
                yield f"its 90 % intervals of {one.horizon} hold {share:.0%} of the counts{where}"


def coverage_remarks(found: Sequence[Coverage], plan: GatePlan) -> Iterator[str]:
    """Horizons of which too little is known."""
    least = enough_values(plan)
    for one in found:
        if one.busy_values < least:
            yield (
                f"its 90 % intervals of {one.horizon} are not judged where it expects {BUSY:g} or more: there are "
                f"{one.busy_values} such counts, and {least} are needed"
            )
