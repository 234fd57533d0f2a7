"""Does a challenger serve the groups of a city less evenly than the champion? Asked where the plan names groups.

What is said names no group: it goes on record, and groups stay in their file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from models.evaluation.disparity.groups import Groups, read_groups
from models.evaluation.disparity.uneven import compare_evenness
from models.measures.cube import Floats
from schemas.grid import Grid

Numbers = npt.NDArray[np.number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evenness:
    """What the groups of one region had of the forecasts of both, moment by moment, all categories together."""

    groups: Groups
    moments_s: list[int] = field(default_factory=list)
    sums: list[Floats] = field(default_factory=list)  # of each moment, (3, groups): came, challenger, champion

    @classmethod
    def read(cls, path: str, grid: Grid) -> Self | None:
        """None without a file. Raises SettingsError for one without two groups in the grid."""
        return cls(groups=read_groups(Path(path), grid)) if path else None

    def add(self, tick_s: int, came: Numbers, challenger: Numbers, champion: Numbers) -> None:
        """(cells, categories) each."""
        self.moments_s.append(tick_s)
        self.sums.append(
            np.stack([self.groups.members @ of.sum(axis=1, dtype=float) for of in (came, challenger, champion)])
        )

    def judged(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What speaks against the challenger, and what could not be compared."""
        apart = compare_evenness(self.groups, self.moments_s, np.stack(self.sums), np.random.default_rng(0))
        if apart is None:
            return (), ("the groups of the plan have too few incidents, cells or days to be compared",)
        if apart.low <= 0:
            return (), ()
        more = f"{apart.model:.3g} in place of {apart.rival:.3g}, {apart.low:+.2g} to {apart.high:+.2g}"
        return (f"observed over expected differs more between groups (by a factor of {more})",), ()
