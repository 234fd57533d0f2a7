"""One incident everywhere, always: useless as a map, yet good by errors that leave out the cells without incidents."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.evaluation.rivals.rule import Rule
from models.measures.cube import Cube, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Rule):
    name: ClassVar[str] = "constant 1"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Floats:
        return np.ones((len(cube) - first, *cube.counts.shape[1:]))
