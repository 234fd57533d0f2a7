"""What an evaluation is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.evaluation.contract import Regression
from models.evaluation.judge import ROWS
from models.hyperparameters import DEFAULT, Hyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    regressions: Sequence[Regression]
    seeds: Sequence[int]  # of the network; the first decides every draw that is not a model's, too
    purge: int  # steps left out between what models learn from and what comes after
    delay: int  # steps until counts are known
    recipe: Hyperparameters = DEFAULT  # of the network
    tell: Callable[[str, float], None]  # (what, how far 0..1)
    rows: int = ROWS  # cells at steps whose features and forecasts are in memory at a time
