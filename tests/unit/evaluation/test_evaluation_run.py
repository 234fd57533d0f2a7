"""A whole evaluation of a small town: what it finds, whatever has been observed in the steps that it judges."""

import pickle
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nbinom

from models.evaluation import evaluate as module
from models.evaluation import judge as judge_module
from models.evaluation.judge import MIXED_IN, Spool
from models.evaluation.regressions import Boosting, PoissonGlm
from models.evaluation.rivals import Historical, Rule
from tests.harness.quick_training import one_penalty
from tests.harness.small_task import evaluated, plan_of


def evaluated_by_all(task):
    with one_penalty():
        return evaluated(task, regressions=(PoissonGlm(), Boosting()), seeds=(0, 1))


@pytest.fixture(scope="module")
def evaluation(task, few_trees):
    return evaluated_by_all(task)


def test_every_row_is_there_and_the_order_is_that_of_the_log_score(evaluation):
    names = [row.model for row in evaluation.rows]
    assert {"Poisson GLM", "gradient boosting", "our baseline", "network", "constant 1"} < set(names)
    assert {"network, following", "network, nowcast", "our baseline, nowcast"} < set(names)
    assert len(names) == len(set(names)) == len(module.RIVALS) + 8
    scores = [row.scores.sheet.nb_log_score for row in evaluation.rows]
    assert scores == sorted(scores)
    assert names[-1] == "constant 1"


def test_how_much_is_in_memory_at_a_time_changes_no_figure(task, quick):
    """Rows are cells at steps: all 60 days at once, and 23 days with some rows more; of one row it is one day.

    No bit of a rule's figures changes; of a model that multiplies matrices, a block's size may change the last one.
    """
    assert [len(run) for run in module.Judge(task=task, seed=0, rows=1).runs(range(3))] == [1, 1, 1]
    whole, parts = (evaluated(task, regressions=(PoissonGlm(),), rows=rows) for rows in (19 * 60, 19 * 23 + 5))
    assert [row.model for row in parts.rows] == [row.model for row in whole.rows]
    for row, other in zip(parts.rows, whole.rows, strict=True):
        assert (row.chosen, row.dispersion) == (other.chosen, other.dispersion)
        if row.kind == "rule":
            assert pickle.dumps((row.scores, row.totals)) == pickle.dumps((other.scores, other.totals))
        np.testing.assert_allclose(row.scores.log_score_sums, other.scores.log_score_sums, rtol=1e-6)
        assert row.totals.city.forecast == pytest.approx(other.totals.city.forecast, rel=1e-7)


def test_the_best_baseline_is_the_yardstick_of_all_others(evaluation):
    best = min(
        (row for row in evaluation.rows if row.kind in ("rule", "regression")),
        key=lambda row: row.scores.sheet.nb_log_score,
    )
    assert best.model == evaluation.best_baseline
    assert best.versus_best_baseline is None
    for row in evaluation.rows:
        if row is not best:
            difference = row.scores.sheet.nb_log_score - best.scores.sheet.nb_log_score
            assert row.versus_best_baseline.mean == pytest.approx(difference, abs=1e-12)
            assert row.versus_best_baseline.low <= difference <= row.versus_best_baseline.high


def test_no_forecast_beats_the_truth_and_ours_come_close(small, evaluation):
    task, truth = small
    mean, observed = truth[task.test :, task.scored], task.cube.counts[task.test :, task.scored]
    best_possible = -nbinom.logpmf(observed, 300, 300 / (300 + mean)).mean()
    assert best_possible < evaluation.network.scores.sheet.nb_log_score < best_possible + 0.03
    assert evaluation.network.scores.sheet.nb_log_score < evaluation.row("EWMA 60 d").scores.sheet.nb_log_score


def test_a_network_row_is_the_mean_of_its_seeds(evaluation):
    network = evaluation.network
    assert network.seeds == len(network.log_scores_of_seeds) == len(evaluation.learning) == 2
    assert network.scores.sheet.nb_log_score == pytest.approx(np.mean(network.log_scores_of_seeds))


