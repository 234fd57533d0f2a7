"""A whole evaluation of a small town: what it finds, its row that follows, and the hours after surges."""

import pickle
from contextlib import closing
from dataclasses import asdict, replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import nbinom

from models.dispersion import Dispersion, log_scores
from models.evaluation import evaluate as module
from models.evaluation import judge as judge_module
from models.evaluation.evaluate import spec_of, write_followed
from models.evaluation.evaluation_report import NONE, print_table, render, surge_texts
from models.evaluation.judge import LEAST_SURGES, MIXED_IN, Judge, Spool, SurgeFigures, is_surge, surge_rows
from models.evaluation.rivals import Boosting, Constant, Historical, PoissonGlm, Rule
from models.follower import Follower, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.nowcast import LastHours
from models.training.fit_baseline import JUDGED_SIZE
from schemas.spec import DAY_S, HOUR_S, Spec
from tests.harness.made_examples import one_penalty
from tests.harness.small_task import evaluated, plan_of, small_evaluation


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


def test_a_rule_with_the_networks_level_differs_from_the_network_by_places_alone(task, evaluation):
    network = evaluation.network.scores
    rules = [row for row in evaluation.rows if row.kind == "rule"]
    assert rules == [row for row in evaluation.rows if row.levelled]
    for row in rules:
        as_is, levelled = row.scores.sheet, row.levelled.sheet
        assert levelled.forecast_over_actual == pytest.approx(network.sheet.forecast_over_actual, rel=1e-6)
        assert [at.hit_rate for at in levelled.ranking] == pytest.approx([at.hit_rate for at in as_is.ranking])
        assert row.place.mean == pytest.approx(network.sheet.nb_log_score - row.levelled_score, abs=1e-12)
    judge = Judge(task=task, seed=0)
    totals = np.random.default_rng(0).uniform(5, 30, (len(judge.judged), 2))
    row = module._counting_row(Constant(), judge, plan_of(), totals)
    seen = judge.counts(judge.judged)
    for place in range(2):
        spread = np.repeat(totals[:, place] / judge.cells, judge.cells)
        by_hand = log_scores(spread, seen[:, :, place].ravel(), row.dispersion[place]).reshape(seen.shape[:2])
        np.testing.assert_allclose(row.levelled.log_score_sums[0, :, place], by_hand.sum(axis=1), rtol=1e-6)


def test_no_forecast_beats_the_truth_and_ours_come_close(small, evaluation):
    task, truth = small
    mean, observed = truth[task.test :, task.scored], task.cube.counts[task.test :, task.scored]
    best_possible = -nbinom.logpmf(observed, 300, 300 / (300 + mean)).mean()
    assert best_possible < evaluation.network.scores.sheet.nb_log_score < best_possible + 0.03
    assert evaluation.network.scores.sheet.nb_log_score < evaluation.row("EWMA 60 d").scores.sheet.nb_log_score


def test_a_network_row_is_the_mean_of_its_seeds_and_cells_that_are_not_scored_have_no_part(task, evaluation):
    network = evaluation.network
    assert network.seeds == len(network.log_scores_of_seeds) == len(evaluation.learning) == 2
    assert network.scores.sheet.nb_log_score == pytest.approx(np.mean(network.log_scores_of_seeds))
    other = task.cube.counts.copy()
    other[task.test :, 3] += 50  # in the only cell that is not scored
    judge = module.Judge(task=replace(task, cube=replace(task.cube, counts=other)), seed=0)
    again = module._counting_row(Historical(), judge, plan_of(), np.ones((len(judge.judged), 2)))
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


LATE = 2  # days after a day until what came in it is learned: it is final 25 hours after its end


def judged_by(task):
    return Judge(task=task, seed=0, rows=7 * 19)


def mean_of(task):
    """(scored cells, categories) of the days before those that are judged."""
    judge = judged_by(task)
    return judge.floored(judge.counts(range(task.test)).mean(axis=0))


def constants_of(horizons):
    dispersion = Dispersion.quadratic(np.full((2, horizons), 30.0))
    return SimpleNamespace(profile=np.ones((2, 168)), dispersion_in_cells=lambda **_: dispersion)


