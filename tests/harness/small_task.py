"""A small town whose incidents follow a known rule, as a task, and its evaluation."""

from datetime import UTC, datetime

import numpy as np

from models.evaluation.evaluate import evaluate
from models.evaluation.judge import EvaluationPlan
from models.evaluation.tasks import Task, count
from schemas.grid import Grid
from tests.harness.toy import toy_table

GRID = Grid(south_deg=41.0, west_deg=-87.0, cell_m=2000.0, rows=4, cols=5)
DAY_S, START_S = 86_400, int(datetime(2016, 1, 4, tzinfo=UTC).timestamp())
CATEGORIES = ("fire", "ems")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def small_task(*, days=300, judged=60, seed=0):
    """Daily counts in 20 cells: rates differ by cell, weekday and category, and the town has good and bad weeks."""
    random = np.random.default_rng(seed)
    cell_rate = random.gamma(1.0, 1.0, (GRID.cells, len(CATEGORIES)))
    weekday = 1 + 0.5 * np.sin(2 * np.pi * np.arange(7) / 7)
    level = np.exp(0.5 * np.sin(2 * np.pi * np.arange(days) / 40))
    truth = level[:, None, None] * weekday[np.arange(days) % 7][:, None, None] * cell_rate
    drawn = random.poisson(truth)
    step, cell, category = (np.repeat(places, drawn.ravel()) for places in np.indices(drawn.shape).reshape(3, -1))
    at_s = START_S + step * DAY_S + random.integers(0, DAY_S, len(step))
    order = np.argsort(at_s, kind="stable")
    table = toy_table(at_s[order], category=category[order].astype(np.int16), categories=CATEGORIES)
    starts_s = START_S + DAY_S * np.arange(days + 1)
    cells = cell[order].astype(np.int32)
    task = Task(
        name="small",
        title="small town",
        incidents=table,
        cell=cells,
        grid=GRID,
        cube=count(table, cells, starts_s, GRID),
        validation=days - 2 * judged,
        test=days - judged,
        scored=np.arange(GRID.cells) != 3,
    )
    return task, truth


def plan_of(**changes):
    """The quickest: no regressions, one seed."""
    fields = {"regressions": (), "seeds": (0,), "purge": 1, "delay": 0, "tell": lambda what, share: None}
    return EvaluationPlan(**(fields | changes))


def evaluated(task, **changes):
    """changes: of the plan."""
    return evaluate(task, plan_of(**changes), now=NOW, versions={})
