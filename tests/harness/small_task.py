"""A small town whose incidents follow a known rule, as a task, and its evaluation.

Small cubes with a rhythm; a small evaluation of simple rivals, and networks that know most of the truth.
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from models.comparison import LEAST_JUDGED, day_blocks, difference_of
from models.dispersion import Dispersion
from models.evaluation.evaluate import evaluate
from models.evaluation.judge import Evaluation, EvaluationPlan, ModelResult, mean_scores
from models.evaluation.rivals import Constant, Ewma, EwmaProfile, Historical, LastWeek
from models.evaluation.tasks import Task, count
from models.measures import Cube, score, totals_of
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
    blocks, scored = (days - 2 * judged, days - judged), np.arange(GRID.cells) != 3
    return counted_task(table, cell[order], GRID, starts_s, *blocks, scored=scored), truth


def counted_task(table, cell, grid, starts_s, validation, test, **changes):
    """A task of incidents in these cells; all cells are judged unless others are named."""
    fields = {"incidents": table, "cell": cell.astype(np.int32), "grid": grid, "validation": validation, "test": test}
    fields |= {"name": "small", "title": "small town", "scored": np.ones(grid.cells, np.bool_)}
    return Task(cube=count(table, fields["cell"], starts_s, grid), **fields | changes)


def plan_of(**changes):
    """The quickest: no regressions, one seed."""
    fields = {"regressions": (), "seeds": (0,), "purge": 1, "delay": 0, "tell": lambda what, share: None}
    return EvaluationPlan(**(fields | changes))


def evaluated(task, **changes):
    """changes: of the plan."""
    return evaluate(task, plan_of(**changes), now=NOW, versions={})


def cube_of(counts, *, rows, cols, steps_per_week=7):
    """counts: (steps, rows * cols, categories), the first step starts on Thursday, 1970-01-01, UTC."""
    starts_s = np.arange(len(counts) + 1, dtype=np.int64) * (7 * 86_400 // steps_per_week)
    return Cube(
        counts=np.asarray(counts, np.int32),
        starts_s=starts_s,
        hour_of_week=((starts_s[:-1] // 3600 + 72) % 168).astype(np.int16),
        rows=rows,
        cols=cols,
        cell_m=1000.0,
        categories=tuple(f"kind_{number}" for number in range(np.shape(counts)[2])),
    )


def random_cube(random, *, steps=60, rows=3, cols=2, categories=2, steps_per_week=7):
    """Poisson counts of cells that differ, over a week that has quiet and busy slots."""
    rate = random.gamma(0.7, 1.0, (1, rows * cols, categories))
    week = random.uniform(0.2, 2.0, (steps_per_week, 1, categories))
    counts = random.poisson(rate * week[np.arange(steps) % steps_per_week])
    return cube_of(counts, rows=rows, cols=cols, steps_per_week=steps_per_week)


def stacked(forecast):
    """(steps, cells, categories) of a forecast that is given step by step."""
    return np.stack([*forecast])


def in_runs(height, *arrays):
    """The arrays cut along their first axis into runs of `height` steps; the last may be shorter."""
    for start in range(0, len(arrays[0]), height):
        yield tuple(array[start : start + height] for array in arrays)


ROWS, COLS = 9, 8
RIVALS = (Constant(), LastWeek(), Historical(), Ewma(half_life_days=30), EwmaProfile(half_lives_days=(10.0, 40.0)))
KINDS = ("fire", "medical", "traffic")
HOSTILE = "<script>alert(1)</script> & $x^2 [red]\"'"
SIZE = 8.0  # of every model's negative binomial
SCORED = np.hypot(*(np.indices((ROWS, COLS)) - np.array([4.0, 3.5])[:, None, None])).ravel() < 4.3  # a round city


def small_evaluation(
    *,
    seed=0,
    steps=400,
    judged=100,
    steps_per_week=7,
    categories=KINDS,
    quiet=(),
    rate=0.6,
    skill=0.9,
    bias=1.0,
    seeds=3,
    network="network",
):
    """Counts of a round city in a square grid, and every rival judged on the last steps.

    rate: mean incidents of a cell and step. quiet: categories in which nothing happens. skill: 0..1, how much of the
    truth the networks know beside the best rival's forecast. bias: factor on what they expect.
    """
    random = np.random.default_rng(seed)
    truth = _intensity(random, steps, steps_per_week, len(categories), rate)
    truth[..., [categories.index(name) for name in quiet]] = 0
    cube = cube_of(random.poisson(truth), rows=ROWS, cols=COLS, steps_per_week=steps_per_week)
    cube = replace(cube, categories=categories)
    first = steps - judged
    rules = {}
    for rival in RIVALS:
        fitted = rival.fit(cube.until(first), 3 * first // 4)
        rules[rival.name] = (np.maximum(stacked(fitted.forecast(cube, first))[:, SCORED], 1e-4), fitted.chosen)
    usual = rules["EWMA x week"][0]
    mixed = bias * usual ** (1 - skill) * np.maximum(truth[first:, SCORED], 1e-4) ** skill
    networks = [mixed * random.normal(1, 0.05, mixed.shape).clip(0.5) for _ in range(seeds)]
    rows = [_row(cube, name, "rule", [mean], chosen) for name, (mean, chosen) in rules.items()]
    best = min(rows, key=_log_score)
    rows.append(_row(cube, network, "network", networks, {}))
    rows = [row if row is best else _compared(row, best, cube) for row in rows]
    curve = 1 - 0.02 * (1 - 0.6 ** np.arange(1, 13)) + 0.0004 * np.arange(12)
    return Evaluation(
        task=Task(
            name="small-daily",
            title=f"Small town, simulated, 1 km, one day, {int(SCORED.sum())} cells",
            incidents=toy_table(cube.starts_s[:1], categories=categories),
            cell=np.zeros(1, np.int32),
            grid=Grid(south_deg=41.0, west_deg=-87.0, cell_m=1000.0, rows=ROWS, cols=COLS),
            cube=cube,
            validation=3 * first // 4,
            test=first,
            scored=SCORED,
            outside_s=np.full(7, cube.starts_s[first]),
            holidays="US-IL",
            data_file="small-town.csv",
            data_sha256=hashlib.sha256(cube.counts.tobytes()).hexdigest(),
        ),
        purge_steps=1,
        delay_steps=2,
        rows=sorted(rows, key=_log_score),
        best_baseline=best.model,
        best_rule=best.model,
        learning=tuple(tuple((curve + random.normal(0, 0.001, 12)).tolist()) for _ in range(seeds)),
        seconds=61.5,
        peak_gib=1.25,
        made_at="2026-01-02 03:04 UTC",
        versions={"numpy": np.__version__, "scorer": "0.1.0"},
    )


def _intensity(random, steps, steps_per_week, categories, rate):
    """(steps, cells, categories) of a centre, quiet edges, a week's rhythm, and good and bad days."""
    row, col = np.indices((ROWS, COLS)).reshape(2, -1)
    place = np.exp(-np.hypot(row - 4, col - 4) / 1.8) * random.gamma(2, 0.5, ROWS * COLS)
    week = 1 + 0.5 * np.sin(2 * np.pi * np.arange(steps_per_week) / min(steps_per_week, 24))
    day = np.arange(steps) * 7 // steps_per_week
    level = np.exp(random.normal(0, 0.15, day[-1] + 1))[day]
    mix = random.uniform(0.3, 1.5, categories)
    shape = (week[np.arange(steps) % steps_per_week] * level)[:, None, None] * (place * SCORED)[:, None] * mix
    return rate * shape / shape[:, SCORED].mean()