def followed(task, raw, delay=0):
    """(judged days, scored cells, categories) of a forecast that is always `raw`."""
    learned = SimpleNamespace(engine=SimpleNamespace(spec=spec_of(task)), constants=constants_of(1))
    judge = judged_by(task)
    with closing(Spool(task.test, raw.shape, np.float64)) as spool:
        write_followed(lambda run: np.repeat(raw[None], len(run), axis=0), learned, judge, delay, spool)
        return spool.read(judge.judged)


def test_a_forecast_of_half_is_doubled_once_that_is_final(task):
    raw = mean_of(task) / 2
    shown = followed(task, raw)
    assert (shown[: LATE + 1] == judged_by(task).floored(raw)).all()
    assert (shown[LATE + 1] != raw).any()
    np.testing.assert_allclose(shown[-10:].sum(axis=(1, 2)) / raw.sum(), 2, rtol=0.3)


def test_a_forecast_knows_nothing_that_is_not_final(task, other_end):
    raw = mean_of(task)
    changed = task.test + 30
    counts = np.concatenate([task.cube.counts[:changed], other_end.cube.counts[changed:]])
    before, after = (followed(each, raw) for each in (task, replace(task, cube=replace(task.cube, counts=counts))))
    assert (before[: 30 + LATE + 1] == after[: 30 + LATE + 1]).all()
    assert (before[30 + LATE + 1 :] != after[30 + LATE + 1 :]).any()
    assert (followed(task, raw, delay=5)[:6] == raw).all()


def test_a_day_that_is_cut_out_is_not_learned(task):
    raw = mean_of(task)
    cut = int(task.cube.starts_s[task.test + 10]) // HOUR_S
    without = replace(task, incidents=replace(task.incidents, cut_hours=np.array([cut])))
    counts = task.cube.counts.copy()
    counts[task.test + 10] = 99
    silly = replace(without, cube=replace(task.cube, counts=counts))
    assert (followed(without, raw) == followed(silly, raw)).all()


def test_each_horizon_is_learned_in_the_hour_after_its_counts_are_final_and_a_baseline_s_never(task):
    whole = spec_of(task)
    parts = {name: getattr(whole, name) for name in whole.__struct_fields__} | {"horizons_s": (HOUR_S, DAY_S)}
    spec = Spec(**parts | {"features": (*whole.features, "log_usual_24h")})
    asked = []

    def counts(start_s, stop_s):
        asked.append((now_s, start_s, stop_s))
        return np.ones((spec.grid.cells, 2), np.int64)

    parts = {"follower": Follower.of(spec, constants_of(2)), "state": FollowerState.new(spec)}
    following = SequentialFollowing(counts=counts, delay_s=served_delay_s(), **parts)
    for now_s in range(0, 60 * HOUR_S, HOUR_S):
        following.next_factors(now_s, None if now_s == 5 * HOUR_S else np.ones((spec.grid.cells, 2, 2)))
    hours, days = ([each for each in asked if each[2] - each[1] == span_s] for span_s in (HOUR_S, DAY_S))
    assert hours == [
        (at_s + 27 * HOUR_S, at_s, at_s + HOUR_S) for at_s in range(0, 33 * HOUR_S, HOUR_S) if at_s != 5 * HOUR_S
    ]
    assert days == [
        (at_s + 50 * HOUR_S, at_s, at_s + DAY_S) for at_s in range(0, 10 * HOUR_S, HOUR_S) if at_s != 5 * HOUR_S
    ]


STEPS, CELLS = 200, 40
PLAN = {"steps_per_week": 168, "seed": 0}


def known(came, usual):
    none = np.zeros(2)
    return LastHours(came=none, usual=none, came_1h=np.array(came, float), usual_1h=np.array(usual, float))


def test_a_surge_is_four_deviations_above_the_usual_of_all_categories_together():
    steps = [known([4, 21], [4, 4]), known([4, 15], [4, 4]), known([9, 9], [4, 5]), known([0, 0], [4, 4])]
    assert is_surge(steps).tolist() == [25 - 8 > 4 * 8**0.5, False, False, False] == [True, False, False, False]


@pytest.fixture(scope="module")
def world():
    """Counts, the forecast of a plain model and of one that knows of the surges, and which steps follow one."""
    draw = np.random.default_rng(0)
    plain = draw.gamma(2, 0.1, (STEPS, CELLS, 2))
    after = draw.random(STEPS) < 0.1
    factor = np.where(after, 2.0, 1.0)[:, None, None]
    return draw.poisson(plain * factor).astype(np.int32), {"network": plain, "knows": plain * factor}, after


