"""Rivals that see the product's features. To add one: one file in this folder, and one entry of REGRESSIONS."""

from models.evaluation.contract import Regression
from models.evaluation.regressions.boosting import Boosting
from models.evaluation.regressions.poisson_glm import PoissonGlm

REGRESSIONS: list[Regression] = [PoissonGlm(), Boosting()]
