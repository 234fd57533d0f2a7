"""The mean of all history up to each step."""

from dataclasses import dataclass
from typing import ClassVar

from models.evaluation.rivals.known import known_steps, mean_count
from models.evaluation.rivals.rule import Rule
from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanding(Rule):
    name: ClassVar[str] = "expanding mean"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        return mean_count(cube.counts, known_steps(cube, first, delay))