def figures_of(world, part):
    counts, forecasts, after = world[0][part], {name: of[part] for name, of in world[1].items()}, world[2][part]
    cells = {name: -nbinom.logpmf(counts, 2, 2 / (2 + of)).sum(axis=(1, 2)) for name, of in forecasts.items()}
    return {name: SurgeFigures.of([(of, counts)], after, cells[name]) for name, of in forecasts.items()}, cells


def test_every_figure_is_that_of_a_plain_sum_over_the_origins(world):
    parts = slice(0, 120), slice(120, STEPS)
    rows = surge_rows([figures_of(world, part)[0] for part in parts], "network", **PLAN)
    (counts, forecasts, after), cells = world, figures_of(world, slice(None))[1]
    came, totals = counts.sum(axis=(1, 2)), {model: mean.sum(axis=(1, 2)) for model, mean in forecasts.items()}
    region = {model: -nbinom.logpmf(came, JUDGED_SIZE, JUDGED_SIZE / (JUDGED_SIZE + totals[model])) for model in totals}
    assert [row.model for row in rows] == ["network", "knows"]

    def percent(scores, model, of=slice(None)):
        return 100 * (scores[model][of].sum() / scores["network"][of].sum() - 1)

    for row in rows:
        expected = totals[row.model]
        ratio = expected[after].sum() / came[after].sum()
        first = np.argsort(-forecasts[row.model].sum(axis=2), axis=1)[:, :2]  # 5 % of 40 cells
        hits = np.take_along_axis(counts.sum(axis=2), first, axis=1).sum(axis=1)
        by_hand = {
            "steps": after.sum(),
            "came": came[after].mean(),
            "forecast": expected[after].mean(),
            "forecast_over_actual": ratio,
            "hits": hits[after].sum() / came[after].sum(),
            "cells_percent": percent(cells, row.model, after),
            "all_cells_percent": percent(cells, row.model),
            "region_percent": percent(region, row.model, after),
            "all_region_percent": percent(region, row.model),
            "moved": (np.abs(expected / totals["network"] - 1) > 0.1).mean(),
        }
        assert {name: getattr(row, name) for name in by_hand} == pytest.approx(by_hand)
        assert row.low <= ratio <= row.high
    assert rows[1].cells_percent < 0


def test_of_too_few_surges_only_what_is_of_all_steps_is_said(world):
    few, enough = ((world[0], world[1], np.arange(STEPS) < number) for number in (LEAST_SURGES - 1, LEAST_SURGES))
    said, more = (surge_rows([figures_of(of, slice(None))[0]], "network", **PLAN)[1] for of in (few, enough))
    of_all = ("all_region_percent", "all_cells_percent", "moved")
    missing, there = ({name: of for name, of in asdict(row).items() if name != "model"} for row in (said, more))
    assert np.isfinite([*there.values()]).all()
    assert {name for name, figure in missing.items() if np.isfinite(figure)} == {"steps", *of_all}
    assert (said.steps, more.steps) == (LEAST_SURGES - 1, LEAST_SURGES)
    assert [missing[name] for name in of_all] == [there[name] for name in of_all]
    (texts,) = surge_texts([said])
    assert texts[2:8] == (NONE,) * 6
    assert "nan" not in "".join(texts)


@pytest.mark.parametrize("shown", ["page", "terminal"])
def test_the_report_draws_the_table_after_surges_best_cells_first(world, shown):
    rows = surge_rows([figures_of(world, slice(None))[0]], "network", **PLAN)
    evaluation = replace(small_evaluation(), after_surges=rows)
    knows = next(row for row in rows if row.model == "knows")
    if shown == "page":
        text = render(evaluation, b"")
        assert "After a surge" not in render(replace(evaluation, after_surges=()), b"")
    else:
        console = Console(file=StringIO(), width=200)
        print_table(evaluation, console)
        text = console.file.getvalue()
    said = text[text.index("After a surge") :]
    assert f"{knows.cells_percent:+.2f} ({knows.cells_low:+.2f} to {knows.cells_high:+.2f})" in said
    assert f"{knows.forecast_over_actual:.2f} ({knows.low:.2f} to {knows.high:.2f})" in said
    assert 0 < said.index("knows") < said.index("+0.00 (+0.00 to +0.00)")
