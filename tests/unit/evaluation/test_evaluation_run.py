"""A whole evaluation of a small town: what it finds, and that it refuses what knows the future."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from models.evaluation import evaluate as module
from models.evaluation import featured, product
from models.evaluation import judge as judge_module
from models.evaluation.evaluate import evaluate, evaluate_rolling
from models.evaluation.plan import EvaluationPlan
from models.evaluation.product import judged_inputs, learn
from models.evaluation.regressions.boosting import Boosting
from models.evaluation.regressions.poisson_glm import PoissonGlm
from models.evaluation.rivals.means import Historical
from models.evaluation.rivals.rule import Rule
from models.evaluation.row import MIXED_IN
from models.evaluation.spool import Spool
from models.measures.cube import count
from models.network import RiskNetwork
from models.training.replay import Replay
from schemas.errors import DataError, LeakError
from tests.harness.small_task import DAY_S, small_task

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def plan_of(**changes):
    fields = {"regressions": (), "seeds": (0,), "purge": 1, "delay": 0, "tell": lambda what, share: None}
    return EvaluationPlan(**(fields | changes))


def run(task, **changes):
    return evaluate(task, plan_of(**changes), now=NOW, versions={})


@pytest.fixture(scope="module")
def small():
    return small_task()


@pytest.fixture(scope="module")
def task(small):
    return small[0]


@pytest.fixture(scope="module")
def found(task):
    return run(task, regressions=(PoissonGlm(), Boosting()), seeds=(0, 1))


@pytest.fixture
def quick(monkeypatch):
    """Few rules and a network of one epoch: for tests of what is judged, not of how well."""
    monkeypatch.setattr(module, "RIVALS", module.RIVALS[:3])
    monkeypatch.setattr(featured, "EPOCHS", 1)
    return monkeypatch


def test_every_row_is_there_and_the_order_is_that_of_the_log_score(found):
    names = [row.model for row in found.rows]
    assert {"Poisson GLM", "gradient boosting", "our baseline", "network", "log-linear pool", "constant 1"} < set(names)
    assert len(names) == len(set(names)) == len(module.RIVALS) + 5
    scores = [row.scores.sheet.nb_log_score for row in found.rows]
    assert scores == sorted(scores)
    assert names[-1] == "constant 1"


def test_kinds_of_network_stand_side_by_side_and_the_report_is_about_the_first(task, quick):
    both = run(task, networks=("conv", "residual"))
    assert both.network.model == "conv network"
    assert both.row("network").kind == "other network"
    assert "network" not in both.best_baseline
    alone = run(task, networks=("residual",))
    assert both.row("network").scores.sheet.nb_log_score == alone.row("network").scores.sheet.nb_log_score


def test_how_much_is_in_memory_at_a_time_changes_no_figure(task, quick):
    """Rows are cells at steps: all 60 days at once, one day, a week, and 23 days with some rows more.

    No bit of a rule's figures changes; of a model that multiplies matrices, a block's size may change the last one.
    """
    whole, *pieces = (
        run(task, regressions=(PoissonGlm(),), seeds=(0, 1), rows=rows) for rows in (19 * 60, 1, 19 * 7, 19 * 23 + 5)
    )
    for piece in pieces:
        assert [row.model for row in piece.rows] == [row.model for row in whole.rows]
        for one, other in zip(piece.rows, whole.rows, strict=True):
            assert (one.chosen, one.dispersion) == (other.chosen, other.dispersion)
            if one.kind == "rule":
                assert pickle.dumps((one.scores, one.totals)) == pickle.dumps((other.scores, other.totals))
            np.testing.assert_allclose(one.scores.log_score_sums, other.scores.log_score_sums, rtol=1e-6)
            assert one.totals.city.forecast == pytest.approx(other.totals.city.forecast, rel=1e-7)
        np.testing.assert_allclose(piece.expected, whole.expected, rtol=1e-6)


def test_the_best_baseline_is_the_yardstick_of_all_others(found):
    best = min(
        (row for row in found.rows if row.kind in ("rule", "regression")), key=lambda row: row.scores.sheet.nb_log_score
    )
    assert best.model == found.best_baseline
    assert best.versus_best_baseline is None
    for row in found.rows:
        if row is not best:
            difference = row.scores.sheet.nb_log_score - best.scores.sheet.nb_log_score
            assert row.versus_best_baseline.mean == pytest.approx(difference, abs=1e-12)
            assert row.versus_best_baseline.low <= difference <= row.versus_best_baseline.high


def test_no_forecast_beats_the_truth_and_ours_come_close(small, found):
    task, truth = small
    mean, seen = truth[task.test :, task.scored], task.cube.counts[task.test :, task.scored]
    best_possible = -nbinom.logpmf(seen, 300, 300 / (300 + mean)).mean()
    assert best_possible < found.network.scores.sheet.nb_log_score < best_possible + 0.03
    assert found.network.scores.sheet.nb_log_score < found.row("EWMA 60 d").scores.sheet.nb_log_score


def test_a_network_row_is_the_mean_of_its_seeds(found):
    network = found.network
    assert network.seeds == len(network.log_scores_of_seeds) == len(found.learning) == 2
    assert network.scores.sheet.nb_log_score == pytest.approx(np.mean(network.log_scores_of_seeds))


def test_cells_that_are_not_scored_have_no_part(task, found):
    other = task.cube.counts.copy()
    other[task.test :, 3] += 50  # in the only cell that is not scored
    judge = module.Judge(task=replace(task, cube=replace(task.cube, counts=other)), seed=0)
    again = module._counting_row(Historical(), judge, plan_of())
    assert again.scores.sheet == found.row("historical average").scores.sheet


@pytest.fixture(scope="module")
def other_end(task):
    """The small task with other incidents in the steps that are judged."""
    judged = task.incidents.occurred_s >= task.cube.starts_s[task.test]
    incidents = replace(
        task.incidents, category=np.where(judged, 1 - task.incidents.category, task.incidents.category).astype(np.int16)
    )
    cell = np.where(judged, 19 - task.cell, task.cell).astype(np.int32)
    cube = count(incidents, cell, task.cube.starts_s, task.grid)
    return replace(task, incidents=incidents, cell=cell, cube=cube)


def test_nothing_is_fitted_or_chosen_by_what_is_judged(found, other_end):
    again = run(other_end, regressions=(PoissonGlm(), Boosting()), seeds=(0, 1))
    for row in found.rows:
        same = again.row(row.model)
        assert (row.model, row.chosen, row.dispersion) == (same.model, same.chosen, same.dispersion)
        assert row.model == "constant 1" or row.scores.sheet.nb_log_score != same.scores.sheet.nb_log_score
    assert found.learning == again.learning


def test_what_models_are_given_to_learn_from_ends_before_what_is_judged(task, other_end):
    first, again = (
        learn(one, [], purge=1, delay=0, random=np.random.default_rng(0), tell=lambda share: None)
        for one in (task, other_end)
    )
    for name, value in first.constants.arrays().items():
        np.testing.assert_array_equal(value, again.constants.arrays()[name], err_msg=name)
    for one, other in zip(first.examples[RiskNetwork], again.examples[RiskNetwork], strict=True):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.counts, other.counts)
    _, validation = first.examples[RiskNetwork]
    assert len(validation.values) == task.scored.sum() * (task.test - 1 - task.validation)  # all that is judged


class Peeking(Rule):
    name = "peeking"

    def forecast(self, cube, first, *, delay=0):
        return cube.counts[first:].astype(float)


def test_a_rival_that_knows_the_future_is_refused(task, monkeypatch):
    monkeypatch.setattr(module, "RIVALS", (Peeking(),))
    with pytest.raises(LeakError, match="'peeking' leaks"):
        run(task)


def test_a_feature_that_knows_the_future_is_refused(task, monkeypatch):
    """Told a day that has not been, by counts that take it."""
    ended = until(task, int(task.cube.starts_s[task.test]))
    np.testing.assert_array_equal(features_of(task), features_of(ended))
    honest, honest_spec = Replay.lead_to, product.spec_of
    monkeypatch.setattr(
        product, "spec_of", lambda task: msgspec.structs.replace(honest_spec(task), future_limit_s=DAY_S)
    )

    def hasty(self, as_of_s):
        self.lag_s = -DAY_S
        return honest(self, as_of_s)

    monkeypatch.setattr(Replay, "lead_to", hasty)
    assert (features_of(task) != features_of(ended)).any(), "the plant leaks nothing"
    monkeypatch.setattr(module, "RIVALS", module.RIVALS[:1])
    with pytest.raises(LeakError, match=r"feature cell_.* changes with what happens after the step begins"):
        run(task)


def test_with_a_delay_no_feature_knows_the_unreported_day(task):
    unreported = int(task.cube.starts_s[task.test - 1])
    np.testing.assert_array_equal(features_of(task, delay=1), features_of(until(task, unreported), delay=1))
    assert (features_of(task, delay=1) != features_of(task)).any()
    assert task.cube.counts[task.test - 1].sum() > 0


def until(task, end_s):
    """The task without what happens from `end_s` on; its cube stays."""
    past = task.incidents.occurred_s < end_s
    return replace(task, incidents=task.incidents.select(past), cell=task.cell[past])


def features_of(task, *, delay=0):
    """(scored cells, categories, features) of the first judged step."""
    learned = learn(task, [], purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)
    first = range(task.test, task.test + 1)
    return next(judged_inputs(task, learned, [first]))[RiskNetwork.inputs][0]


def test_a_delay_or_a_purge_that_leaves_nothing_is_refused_before_anything_is_fitted(task, monkeypatch):
    monkeypatch.setattr(module, "RIVALS", None)
    with pytest.raises(DataError, match="691200 s late would not be counted: use at most 604800 s"):
        run(task, delay=8)
    with pytest.raises(DataError, match=r"purge of 60 steps leaves too few of the 180 .* 60 to choose by.*at most 58"):
        run(task, purge=60)
    short = replace(task, validation=6, test=12)
    with pytest.raises(DataError, match="choose a smaller --delay-steps, or give a longer file"):
        run(short, purge=7, delay=6)


def test_every_model_is_judged_with_the_same_least_forecast(task, found, quick):
    """With one above all forecasts, all are the same; the best of seeds is then as good as the worst rule."""
    seen = task.cube.counts[: task.validation, task.scored]
    floored = module.Judge(task=task, seed=0).floored(np.zeros((1, int(task.scored.sum()), 2)))
    np.testing.assert_allclose(floored[0, 0], (1e-4 * seen.sum(axis=(0, 1)) + 0.5) / seen[..., 0].size)
    quick.setattr(judge_module, "SHARES", (0.0,))
    quick.setattr(judge_module, "least_mean", lambda counts: np.array([50.0, 50.0]))
    for row in run(task, regressions=(PoissonGlm(),)).rows:
        assert row.scores.sheet.forecast_over_actual == pytest.approx(
            50 * floored[0].size * 60 / task.cube.counts[task.test :, task.scored].sum()
        ), row.model


class Stubborn(Rule):
    """Expects nothing where nothing has come in the last two days, and what came otherwise."""

    name = "stubborn"

    def forecast(self, cube, first, *, delay=0):
        return np.stack([cube.counts[step - 2 : step].mean(axis=0) for step in range(first, len(cube))])


def test_a_rule_that_takes_quiet_for_dead_may_mix_in_the_mean_as_all_others_may(task, found, quick):
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Stubborn()))
    row = run(task).row("stubborn")
    assert row.chosen[MIXED_IN] == max(judge_module.SHARES)
    judge = module.Judge(task=task, seed=0)
    raw = judge.floored(Stubborn().forecast(task.cube, task.test)[:, task.scored])
    by_hand = 0.95 * raw + 0.05 * task.cube.counts[: task.validation, task.scored].mean(axis=(0, 1))
    scores = []
    for mean in (by_hand, raw):
        with Spool(task.test, raw.shape[1:], np.float64) as spool:
            spool.append(mean)
            scores.append(judge.scores(spool.read, row.dispersion))
    assert row.scores.sheet.nb_log_score == pytest.approx(scores[0].sheet.nb_log_score)
    assert row.scores.sheet.nb_log_score < scores[1].sheet.nb_log_score
    assert found.row("network").chosen[MIXED_IN] in judge_module.SHARES


class Noting(Rule):
    """Says how many steps it was given to learn from."""

    name = "noting"
    fitted_until: ClassVar[list[int]] = []

    def fit(self, past, validation, *, delay=0):
        self.fitted_until.append(len(past))
        return self

    def forecast(self, cube, first, *, delay=0):
        return np.ones((len(cube) - first, *cube.counts.shape[1:]))


def test_several_origins_are_fitted_apart_and_judge_each_step_once(task, quick):
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Noting()))
    Noting.fitted_until.clear()
    task = replace(task, validation=task.test - 20)
    rolled = evaluate_rolling(task, plan_of(), origins=2, now=NOW, versions={})
    assert Noting.fitted_until == [task.test - 60 - 1, task.test - 1]
    alone = run(task)
    assert [row.scores.sheet for row in rolled.rows] == [row.scores.sheet for row in alone.rows]
    assert rolled.origins.judged_from_s == (int(task.cube.starts_s[180]), int(task.cube.starts_s[240]))
    for row in rolled.origins.rows:
        assert row.nb_log_scores[1] == pytest.approx(alone.row(row.model).scores.sheet.nb_log_score)
        assert row.nb_log_score == pytest.approx(np.mean(row.nb_log_scores))
    with pytest.raises(DataError, match="with 2 more origins only"):
        evaluate_rolling(task, plan_of(), origins=3, now=NOW, versions={})


def test_rules_learn_up_to_the_purge_and_know_the_delay(task, quick):
    Noting.fitted_until.clear()
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Noting()))
    run(task, purge=5, delay=1)
    assert Noting.fitted_until == [task.test - 5]


def test_a_time_without_incidents_gives_no_verdict(task, quick):
    """There the forecast that expects the least seems best."""
    quiet = task.cube.counts.copy()
    quiet[task.test :] = 0
    quiet[task.test, 0, 0] = 99
    row = run(replace(task, cube=replace(task.cube, counts=quiet))).network
    assert (row.versus_best_baseline.verdict, row.versus_best_rule.verdict) == ("too few", "too few")
    assert {versus.verdict for versus in row.versus_by_category.values()} == {"too few"}
