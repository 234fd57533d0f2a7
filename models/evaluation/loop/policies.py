"""Who is visited, what is counted, who reports: the rows of the table, with what each is held to."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.cube import Floats
from models.evaluation.loop.city import SIDE
from schemas.frame import riskiest

Cells = npt.NDArray[np.intp]
_VISITED = 4  # of a day


def highest(risk: Floats, expected: Floats, random: np.random.Generator) -> Cells:
    """The cells that the product ranks first. risk, expected: (cells,)."""
    return riskiest(risk.astype(np.float32), expected.astype(np.float32), _VISITED)


def in_proportion(risk: Floats, expected: Floats, random: np.random.Generator) -> Cells:
    return random.choice(len(expected), _VISITED, replace=False, p=expected / expected.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A row of the table. Its verdict stands while its errors are as they are held to be."""

    name: str
    visits: Callable[[Floats, Floats, np.random.Generator], Cells] = highest
    counts_discovered: bool = False
    reporting: tuple[float, ...] = (1.0,) * SIDE  # of each column of cells, a share of the usual calls
    is_followed: bool = False  # the forecast follows what the last weeks showed
    verdict: str
    holds: Callable[[float, float], bool] = lambda mean, p95: True


_HELD = (
    Policy(name="default", verdict="no loop", holds=lambda mean, p95: p95 <= 0.1),
    Policy(name="naive", counts_discovered=True, verdict="runs away", holds=lambda mean, p95: mean >= 0.3),
    Policy(name="unequal reports", reporting=(0.5, 0.5, 1.0, 1.0), verdict="not removed",
           holds=lambda mean, p95: mean >= 0.1),
)  # fmt: skip
HELD = tuple(replace(policy, is_followed=is_followed) for policy in _HELD for is_followed in (False, True))
SOFTER = Policy(name="naive, softer", counts_discovered=True, visits=in_proportion, verdict="loop")
