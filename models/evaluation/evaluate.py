"""An evaluation: rivals that count, then the product's own counts, features, baseline and network, in one table.

Rolling origin: the same models are fitted again for earlier stretches of time, and their differences combined. Source:
Tashman, Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16, 2000.
"""

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.comparison import Difference, day_blocks, difference_of
from models.evaluation.inside_cells import judge_inside
from models.evaluation.judge import (
    FOLLOWING,
    MIXED_IN,
    NETWORK,
    NOWCAST,
    OUR_BASELINE,
    WITH_THE_NETWORK,
    Contender,
    Evaluation,
    EvaluationPlan,
    Forecast,
    Judge,
    Losses,
    ModelResult,
    Origins,
    RollingResult,
    Spool,
    SurgeFigures,
    is_surge,
    refuse_leaks,
    surge_rows,
)
from models.evaluation.rival_contract import Regressor, Rival, Values
from models.evaluation.rivals import RIVALS
from models.evaluation.tasks import Task, earlier
from models.feature_lists import usual_columns
from models.features import FeatureEngine, feature_names, informed
from models.follower import Follower, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.local_time import minute
from models.measures import Counts, Floats
from models.network import RiskNetwork, residual_of
from models.nowcast import LastHours, factors_of, no_nowcast
from models.training.fit_baseline import Blocks, fit_constants, fit_nowcast, likeliest_dispersion
from models.training.fit_network import (
    Examples,
    FitData,
    FitPlan,
    cells_to_learn,
    collect,
    fit_network,
)
from models.training.replay import IncidentHistory, Replay, refuse_lag
from schemas.errors import DataError, LeakError
from schemas.files import replace_file, sha256, write_errors
from schemas.spec import DAY_S, Spec

BURN_IN_DAYS = 28  # before them the memory is too short to learn from
_USUAL = usual_columns(1)  # a task has one horizon
MOST_MOMENTS = 6000  # steps that are learned from: a random part of those there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the steps before the judged block gave."""

    engine: FeatureEngine
    constants: BaselineConstants  # with the dispersion that is likeliest on the validation steps
    train: Examples
    validation: Examples  # to choose by: every step and scored cell, as it will be judged
    replay: Replay  # at the end of the validation steps


def spec_of(task: Task) -> Spec:
    """The spec under which the product would serve the task: one horizon, the step."""
    spec = Spec(
        region=task.name,
        timezone=task.incidents.timezone,
        grid=task.grid,
        categories=task.cube.categories,
        horizons_s=(task.step_s,),
        late_limit_s=7 * DAY_S,  # the longest there is: records of files become known days later
        features=feature_names((f"{task.step_s // 3600}h",)),
        answered_by=task.answered_by,
    )
    return informed(spec, holidays=task.holidays, calendar=task.calendar.names)


