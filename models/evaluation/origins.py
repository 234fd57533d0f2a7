"""Rolling origin: the same models fitted again for earlier stretches of time, and their differences combined.

Source: Tashman, Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16, 2000.
"""

from collections.abc import Sequence

import numpy as np

from models.comparison import Difference, day_blocks, difference_of
from models.cube import Floats
from models.evaluation.result import NETWORK, OUR_BASELINE, WITH_THE_NETWORK, Evaluation, Origins, RollingResult


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
