"""The rows of the models that see the product's features: its baseline, regressions and networks."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.cube import Counts, Floats
from models.evaluation.after_surges import SurgeFigures, is_surge
from models.evaluation.contract import Regression
from models.evaluation.judge import Forecast, Judge
from models.evaluation.plan import EvaluationPlan
from models.evaluation.product import Learned, ProductBaseline, ProductNetwork, judged_inputs, refuse_leaking_features
from models.evaluation.result import (
    FOLLOWING,
    NETWORK,
    NOWCAST,
    OUR_BASELINE,
    Losses,
    ModelResult,
)
from models.evaluation.row import MIXED_IN, UnjudgedRow, judged_row, mean_of
from models.evaluation.spool import Spool
from models.following import Follower, FollowerState, SequentialFollowing, served_delay_s
from models.nowcast import LastHours, Nowcast, factors_of, no_nowcast

EPOCHS = 12


def _fitted_regression(regression: Regression, learned: Learned, plan: EvaluationPlan) -> UnjudgedRow:
    plan.tell(f"fitting: {regression.name}", 0.0)
    began = time.monotonic()
    models = regression.fit(learned.train, learned.validation, seeds=plan.seeds)
    return UnjudgedRow(
        name=regression.name,
        kind="regression",
        chosen=models[0].chosen,
        models=models,
        seconds=time.monotonic() - began,
    )


def _fitted_networks(learned: Learned, plan: EvaluationPlan) -> UnjudgedRow:
    began, networks = time.monotonic(), []
    for number, seed in enumerate(plan.seeds):
        plan.tell(f"fitting: {NETWORK}, seed {seed}", number / len(plan.seeds))
        networks.append(ProductNetwork.fit(learned, recipe=plan.recipe, epochs=EPOCHS, seed=seed))
    return UnjudgedRow(
        name=NETWORK,
        kind=NETWORK,
        chosen=networks[0].chosen,
        models=networks,
        losses=tuple(network.losses for network in networks),
        seconds=time.monotonic() - began,
    )


def _forecast(
    each: Sequence[UnjudgedRow], spools: Sequence[Sequence[Spool]], learned: Learned, judge: Judge, plan: EvaluationPlan
) -> list[LastHours]:
    """Writes the floored forecasts of each row's models, in one pass over the judged steps.

    Gives what was known of the hours before each.
    """
    task, categories = judge.task, len(judge.task.cube.categories)
    steps, runs = judge.judged, judge.runs(judge.judged)
    checked = steps[int(np.random.default_rng(plan.seeds[0]).integers(len(steps)))]
    lately: list[LastHours] = []
    for run, (values, before) in zip(runs, judged_inputs(task, learned, runs), strict=True):
        lately += before
        plan.tell("judging", (run.start - task.test) / len(steps))
        if checked in run:
            at = run.index(checked)
            refuse_leaking_features(task, learned, checked, values[at], before[at], delay=plan.delay)
        flat = values.reshape(-1, categories, values.shape[-1])
        for row, of_row in zip(each, spools, strict=True):
            for spool, model in zip(of_row, row.models, strict=True):
                spool.append(judge.floored(model.predict(flat).reshape(-1, judge.cells, categories)))
    plan.tell("judging", 1.0)
    return lately


def featured_rows(
    learned: Learned, judge: Judge, plan: EvaluationPlan
) -> tuple[list[ModelResult], Losses, dict[str, tuple[SurgeFigures, Floats]]]:
    """The rows that see the product's features, the losses of the network, and figures of surges by model."""
    task = judge.task
    fitted = [UnjudgedRow(name=OUR_BASELINE, kind="regression", models=[ProductBaseline()])]
    fitted += [_fitted_regression(regression, learned, plan) for regression in plan.regressions]
    fitted.append(_fitted_networks(learned, plan))
    plan.tell("fitting", 1.0)
    shape = (judge.cells, len(task.cube.categories))
    with ExitStack() as open_files:

        def spool(kind: npt.DTypeLike) -> Spool:
            return open_files.enter_context(closing(Spool(task.test, shape, kind)))

        spools = [[spool(np.float32) for _ in row.models] for row in fitted]
        lately = _forecast(fitted, spools, learned, judge, plan)
        counts = learned.validation.counts[:, :, 0].numpy().astype(np.int32)
        forecasts = [
            _Forecasts(
                of=row, chosen=_chosen(row, learned, judge), counts=counts, judged=[of_seed.read for of_seed in of_row]
            )
            for row, of_row in zip(fitted, spools, strict=True)
        ]
        network = forecasts[-1]
        followed = [spool(np.float64) for _ in network.judged]
        forecasts.append(_followed(network, followed, learned, judge, plan))
        baseline = next(forecast for forecast in forecasts if forecast.of.name == OUR_BASELINE)
        for of, name in ((network, "nowcast"), (network, "ratio of the last hours"), (baseline, "nowcast")):
            moved = [spool(np.float32) for _ in of.judged]
            of_last_hours = f"{of.of.name}, {name}", _NOWCASTS[name], baseline.judged[0]
            forecasts.append(_with_factors(of, *of_last_hours, moved, lately, learned, judge))
        rows = [forecast.row(judge) for forecast in forecasts]
        after = is_surge(lately)[judge.is_kept[task.test :]]
        surges = {
            row.model: (
                SurgeFigures.of(
                    judge.in_runs(mean_of(forecast.judged, judge, row.chosen[MIXED_IN]), judge.judged), after
                ),
                np.asarray(row.scores.log_score_sums.mean(axis=0).sum(axis=1)),
            )
            for row, forecast in zip(rows, forecasts, strict=True)
        }
    return rows, fitted[-1].losses, surges


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecasts:
    of: UnjudgedRow
    chosen: Floats  # (cells at validation steps, categories) mean over the seeds
    counts: Counts  # what was counted there
    judged: Sequence[Forecast]  # of the judged steps, one for each seed

    def row(self, judge: Judge) -> ModelResult:
        return judged_row(self.of, lambda: [(self.chosen[None], self.counts[None])], self.judged, judge)