def learn(task: Task, *, purge: int, delay: int, random: np.random.Generator, tell: Callable[[float], None]) -> Learned:
    """Fit the baseline, and collect what networks and regressions learn from. `tell` reports how far it is, 0..1."""
    spec, starts_s = spec_of(task), task.cube.starts_s
    history = history_of(task, spec, int(starts_s[-1]))
    first = min(BURN_IN_DAYS * DAY_S // task.step_s, task.validation // 5)
    learn_until, choose_until = task.validation - purge, task.test - purge
    burn_in_s, validation_s, test_s, end_s = starts_s[[first, learn_until, choose_until, -1]].tolist()
    blocks = Blocks(burn_in_s=burn_in_s, validation_s=validation_s, test_s=test_s, end_s=end_s)
    past = history_of(task, spec, blocks.test_s)  # ends before what is judged
    constants = fit_constants(past, blocks)
    # Where counts are known late the last hours tell nothing.
    nowcast = None if delay else fit_nowcast(past, constants, blocks.burn_in_s, blocks.test_s)
    constants = replace(constants, nowcast=nowcast or no_nowcast(1))
    engine = FeatureEngine(spec, constants, history.counts_before)
    replay = Replay(history, delay * task.step_s)
    cells = cells_to_learn(history, blocks.validation_s, random)

    def report_replay(at_s: int) -> None:
        tell((at_s - blocks.burn_in_s) / (blocks.test_s - blocks.burn_in_s))

    def examples(start: int, stop: int, of: npt.NDArray[np.intp]) -> Examples:
        steps = start + np.flatnonzero(task.is_kept[start:stop])
        chosen = np.sort(random.choice(steps, min(len(steps), MOST_MOMENTS), replace=False))
        return collect(replay, engine, starts_s[chosen].tolist(), of, random, report_replay)[0]

    train = examples(first, learn_until, cells)
    validation = examples(task.validation, choose_until, np.flatnonzero(task.scored))
    constants = replace(constants, dispersion=likeliest_dispersion(validation.log_usual, validation.counts))
    return Learned(engine=engine, constants=constants, train=train, validation=validation, replay=replay)


def history_of(task: Task, spec: Spec, cutoff_s: int) -> IncidentHistory:
    inside = np.ones(len(task.cell), np.bool_)
    past = IncidentHistory.placed(task.incidents, task.cell, inside, spec, cutoff_s)
    return replace(past, calendar=task.calendar.days)


def judged_inputs(task: Task, learned: Learned, runs: Iterable[range]) -> Iterator[tuple[Values, list[LastHours]]]:
    """For each run of steps, the judged ones in their order, (steps, scored cells, categories, features).

    And what was known of the hours before each step.
    """
    cells = np.flatnonzero(task.scored)
    for run in runs:
        values: list[Values] = []
        lately: list[LastHours] = []
        for step in run:
            features = learned.engine.compute(learned.replay.lead_to(int(task.cube.starts_s[step])))
            lately += [features.lately] if features.lately else []
            values.append(features.values[cells])
        yield np.stack(values), lately


def refuse_leaking_features(
    task: Task, learned: Learned, step: int, computed: Values, lately: LastHours, *, delay: int
) -> None:
    """Raises LeakError when the features of a step change with what happened after it began.

    computed, lately: (scored cells, categories, features) of that step, and what came before it, by the evaluation.
    They are computed again by a fresh replay of a history that ends with what is reported when the step begins, `delay`
    steps late.
    """
    lag_s = delay * task.step_s
    at_s = int(task.cube.starts_s[step])
    spec = learned.engine.spec
    engine = FeatureEngine(spec, learned.engine.constants)
    replay = Replay(history_of(task, spec, at_s - lag_s), lag_s)
    again = engine.compute(replay.lead_to(at_s))
    changed = (again.values[np.flatnonzero(task.scored)] != computed).any(axis=(0, 1))
    is_later = again.lately is None or again.lately.pack() != lately.pack()
    if changed.any() or is_later:
        names = [name for name, differs in zip(spec.features, changed, strict=True) if differs]
        names += ["of the last hours"] * is_later
        raise LeakError(
            f"feature {', '.join(names)} of step {step} changes with what happens after the step begins",
            "let it use only counts before it",
        )


class ProductBaseline:
    """The forecast that the network starts from, and that serves when there is no network."""

    chosen: ClassVar[Mapping[str, float]] = {}

    def predict(self, values: Values) -> Values:
        return np.asarray(np.exp(values[:, :, _USUAL])[:, :, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductNetwork:
    network: RiskNetwork
    chosen: Mapping[str, float]

    def predict(self, values: Values) -> Values:
        return np.asarray(np.exp(values[:, :, _USUAL] + residual_of(values, self.network))[:, :, 0])


EPOCHS = 12
_RATIO_PRIOR = 10.0  # incidents
ORIGINS = ".origin-*.msgpack"  # files of an evaluation that goes on
_LEVELLED = ", with the network's level"


def featured_rows(
    learned: Learned, judge: Judge, plan: EvaluationPlan
) -> tuple[list[ModelResult], Losses, dict[str, SurgeFigures], Floats]:
    """The rows that see the product's features, the losses of the network, and figures of surges by model.

    And what the network expects of all cells, (judged steps, categories).
    """
    task, steps, runs = judge.task, judge.judged, judge.runs(judge.judged)
    shape = judge.cells, len(task.cube.categories)
    to_choose_by = learned.validation.values.numpy()
    observed = learned.validation.counts[:, :, 0].numpy().astype(np.int32)
    contenders, forecasts = list[Contender](), list[tuple[Regressor, Spool]]()
    with ExitStack() as open_files:

        def spools_for(seeds: Sequence[object], kind: npt.DTypeLike) -> list[Spool]:
            return [open_files.enter_context(closing(Spool(task.test, shape, kind))) for _ in seeds]

        def add(name: str, kind: str, models: Sequence[Regressor], seconds: float) -> Contender:
            spools = spools_for(models, np.float32)
            forecasts.extend(zip(models, spools, strict=True))
            floored = np.mean([judge.floored(model.predict(to_choose_by)) for model in models], axis=0)
            contender = Contender(
                model=name,
                kind=kind,
                chosen=models[0].chosen,
                seconds=seconds,
                validation=partial(iter, [(floored[None], observed[None])]),
                judged=[spool.read for spool in spools],
            )
            contenders.append(contender)
            return contender

        baseline = add(OUR_BASELINE, "regression", [ProductBaseline()], 0.0)
        for regression in plan.regressions:
            plan.tell(f"fitting: {regression.name}", 0.0)
            began = time.monotonic()
            models = regression.fit(learned.train, learned.validation, seeds=plan.seeds)
            add(regression.name, "regression", models, time.monotonic() - began)
        began, networks, losses = time.monotonic(), list[ProductNetwork](), list[list[float]]()
        data = FitData(train=learned.train, validation=learned.validation, dispersion=learned.constants.dispersion)
        for number, seed in enumerate(plan.seeds):
            plan.tell(f"fitting: {NETWORK}, seed {seed}", number / len(plan.seeds))
            losses.append([])
            fit_plan = FitPlan(recipe=plan.recipe, epochs=EPOCHS, seed=seed)
            fitted, kept = fit_network(data, fit_plan, lambda _, loss: losses[-1].append(loss))
            # From 1; 0 when no epoch was better than the linear part alone, or nothing gained.
            networks.append(ProductNetwork(network=fitted, chosen={"epoch": float(kept.epoch)}))
        network = add(NETWORK, NETWORK, networks, time.monotonic() - began)
        plan.tell("fitting", 1.0)

        # The floored forecasts of all models, in one pass over the judged steps.
        checked = steps[int(np.random.default_rng(plan.seeds[0]).integers(len(steps)))]
        lately: list[LastHours] = []
        for run, (values, before) in zip(runs, judged_inputs(task, learned, runs), strict=True):
            lately += before
            plan.tell("judging", (run.start - task.test) / len(steps))
            if checked in run:
                at = run.index(checked)
                refuse_leaking_features(task, learned, checked, values[at], before[at], delay=plan.delay)
            flat = values.reshape(-1, shape[1], values.shape[-1])
            for model, spool in forecasts:
                spool.append(judge.floored(model.predict(flat).reshape(-1, *shape)))
        plan.tell("judging", 1.0)
        # The network of each seed with a follower that begins with the judged steps.
        began, followed = time.monotonic(), spools_for(network.judged, np.float64)
        for number, (forecast, spool) in enumerate(zip(network.judged, followed, strict=True)):
            plan.tell("judging: following", number / len(followed))
            write_followed(forecast, learned, judge, plan.delay, spool)
        judged, seconds = [spool.read for spool in followed], time.monotonic() - began
        followed_name = f"{NETWORK}, following"
        contenders.append(replace(network, model=followed_name, kind=FOLLOWING, seconds=seconds, judged=judged))
        # Network and baseline with factors by what came in the hours before each step. The rival of a nowcast, an
        # exponentially weighted ratio, always moves.
        nowcast = learned.constants.nowcast or no_nowcast(1)
        for contender, name in ((network, "nowcast"), (network, "ratio of the last hours"), (baseline, "nowcast")):
            began, moved = time.monotonic(), spools_for(contender.judged, np.float32)
            for (forecast, spool), run in product(zip(contender.judged, moved, strict=True), runs):
                mean, usual = forecast(run), baseline.judged[0](run)
                over_usual = mean.sum(axis=1, dtype=np.float64) / usual.sum(axis=1, dtype=np.float64)
                factors = []
                for last_hours, ratio in zip(
                    lately[run.start - task.test : run.stop - task.test], over_usual, strict=True
                ):
                    if name == "nowcast":
                        factors.append(factors_of(last_hours, 1.0, nowcast, ratio[:, None])[0][:, 0])
                    else:
                        factors.append((_RATIO_PRIOR + last_hours.came) / (_RATIO_PRIOR + last_hours.usual * ratio))
                spool.append(judge.floored(mean * np.stack(factors)[:, None, :]))
            judged, seconds = [spool.read for spool in moved], time.monotonic() - began
            model_name = f"{contender.model}, {name}"
            contenders.append(replace(contender, model=model_name, kind=NOWCAST, seconds=seconds, judged=judged))
        results, surges = list[ModelResult](), dict[str, SurgeFigures]()
        after = is_surge(lately)[judge.is_kept[task.test :]]
        for contender in contenders:
            result = judge.row(contender)
            forecast = judge.mean_of(contender.judged, result.chosen[MIXED_IN])
            of_cells = np.asarray(result.scores.log_score_sums.mean(axis=0).sum(axis=1))
            surges[contender.model] = SurgeFigures.of(judge.in_runs(forecast, steps), after, of_cells)
            if contender is network:
                totals = np.concatenate([forecast(run).sum(axis=1) for run in runs])
                if task.fine > 1:
                    past = learned.replay.past.incidents
                    inside, chosen = judge_inside(task, past, forecast, runs, purge=plan.purge)
                    result = replace(result, inside=inside, chosen={**result.chosen, **chosen})
            results.append(result)
    return results, tuple(map(tuple, losses)), surges, totals


def write_followed(network: Forecast, learned: Learned, judge: Judge, delay: int, spool: Spool) -> None:
    """Write the judged steps' forecasts of one network into `spool`, followed from the first judged step on.

    An outcome is learned when it would be final in the stream, and no earlier than `delay` steps after its end.
    """
    task, spec = judge.task, learned.engine.spec
    starts_s, cells = task.cube.starts_s, np.flatnonzero(task.scored)
    step_of = {int(at_s): step for step, at_s in enumerate(starts_s.tolist())}

    def counts(tick_s: int, _: int) -> Counts | None:
        step = step_of[tick_s]
        return np.where(task.scored[:, None], task.cube.counts[step], 0) if judge.is_kept[step] else None

    following = SequentialFollowing(
        follower=Follower.of(spec, learned.constants, step_s=task.step_s),
        counts=counts,
        delay_s=max(served_delay_s(), delay * task.step_s),
        state=FollowerState.new(spec),
    )
    raw = np.zeros((spec.grid.cells, len(spec.categories), 1))
    for run in judge.runs(judge.judged):
        for step, mean in zip(run, network(run), strict=True):
            raw[cells, :, 0] = mean
            factors = following.next_factors(int(starts_s[step]), raw.copy()).shown()
            spool.append(judge.floored((raw * factors)[None, cells, :, 0]))


def combine_origins(evaluations: Sequence[Evaluation], *, seed: int) -> Origins:
    """Evaluations of the same task at several origins, the earliest first. No block of days reaches over an origin."""
    last, parts = evaluations[-1], dict[str, list[Floats]]()
    values = int(last.task.scored.sum()) * len(last.task.cube.categories)
    for row in (row for each in evaluations for row in each.rows):
        parts.setdefault(row.model, []).append(row.scores.log_score_sums.sum(axis=2))
        if row.levelled:
            parts.setdefault(f"{row.model}{_LEVELLED}", []).append(row.levelled.log_score_sums.sum(axis=2))
    sums = {model: np.concatenate(of, axis=1) / values for model, of in parts.items()}  # (seeds, steps) each
    mean = {model: float(per_step.mean()) for model, per_step in sums.items()}
    best = min((row.model for row in last.rows if row.kind not in WITH_THE_NETWORK), key=mean.__getitem__)
    best_rule = min((row.model for row in last.rows if row.kind == "rule"), key=mean.__getitem__)
    steps = [each.rows[0].scores.log_score_sums.shape[1] for each in evaluations]
    incidents = sum(int(each.task.judged_incidents().sum()) for each in evaluations)
    block = day_blocks(*steps, steps_per_week=last.task.cube.steps_per_week)

    def versus(model: str, rival: str) -> Difference | None:
        if model == rival or not {model, rival} <= sums.keys():
            return None
        apart = sums[model] - sums[rival].mean(axis=0)
        return difference_of(apart, block, np.random.default_rng(seed), judged=incidents)

    rows = [
        RollingResult(
            model=model,
            nb_log_scores=tuple(each.row(model).nb_log_score for each in evaluations),
            nb_log_score=mean[model],
            versus_best_baseline=versus(model, best),
            versus_best_rule=versus(model, best_rule),
            versus_own_baseline=versus(model, OUR_BASELINE) if model == NETWORK else None,
            levelled_score=mean.get(f"{model}{_LEVELLED}"),
            place=versus(NETWORK, f"{model}{_LEVELLED}"),
        )
        for model in (row.model for row in last.rows)
    ]
    return Origins(
        judged_from_s=tuple(int(each.task.cube.starts_s[each.task.test]) for each in evaluations),
        best_baseline=best,
        best_rule=best_rule,
        rows=tuple(sorted(rows, key=attrgetter("nb_log_score"))),
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
    began, judge = time.monotonic(), Judge(task=task, seed=plan.seeds[0], rows=plan.rows)
    learned = learn(
        task,
        purge=plan.purge,
        delay=plan.delay,
        random=np.random.default_rng(plan.seeds[0]),
        tell=lambda share: plan.tell("replay", share),
    )
    featured, learning, surges, totals = featured_rows(learned, judge, plan)
    rows = list[ModelResult]()
    for number, rival in enumerate(RIVALS):
        plan.tell(f"counting: {rival.name}", number / len(RIVALS))
        rows.append(_counting_row(rival, judge, plan, totals))
    plan.tell("counting", 1.0)
    rows += featured
    best = min((row for row in rows if row.kind not in WITH_THE_NETWORK), key=attrgetter("nb_log_score"))
    best_rule = min((row for row in rows if row.kind == "rule"), key=attrgetter("nb_log_score"))
    baseline, network = (next(row for row in rows if row.model == model) for model in (OUR_BASELINE, NETWORK))
    for number, row in enumerate(rows):
        if row.levelled:
            row = replace(row, place=judge.versus(network.scores, row.levelled))
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
        purge_steps=plan.purge,
        delay_steps=plan.delay,
        rows=sorted(rows, key=attrgetter("nb_log_score")),
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
        inside=tuple(row.inside for row in rows if row.inside),
    )


def evaluate_rolling(
    task: Task,
    plan: EvaluationPlan,
    *,
    origins: int,
    now: datetime,
    versions: Mapping[str, str],
    folder: Path,
    say: Callable[[str], None],
) -> Evaluation:
    """`evaluate`, and the same at origins before: `origins` blocks of time, one behind the other, each judged once.

    folder: where each origin is kept when it ends, in one of ORIGINS, so that an evaluation that was killed goes on.
    say: is told which origin begins.
    """
    if origins == 1:
        return evaluate(task, plan, now=now, versions=versions)
    tasks = [task, *(earlier(task, blocks) for blocks in range(1, origins))]
    evaluations = list[Evaluation]()
    for number, each in enumerate(tasks, start=1):  # the last first, as it refuses what cannot be done
        path = folder / _origin_file(each, plan, versions)
        is_kept = path.exists()
        judged_from = minute(int(each.cube.starts_s[each.test]))
        say(f"origin {number} of {origins}, judged from {judged_from} UTC{', is kept already' if is_kept else ''}")
        evaluation = read_origin(path, each) if is_kept else evaluate(each, plan, now=now, versions=versions)
        write_origin(path, evaluation)
        evaluations.insert(0, evaluation)
    return replace(
        evaluations[-1],
        origins=combine_origins(evaluations, seed=plan.seeds[0]),
        after_surges=surge_rows(
            [each.surge_figures for each in evaluations],
            NETWORK,
            steps_per_week=task.cube.steps_per_week,
            seed=plan.seeds[0],
        ),
        inside=tuple(of for each in evaluations for of in each.inside),
        seconds=sum(each.seconds for each in evaluations),
        peak_gib=max(each.peak_gib for each in evaluations),
    )


def _origin_file(task: Task, plan: EvaluationPlan, versions: Mapping[str, str]) -> str:
    """A name of all that decides the figures of an origin, the program's own text with it."""
    asked = (task.title, task.data_sha256, task.also_known, task.grid, task.validation, task.test)
    models = [*(rival.name for rival in RIVALS), *(regression.name for regression in plan.regressions)]
    text = repr((asked, [*plan.seeds], plan.purge, plan.delay, plan.recipe, EPOCHS, models, sorted(versions.items())))
    program = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    return ORIGINS.replace("*", sha256(b"".join([text.encode(), task.cube.counts.tobytes(), *program]))[:16])


def write_origin(path: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation, all but its task."""

    def plain(value: Any) -> Any:
        return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value.item()

    values = {each.name: getattr(evaluation, each.name) for each in fields(evaluation) if each.name != "task"}
    with write_errors(DataError, f"an origin in {path.parent}", remedy="choose another --out"):
        replace_file(path, msgspec.msgpack.encode(values, enc_hook=plain))


def read_origin(path: Path, task: Task) -> Evaluation:
    """What `write_origin` kept."""

    def array(_: object, value: Any) -> npt.NDArray[Any]:
        kind, shape, content = value
        return np.frombuffer(content, kind).reshape(shape)

    types, values = get_type_hints(Evaluation), msgspec.msgpack.decode(path.read_bytes())
    typed = {name: msgspec.convert(value, types[name], dec_hook=array) for name, value in values.items()}
    return Evaluation(task=task, **typed)


def _counting_row(rival: Rival, judge: Judge, plan: EvaluationPlan, totals: Floats) -> ModelResult:
    """A rival never sees the steps that are cut out: it takes those before and after them for neighbours.

    totals: (judged steps, categories) what the network expects of all cells; with them the rival is judged once more.
    """
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
        contender = Contender(
            model=rival.name,
            kind="rule",
            chosen=forecaster.chosen,
            seconds=time.monotonic() - began,
            validation=lambda: judge.in_runs(spool.read, choosing),
            judged=[spool.read],
        )
        row = judge.row(contender)
        own = judge.mean_of([spool.read], row.chosen[MIXED_IN])

        def levelled(run: range) -> Floats:
            mean = own(run)
            factors = totals[run.start - task.test : run.stop - task.test] / mean.sum(axis=1)
            return np.asarray(mean * factors[:, None])

        return replace(row, levelled=judge.scores(levelled, row.dispersion))
