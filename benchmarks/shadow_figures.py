"""How much of what challengers cost is run, and the figures: batches and blocks with and without, and their ratios."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.job import TimedBatch
from benchmarks.plan import FULL, Sizes

WARM_UP = 2  # batches in which Java still compiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPlan:
    """How much is run. Batches, and blocks of live events, with challengers and without take turns."""

    rounds: int
    per_batch: int = 1_600_000  # events, of two hours; as many as the job takes when it catches up
    rate_per_s: float = 1_000.0
    hour_s: float = 15.0  # that an hour of the events' clock lasts while latency is measured
    block_s: float = 50.0
    unmeasured_s: float = 5.0  # of each block

    @property
    def order(self) -> list[bool]:
        """Whether challengers are tried: each round once without and once with, every other round the other way."""
        both = (False, True)
        return [is_tried for number in range(self.rounds) for is_tried in (both if number % 2 == 0 else both[::-1])]

    @property
    def sizes(self) -> Sizes:
        """WARM_UP batches, those of the rounds, and one more, as the job takes a change over a batch later."""
        events = self.per_batch * (WARM_UP + 1 + 2 * self.rounds)
        return replace(FULL, name="shadow", events=events, events_per_batch=self.per_batch)


def neighbours(is_with: Sequence[bool], values: Sequence[float]) -> list[tuple[float, float]]:
    """(without, with) of values that follow each other, each used once."""
    pairs, at = [], 0
    while at + 1 < len(values):
        if is_with[at] != is_with[at + 1]:
            pairs.append((values[at + is_with[at]], values[at + is_with[at + 1]]))
            at += 1
        at += 1
    return pairs


def ratios(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of (without, with): the medians, and the median and the spread of with / without."""
    found = sorted(beside / alone for alone, beside in pairs)
    return {
        "pairs": len(pairs),
        "without": round(median(alone for alone, _ in pairs), 1),
        "with": round(median(beside for _, beside in pairs), 1),
        "ratio": round(median(found), 3),
        "spread": [round(found[0], 3), round(found[-1], 3)],
    }


def rates_of(batches: Sequence[TimedBatch], kept_s: Sequence[float]) -> tuple[list[bool], list[float]]:
    """Of each full batch after WARM_UP: whether a challenger's forecast was kept in it, and its events per second.

    kept_s: when the forecasts were written, epoch seconds.
    """
    full = [batch for batch in batches if batch.ledger["consumed"]][WARM_UP - 1 :]
    is_with = [any(batch.started_s <= at_s <= batch.acknowledged_s for at_s in kept_s) for batch in full]
    ends = [batch.acknowledged_s for batch in full]
    rates = [
        batch.ledger["consumed"] / (end - before) for batch, before, end in zip(full[1:], ends, ends[1:], strict=False)
    ]
    return is_with[1:], rates


def block_medians_ms(
    intended_s: npt.NDArray[np.float64], latency_s: npt.NDArray[np.float64], begin_s: float, plan: ShadowPlan
) -> list[float]:
    """Of each block the median latency of the events that were meant to be sent after its unmeasured seconds."""
    found = []
    for from_s, until_s in _measured(begin_s, plan):
        inside = (intended_s >= from_s) & (intended_s < until_s)
        found.append(float(np.median(latency_s[inside])) * 1000)
    return found


def wrong_blocks(kept_s: Sequence[float], begin_s: float, plan: ShadowPlan, *, regions: int) -> list[int]:
    """Numbers of the blocks in which challengers were scored though none was tried, or in less than half the hours."""
    least = regions * (plan.block_s - plan.unmeasured_s) / plan.hour_s / 2
    kept = [sum(from_s <= at_s < until_s for at_s in kept_s) for from_s, until_s in _measured(begin_s, plan)]
    return [
        number for number, is_tried in enumerate(plan.order) if (kept[number] < least if is_tried else kept[number])
    ]


def _measured(begin_s: float, plan: ShadowPlan) -> list[tuple[float, float]]:
    starts = [begin_s + number * plan.block_s for number in range(len(plan.order))]
    return [(start_s + plan.unmeasured_s, start_s + plan.block_s) for start_s in starts]