def _row(cube, model, kind, means, chosen):
    steps, categories = len(means[0]), len(cube.categories)
    size = Dispersion.quadratic(np.full(categories, SIZE))
    seen = cube.counts[-steps:, SCORED]
    judged = {"steps": steps, "has_history": np.ones(int(SCORED.sum()), np.bool_)}
    scored = [score([(mean, seen)], size, cube.categories, np.random.default_rng(1), **judged) for mean in means]
    return ModelResult(
        model=model,
        kind=kind,
        scores=mean_scores(scored),
        totals=totals_of([(means[0], seen)], cube, SCORED),
        dispersion=size,
        chosen=dict(chosen),
        seeds=len(means),
        log_scores_of_seeds=tuple(one.sheet.nb_log_score for one in scored),
        seconds=0.25,
    )


def _compared(row, best, cube):
    found = _versus(row, best, cube, range(len(cube.categories)))
    each = {name: _versus(row, best, cube, [place]) for place, name in enumerate(cube.categories)}
    return replace(row, versus_best_baseline=found, versus_best_rule=found, versus_by_category=each)


def _versus(row, best, cube, categories):
    sums, of_best = (each.scores.log_score_sums[:, :, categories].sum(axis=2) for each in (row, best))
    per_step = (sums - of_best.mean(axis=0)) / (SCORED.sum() * len(categories))
    block = day_blocks(sums.shape[1], steps_per_week=cube.steps_per_week)
    return difference_of(per_step, block, np.random.default_rng(2), judged=LEAST_JUDGED)


def _log_score(row):
    return row.scores.sheet.nb_log_score


def with_network(evaluation, **changes):
    """The evaluation with another network's row."""
    rows = [replace(row, **changes) if row.kind == "network" else row for row in evaluation.rows]
    return replace(evaluation, rows=rows)