def _chosen(fitted: UnjudgedRow, learned: Learned, judge: Judge) -> Floats:
    values = learned.validation.values.numpy()
    return np.asarray(np.mean([judge.floored(model.predict(values)) for model in fitted.models], axis=0))


def _followed(
    network: "_Forecasts", spools: Sequence[Spool], learned: Learned, judge: Judge, plan: EvaluationPlan
) -> "_Forecasts":
    """The network of each seed with a follower that begins with the judged steps."""
    began = time.monotonic()
    for number, (forecast, spool) in enumerate(zip(network.judged, spools, strict=True)):
        plan.tell("judging: following", number / len(spools))
        write_followed(forecast, learned, judge, plan.delay, spool)
    of = replace(
        network.of, name=f"{network.of.name}, following", kind=FOLLOWING, losses=(), seconds=time.monotonic() - began
    )
    return replace(network, of=of, judged=[spool.read for spool in spools])


Factor = Callable[[LastHours, Floats, Nowcast], Floats]  # on what is forecast, which is so much over the usual


def _by_nowcast(lately: LastHours, forecast: Floats, nowcast: Nowcast) -> Floats:
    return factors_of(lately, 1.0, nowcast, forecast[:, None])[0][:, 0]


def _by_ratio(lately: LastHours, forecast: Floats, nowcast: Nowcast) -> Floats:
    """The rival that always moves: an exponentially weighted ratio."""
    return np.asarray((_RATIO_PRIOR + lately.came) / (_RATIO_PRIOR + lately.usual * forecast))


_RATIO_PRIOR = 10.0  # incidents
_NOWCASTS: Mapping[str, Factor] = {"nowcast": _by_nowcast, "ratio of the last hours": _by_ratio}


def _with_factors(
    network: "_Forecasts",
    name: str,
    factor: Factor,
    usual: Forecast,
    spools: Sequence[Spool],
    lately: Sequence[LastHours],
    learned: Learned,
    judge: Judge,
) -> "_Forecasts":
    """The network of each seed with factors by what came in the hours before each step."""
    began, nowcast = time.monotonic(), learned.constants.nowcast or no_nowcast(1)
    for forecast, spool in zip(network.judged, spools, strict=True):
        for run in judge.runs(judge.judged):
            mean, of_usual = forecast(run), usual(run)
            ratios = mean.sum(axis=1, dtype=np.float64) / of_usual.sum(axis=1, dtype=np.float64)
            before = lately[run.start - judge.task.test : run.stop - judge.task.test]
            factors = [factor(*of, nowcast) for of in zip(before, ratios, strict=True)]
            spool.append(judge.floored(mean * np.stack(factors)[:, None, :]))
    of = replace(network.of, name=name, kind=NOWCAST, losses=(), seconds=time.monotonic() - began)
    return replace(network, of=of, judged=[spool.read for spool in spools])


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
