"""Rolling origin: the same models fitted again for earlier stretches of time, and their differences combined.

Source: Tashman, Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16, 2000.
"""

import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import numpy as np

from models.comparison import Difference, day_blocks, difference_of
from models.cube import Floats
from models.evaluation.after_surges import surge_rows
from models.evaluation.featured import featured_rows, learn, spec_of
from models.evaluation.judge import EvaluationPlan, Judge, Spool, refuse_leaks
from models.evaluation.result import (
    NETWORK,
    OUR_BASELINE,
    WITH_THE_NETWORK,
    Evaluation,
    ModelResult,
    Origins,
    RollingResult,
)
from models.evaluation.rival_contract import Rival
from models.evaluation.rivals import RIVALS
from models.evaluation.tasks import Task, earlier
from models.training.replay import refuse_lag
from schemas.errors import DataError


def combine_origins(evaluations: Sequence[Evaluation], *, seed: int) -> Origins:
    """Evaluations of the same task at several origins, the earliest first. No block of days reaches over an origin."""
    last = evaluations[-1]
    values = last.scored_cells * len(last.task.cube.categories)
    sums: dict[str, Floats] = {  # (seeds, steps of all origins) each
        row.model: np.concatenate(
            [each.row(row.model).scores.log_score_sums.sum(axis=2) for each in evaluations], axis=1
        )
        / values
        for row in last.rows
    }
    mean = {model: float(per_step.mean()) for model, per_step in sums.items()}
    best = min((row.model for row in last.rows if row.kind not in WITH_THE_NETWORK), key=mean.__getitem__)
    best_rule = min((row.model for row in last.rows if row.kind == "rule"), key=mean.__getitem__)
    judged = [each.rows[0].scores.log_score_sums.shape[1] for each in evaluations]
    block = day_blocks(*judged, steps_per_week=last.task.cube.steps_per_week)

    def versus(model: str, rival: str) -> Difference | None:
        if model == rival:
            return None
        return difference_of(sums[model] - sums[rival].mean(axis=0), block, np.random.default_rng(seed))

    rows = [
        RollingResult(
            model=model,
            nb_log_scores=tuple(each.row(model).scores.sheet.nb_log_score for each in evaluations),
            nb_log_score=mean[model],
            versus_best_baseline=versus(model, best),
            versus_best_rule=versus(model, best_rule),
            versus_own_baseline=versus(model, OUR_BASELINE) if model == NETWORK and OUR_BASELINE in sums else None,
        )
        for model in sums
    ]
    return Origins(
        judged_from_s=tuple(int(each.task.cube.starts_s[each.task.test]) for each in evaluations),
        best_baseline=best,
        best_rule=best_rule,
        rows=tuple(sorted(rows, key=lambda row: row.nb_log_score)),
    )


