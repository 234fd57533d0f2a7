"""Every model on one task: fitted on the past, checked for leaks, judged on the steps that no choice has seen."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec
import numpy as np

from models.evaluation.contract import Regression, Regressor, Rival
from models.evaluation.judge import ROWS, Forecast, Judge, mean_scores
from models.evaluation.leaks import refuse_leaks
from models.evaluation.origins import combine_origins
from models.evaluation.product import (
    Learned,
    ProductBaseline,
    ProductNetwork,
    judged_inputs,
    learn,
    refuse_leaking_features,
    spec_of,
)
from models.evaluation.result import NETWORK_KINDS, Evaluation, Losses, ModelResult
from models.evaluation.rivals import RIVALS
from models.evaluation.spool import Spool
from models.evaluation.tasks import Task, earlier
from models.hyperparameters import DEFAULT, Hyperparameters
from models.measures.cube import Floats, Runs
from models.network import RiskNetwork
from models.networks import kind_of_network
from models.training.replay import refuse_lag
from schemas.errors import DataError

MIXED_IN = "share_of_the_mean_mixed_in"
PRODUCT_BASELINE = "our baseline"
EPOCHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    regressions: Sequence[Regression]
    seeds: Sequence[int]  # of the network; the first decides every draw that is not a model's, too
    purge: int  # steps left out between what models learn from and what comes after
    delay: int  # steps until counts are known
    recipe: Hyperparameters = DEFAULT  # of the networks
    networks: Sequence[str] = (DEFAULT.network,)  # kinds to judge; the report speaks of the first one
    tell: Callable[[str, float], None]  # (what, how far 0..1)
    rows: int = ROWS  # cells at steps whose features and forecasts are in memory at a time


def evaluate(task: Task, plan: EvaluationPlan, *, now: datetime, versions: Mapping[str, str]) -> Evaluation:
    """All rows of the table.

    Raises LeakError when a forecast or a feature uses what it cannot know, and DataError for a delay or a purge that
    leaves nothing to count or to choose by.
    """
    refuse_lag(spec_of(task), plan.delay * task.step_s)
    least = min(task.test - task.validation, task.validation // 2)
    if plan.purge >= least:
        raise DataError(
            f"a purge of {plan.purge} steps leaves too few of the {task.validation} to learn from and the "
            f"{task.test - task.validation} to choose by",
            remedy=f"choose a --purge-steps of at most {least - 2 - plan.delay}",
        )
    began = time.monotonic()
    judge = Judge(task=task, seed=plan.seeds[0], rows=plan.rows)
    rows = []
    for number, rival in enumerate(RIVALS):
        plan.tell(f"counting: {rival.name}", number / len(RIVALS))
        rows.append(_counting_row(rival, judge, plan))
    plan.tell("counting", 1.0)
    learned = learn(
        task,
        [kind_of_network(kind) for kind in plan.networks],
        purge=plan.purge,
        delay=plan.delay,
        random=np.random.default_rng(plan.seeds[0]),
        tell=lambda share: plan.tell("replay", share),
    )
    featured, expected, learning = _featured_rows(learned, judge, plan)
    rows += featured
    best = min((row for row in rows if row.kind not in NETWORK_KINDS), key=_log_score)
    best_rule = min((row for row in rows if row.kind == "rule"), key=_log_score)
    rows = [_compared(row, best, best_rule, judge) for row in rows]
    return Evaluation(
        task=task.name,
        title=task.title,
        data_file=task.data_file,
        data_sha256=task.data_sha256,
        cube=task.cube,
        first=task.test,
        scored_cells=judge.cells,
        outside=task.outside,
        purge_steps=plan.purge,
        delay_steps=plan.delay,
        rows=sorted(rows, key=_log_score),
        best_baseline=best.model,
        best_rule=best_rule.model,
        observed=judge.observed,
        expected=expected,
        learning=learning,
        seconds=time.monotonic() - began,
        peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20),
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
        versions=versions,
        recipe=plan.recipe,
        seeds=tuple(plan.seeds),
    )


def evaluate_rolling(
    task: Task, plan: EvaluationPlan, *, origins: int, now: datetime, versions: Mapping[str, str]
) -> Evaluation:
    """`evaluate`, and the same at origins before: `origins` blocks of time, one behind the other, each judged once."""
    tasks = [earlier(task, blocks) for blocks in range(origins - 1, 0, -1)]
    found = [evaluate(one, plan, now=now, versions=versions) for one in (*tasks, task)]
    if origins == 1:
        return found[0]
    return replace(
        found[-1],
        origins=combine_origins(found, seed=plan.seeds[0]),
        seconds=sum(one.seconds for one in found),
        peak_gib=max(one.peak_gib for one in found),
    )


def _log_score(row: ModelResult) -> float:
    return row.scores.sheet.nb_log_score


def _compared(row: ModelResult, best: ModelResult, best_rule: ModelResult, judge: Judge) -> ModelResult:
    if row is not best_rule:
        row = replace(row, versus_best_rule=judge.versus(row.scores, best_rule.scores))
    if row.model == best.model:
        return row
    each = {name: judge.versus(row.scores, best.scores, name) for name in judge.task.cube.categories}
    return replace(row, versus_best_baseline=judge.versus(row.scores, best.scores), versus_by_category=each)


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
    with Spool(task.validation, (judge.cells, len(cube.categories)), np.float64) as spool:
        forecasts = iter(forecaster.forecast(cube, validation, delay=plan.delay))
        for is_kept in judge.is_kept[task.validation :]:
            mean = next(forecasts) if is_kept else np.zeros(cube.counts.shape[1:])
            spool.append(judge.floored(mean[task.scored]))
        fitted = _Fitted(name=rival.name, kind="rule", chosen=forecaster.chosen, seconds=time.monotonic() - began)
        return _row(fitted, lambda: judge.kept(spool.read, choosing), [spool], judge)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """A row before it is judged."""

    name: str
    kind: str
    chosen: Mapping[str, float] = field(default_factory=dict)
    models: Sequence[Regressor] = ()  # that see features: one for each seed
    of: type[RiskNetwork] = RiskNetwork  # the kind of network whose inputs they are given; RiskNetwork: the features
    losses: tuple[tuple[float, ...], ...] = ()  # of networks
    seconds: float = 0.0


def _fitted_regression(regression: Regression, learned: Learned, plan: EvaluationPlan) -> _Fitted:
    plan.tell(f"fitting: {regression.name}", 0.0)
    began = time.monotonic()
    models = regression.fit(*learned.examples[RiskNetwork], seeds=plan.seeds)
    return _Fitted(
        name=regression.name,
        kind="regression",
        chosen=models[0].chosen,
        models=models,
        seconds=time.monotonic() - began,
    )


def _fitted_networks(kind: str, learned: Learned, plan: EvaluationPlan) -> _Fitted:
    recipe, began, networks = msgspec.structs.replace(plan.recipe, network=kind), time.monotonic(), []
    name = "network" if kind == DEFAULT.network else f"{kind} network"
    for number, seed in enumerate(plan.seeds):
        plan.tell(f"fitting: {name}, seed {seed}", number / len(plan.seeds))
        networks.append(ProductNetwork.fit(learned, recipe=recipe, epochs=EPOCHS, seed=seed))
    return _Fitted(
        name=name,
        kind=NETWORK_KINDS[kind != plan.networks[0]],
        chosen=networks[0].chosen,
        models=networks,
        of=kind_of_network(kind),
        losses=tuple(one.losses for one in networks),
        seconds=time.monotonic() - began,
    )


def _forecast(
    each: Sequence[_Fitted], spools: Sequence[Sequence[Spool]], learned: Learned, judge: Judge, plan: EvaluationPlan
) -> None:
    """Writes the floored forecasts of each row's models, in one pass over the judged steps."""
    task, categories = judge.task, len(judge.task.cube.categories)
    steps, runs = judge.judged, judge.runs(judge.judged)
    checked = steps[int(np.random.default_rng(plan.seeds[0]).integers(len(steps)))]
    for run, inputs in zip(runs, judged_inputs(task, learned, runs), strict=True):
        plan.tell("judging", (run.start - task.test) / len(steps))
        if checked in run:
            values = inputs[RiskNetwork.inputs][run.index(checked)]
            refuse_leaking_features(task, learned, checked, values, delay=plan.delay)
        for row, of_row in zip(each, spools, strict=True):
            flat = inputs[row.of.inputs].reshape(-1, categories, inputs[row.of.inputs].shape[-1])
            for spool, model in zip(of_row, row.models, strict=True):
                spool.append(judge.floored(model.predict(flat).reshape(-1, judge.cells, categories)))
    plan.tell("judging", 1.0)


