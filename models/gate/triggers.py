"""When a region needs a new challenger. A trigger never changes what scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.gate.shadow_day import ShadowDay, mean_scores, whole_enough
from models.measures.sequence import bounds

OLDEST_DAYS = 90  # since the end of the champion's data
DRIFT = 0.1  # of observed over expected, on either side of 1
ALPHA = 0.05
LEAST_DAYS = 14  # before drift is judged
SKILL_DAYS = 28  # before skill is judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Observed over expected of the champion, with the bounds of its confidence sequence."""

    name: str  # a category, or `all`
    ratio: float
    low: float
    high: float

    @property
    def is_outside(self) -> bool:
        return self.low > 1 + DRIFT or self.high < 1 / (1 + DRIFT)


def drift_of(days: Sequence[ShadowDay]) -> list[Drift]:
    """Of the region and of each category; empty before LEAST_DAYS. `days`: of one champion, whole, in order."""
    used = whole_enough(days)
    if len(used) < LEAST_DAYS:
        return []
    categories = sorted(used[0].observed)
    found = []
    for name, members in (("all", categories), *((category, [category]) for category in categories)):
        seen, expected = (
            np.array([sum(getattr(day, field)[category] for category in members) for day in used], np.float64)
            for field in ("observed", "champion_expected")
        )
        apart = bounds(seen - expected, alpha=ALPHA / 2)
        per_day = float(expected.mean())
        low, high = 1 + float(apart.lower[-1]) / per_day, 1 + float(apart.upper[-1]) / per_day
        found.append(Drift(name=name, ratio=float(seen.sum() / expected.sum()), low=low, high=high))
    return found


def triggers(days: Sequence[ShadowDay], *, age_days: float, was_better: bool) -> list[str]:
    """Why a challenger is due; empty when none is.

    was_better: whether the champion's card calls it better than its baseline at the shortest horizon: only then can
    its skill be gone.
    """
    found = []
    if age_days > OLDEST_DAYS:
        found.append(f"its data end {age_days:.0f} days ago, more than {OLDEST_DAYS}")
    found += [
        f"observed over expected is {one.ratio:.2f} ({one.low:.2f} to {one.high:.2f}) in {one.name}"
        for one in drift_of(days)
        if one.is_outside
    ]
    used = whole_enough(days)
    if was_better and len(used) >= SKILL_DAYS:
        skill = bounds(mean_scores(used, "baseline") - mean_scores(used, "champion"), alpha=ALPHA)
        if skill.lower[-1] <= 0:
            found.append(f"after {len(used)} days it is no longer shown to be better than its baseline")
    return found
