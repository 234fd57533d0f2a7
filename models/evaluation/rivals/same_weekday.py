"""Each Monday is like the Mondays before; with hourly steps, each Monday 08:00 like those before."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.evaluation.rivals.known import known_steps, mean_count
from models.evaluation.rivals.profile import week_slots
from models.evaluation.rivals.rule import Rule
from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SameWeekday(Rule):
    """Mean of the known steps in the same slot of the week; 0 where there is none."""

    name: ClassVar[str] = "same weekday and hour"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        slots, known = week_slots(cube), known_steps(cube, first, delay)
        mean = np.empty((len(known), *cube.counts.shape[1:]))
        for slot in np.unique(slots[first:]):
            alike = np.flatnonzero(slots == slot)
            rows = np.flatnonzero(slots[first:] == slot)
            mean[rows] = mean_count(cube.counts[alike], np.searchsorted(alike, known[rows]))
        return mean