def _featured_rows(learned: Learned, judge: Judge, plan: EvaluationPlan) -> tuple[list[ModelResult], Floats, Losses]:
    """The rows that see the product's features; what the first network expects, (cells, categories); its losses."""
    task = judge.task
    fitted = [_Fitted(name=PRODUCT_BASELINE, kind="regression", models=[ProductBaseline()])]
    fitted += [_fitted_regression(regression, learned, plan) for regression in plan.regressions]
    networks = [_fitted_networks(kind, learned, plan) for kind in plan.networks]
    fitted += networks
    plan.tell("fitting", 1.0)
    rows, expected = [], np.full((len(task.scored), len(task.cube.categories)), np.nan)
    shape = (judge.cells, len(task.cube.categories))
    with ExitStack() as open_files:
        spools = [[open_files.enter_context(Spool(task.test, shape, np.float32)) for _ in row.models] for row in fitted]
        _forecast(fitted, spools, learned, judge, plan)
        for row, judged in zip(fitted, spools, strict=True):
            found = _featured_row(row, judged, learned, judge)
            rows.append(found)
            if row.kind == NETWORK_KINDS[0]:
                expected[task.scored] = judge.expected(_mean_of(judged, judge, found.chosen[MIXED_IN]))
    return rows, expected, networks[0].losses