def test_cells_that_are_not_scored_have_no_part(task, evaluation):
    other = task.cube.counts.copy()
    other[task.test :, 3] += 50  # in the only cell that is not scored
    judge = module.Judge(task=replace(task, cube=replace(task.cube, counts=other)), seed=0)
    again = module._counting_row(Historical(), judge, plan_of())
    assert again.scores.sheet == evaluation.row("historical average").scores.sheet


def test_nothing_is_fitted_or_chosen_by_what_is_judged(evaluation, other_end, few_trees):
    again = evaluated_by_all(other_end)
    for row in evaluation.rows:
        same = again.row(row.model)
        assert (row.model, row.chosen, row.dispersion) == (same.model, same.chosen, same.dispersion)
        assert row.model == "constant 1" or row.scores.sheet.nb_log_score != same.scores.sheet.nb_log_score
    assert evaluation.learning == again.learning


def test_every_model_is_judged_with_the_same_least_forecast(task, evaluation, quick):
    """With one above all forecasts, all are the same; the best of seeds is then as good as the worst rule."""
    observed = task.cube.counts[: task.validation, task.scored]
    floored = module.Judge(task=task, seed=0).floored(np.zeros((1, int(task.scored.sum()), 2)))
    np.testing.assert_allclose(floored[0, 0], (1e-4 * observed.sum(axis=(0, 1)) + 0.5) / observed[..., 0].size)
    quick.setattr(judge_module, "SHARES", (0.0,))
    quick.setattr(judge_module, "least_mean", lambda counts: np.array([50.0, 50.0]))
    rows = evaluated(task, regressions=(PoissonGlm(),)).rows
    for row in (row for row in rows if row.kind != "nowcast"):  # those raise what they are given
        assert row.scores.sheet.forecast_over_actual == pytest.approx(
            50 * floored[0].size * 60 / task.cube.counts[task.test :, task.scored].sum()
        ), row.model


class Stubborn(Rule):
    """Expects nothing where nothing has come in the last two days, and what came otherwise."""

    name = "stubborn"

    def forecast(self, cube, first, *, delay=0):
        return np.stack([cube.counts[step - 2 : step].mean(axis=0) for step in range(first, len(cube))])


def test_a_rule_that_takes_quiet_for_dead_may_mix_in_the_mean_as_all_others_may(task, evaluation, quick):
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Stubborn()))
    row = evaluated(task).row("stubborn")
    assert row.chosen[MIXED_IN] == max(judge_module.SHARES)
    judge = module.Judge(task=task, seed=0)
    raw = judge.floored(Stubborn().forecast(task.cube, task.test)[:, task.scored])
    by_hand = 0.95 * raw + 0.05 * task.cube.counts[: task.validation, task.scored].mean(axis=(0, 1))
    scores = []
    for mean in (by_hand, raw):
        with closing(Spool(task.test, raw.shape[1:], np.float64)) as spool:
            spool.append(mean)
            scores.append(judge.scores(spool.read, row.dispersion))
    assert row.scores.sheet.nb_log_score == pytest.approx(scores[0].sheet.nb_log_score)
    assert row.scores.sheet.nb_log_score < scores[1].sheet.nb_log_score
    assert evaluation.row("network").chosen[MIXED_IN] in judge_module.SHARES


def test_a_time_without_incidents_gives_no_verdict(task, quick):
    """There the forecast that expects the least seems best."""
    quiet = task.cube.counts.copy()
    quiet[task.test :] = 0
    quiet[task.test, 0, 0] = 99
    row = evaluated(replace(task, cube=replace(task.cube, counts=quiet))).network
    assert (row.versus_best_baseline.verdict, row.versus_best_rule.verdict) == ("too few", "too few")
    assert {versus.verdict for versus in row.versus_by_category.values()} == {"too few"}