def evaluate(task: Task, plan: EvaluationPlan, *, now: datetime, versions: Mapping[str, str]) -> Evaluation:
    """All rows of the table.

    Raises LeakError when a forecast or a feature uses what it cannot know, and DataError for a delay or a purge that
    leaves nothing to count or to choose by.
    """
    refuse_lag(spec_of(task), plan.delay * task.step_s)
    least = min(task.test - task.validation, task.validation // 2)
    if plan.purge >= least:
        most = least - 2 - plan.delay
        shorter = "choose a smaller --delay-steps, or give a longer file"
        raise DataError(
            f"a purge of {plan.purge} steps leaves too few of the {task.validation} to learn from and the "
            f"{task.test - task.validation} to choose by",
            remedy=f"choose --delay-steps of at most {most}" if most >= 0 else shorter,
        )
    began, rows = time.monotonic(), list[ModelResult]()
    judge = Judge(task=task, seed=plan.seeds[0], rows=plan.rows)
    for number, rival in enumerate(RIVALS):
        plan.tell(f"counting: {rival.name}", number / len(RIVALS))
        rows.append(_counting_row(rival, judge, plan))
    plan.tell("counting", 1.0)
    learned = learn(
        task,
        purge=plan.purge,
        delay=plan.delay,
        random=np.random.default_rng(plan.seeds[0]),
        tell=lambda share: plan.tell("replay", share),
    )
    featured, learning, surges = featured_rows(learned, judge, plan)
    rows += featured
    best = min((row for row in rows if row.kind not in WITH_THE_NETWORK), key=_log_score)
    best_rule = min((row for row in rows if row.kind == "rule"), key=_log_score)
    baseline = next(row for row in rows if row.model == OUR_BASELINE)
    for number, row in enumerate(rows):
        if row.kind == NETWORK:
            row = replace(row, versus_own_baseline=judge.versus(row.scores, baseline.scores))
        if row.model != best_rule.model:
            row = replace(row, versus_best_rule=judge.versus(row.scores, best_rule.scores))
        if row.model != best.model:
            each = {name: judge.versus(row.scores, best.scores, name) for name in task.cube.categories}
            versus_best = judge.versus(row.scores, best.scores)
            row = replace(row, versus_best_baseline=versus_best, versus_by_category=each)
        rows[number] = row
    nowcast = learned.constants.nowcast
    return Evaluation(
        task=task,
        scored_cells=judge.cells,
        purge_steps=plan.purge,
        delay_steps=plan.delay,
        rows=sorted(rows, key=_log_score),
        best_baseline=best.model,
        best_rule=best_rule.model,
        learning=learning,
        seconds=time.monotonic() - began,
        peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20),
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
        versions=versions,
        recipe=plan.recipe,
        seeds=tuple(plan.seeds),
        nowcast=nowcast if nowcast and nowcast.ahead.any() else None,
        after_surges=surge_rows([surges], NETWORK, steps_per_week=task.cube.steps_per_week, seed=plan.seeds[0]),
        surge_figures=surges,
    )


def evaluate_rolling(
    task: Task, plan: EvaluationPlan, *, origins: int, now: datetime, versions: Mapping[str, str]
) -> Evaluation:
    """`evaluate`, and the same at origins before: `origins` blocks of time, one behind the other, each judged once."""
    tasks = [earlier(task, blocks) for blocks in range(origins - 1, 0, -1)]
    last = evaluate(task, plan, now=now, versions=versions)  # first, as it refuses what cannot be done
    evaluations = [*(evaluate(each, plan, now=now, versions=versions) for each in tasks), last]
    if origins == 1:
        return evaluations[0]
    return replace(
        evaluations[-1],
        origins=combine_origins(evaluations, seed=plan.seeds[0]),
        after_surges=surge_rows(
            [each.surge_figures for each in evaluations],
            NETWORK,
            steps_per_week=task.cube.steps_per_week,
            seed=plan.seeds[0],
        ),
        seconds=sum(each.seconds for each in evaluations),
        peak_gib=max(each.peak_gib for each in evaluations),
    )


def _log_score(row: ModelResult) -> float:
    return row.scores.sheet.nb_log_score


def _counting_row(rival: Rival, judge: Judge, plan: EvaluationPlan) -> ModelResult:
    """A rival never sees the steps that are cut out: it takes those before and after them for neighbours."""
    task, began, cube = judge.task, time.monotonic(), judge.task.cube.only(judge.is_kept)
    steps = (task.validation - plan.purge, task.validation, task.test - plan.purge, task.test)
    learned, validation, choose_until, test = (int(judge.is_kept[:step].sum()) for step in steps)
    forecaster = rival.fit(cube.until(choose_until), learned, delay=plan.delay)
    refuse_leaks(
        lambda cube, first: forecaster.forecast(cube, first, delay=plan.delay),
        cube,
        test,
        name=rival.name,
        random=np.random.default_rng(judge.seed),
        delay=plan.delay,
    )
    choosing = range(task.validation, task.test - plan.purge)
    with closing(Spool(task.validation, (judge.cells, len(cube.categories)), np.float64)) as spool:
        forecasts = iter(forecaster.forecast(cube, validation, delay=plan.delay))
        for is_kept in judge.is_kept[task.validation :]:
            mean = next(forecasts) if is_kept else np.zeros(cube.counts.shape[1:])
            spool.append(judge.floored(mean[task.scored]))
        return judge.row(
            rival.name,
            "rule",
            forecaster.chosen,
            time.monotonic() - began,
            validation=lambda: judge.in_runs(spool.read, choosing),
            judged=[spool.read],
        )