def _featured_row(fitted: _Fitted, judged: Sequence[Spool], learned: Learned, judge: Judge) -> ModelResult:
    known = learned.examples[fitted.of][1]
    seen, values = known.counts[:, :, 0].numpy(), known.values.numpy()
    chosen = np.mean([judge.floored(model.predict(values)) for model in fitted.models], axis=0)
    return _row(fitted, lambda: [(chosen[None], seen[None])], judged, judge)


def _mean_of(judged: Sequence[Spool], judge: Judge, share: float) -> Forecast:
    """The mean over the seeds, with `share` of the usual mixed in."""
    return lambda run: np.mean([judge.mixed(spool.read(run), share) for spool in judged], axis=0)


def _row(fitted: _Fitted, chosen: Callable[[], Runs], judged: Sequence[Spool], judge: Judge) -> ModelResult:
    """Mix in the mean, take the likeliest dispersion, and judge.

    chosen: floored forecasts of the validation block, and counts. judged: those of the judged steps, one for each seed.
    """
    share = judge.share_mixed_in(chosen())
    dispersion = judge.dispersion(chosen(), share)
    of_seeds = [judge.scores(_mean_of([spool], judge, share), dispersion) for spool in judged]
    return ModelResult(
        model=fitted.name,
        kind=fitted.kind,
        scores=mean_scores(of_seeds),
        totals=judge.totals(_mean_of(judged, judge, share), dispersion),
        dispersion=dispersion,
        chosen={**fitted.chosen, MIXED_IN: share},
        seeds=len(judged),
        log_scores_of_seeds=tuple(one.sheet.nb_log_score for one in of_seeds),
        seconds=fitted.seconds,
    )
