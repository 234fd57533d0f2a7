"""Next week is like the last one: what many a dashboard shows."""

from dataclasses import dataclass
from typing import ClassVar

from models.evaluation.rivals.known import known_steps, mean_count
from models.evaluation.rivals.rule import Rule
from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWeek(Rule):
    """Mean of the last seven known days."""

    name: ClassVar[str] = "last week's count / 7"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        known = known_steps(cube, first, delay)
        return mean_count(cube.counts, known, window=cube.steps_per_week)
