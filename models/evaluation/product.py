"""The product's own chain on a task: its counts, its features, its baseline and its network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.evaluation.contract import Values
from models.evaluation.tasks import Task
from models.feature_lists import usual_columns
from models.features import FeatureEngine, feature_names
from models.hyperparameters import DEFAULT, Hyperparameters
from models.network import RiskNetwork, residual_of
from models.nowcast import LastHours, no_nowcast
from models.training.calendar import informed
from models.training.examples import CellDraw, cells_to_learn, collect
from models.training.fit_baseline import Blocks, fit_constants
from models.training.fit_dispersion import likeliest_dispersion
from models.training.fit_network import Examples, FitData, FitPlan, KeptState, fit_network
from models.training.fit_nowcast import fit_nowcast
from models.training.replay import IncidentHistory, Replay
from schemas.errors import LeakError
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
    told = lambda at_s: tell((at_s - blocks.burn_in_s) / (blocks.test_s - blocks.burn_in_s))  # noqa: E731

    def examples(start: int, stop: int, of: npt.NDArray[np.intp]) -> Examples:
        steps = start + np.flatnonzero(task.is_kept[start:stop])
        chosen = np.sort(random.choice(steps, min(len(steps), MOST_MOMENTS), replace=False))
        draw = CellDraw(cells=of, random=random)
        return collect(replay, engine, starts_s[chosen].tolist(), draw, told)[0]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductBaseline:
    """The forecast that the network starts from, and that serves when there is no network."""

    chosen: ClassVar[Mapping[str, float]] = {}

    def predict(self, values: Values) -> Values:
        return np.asarray(np.exp(values[:, :, _USUAL])[:, :, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductNetwork:
    network: RiskNetwork
    losses: tuple[float, ...]  # validation loss over the untrained network's: of the linear part, then of each epoch
    kept: KeptState

    @property
    def chosen(self) -> Mapping[str, float]:
        """The epoch that was kept, from 1; 0 when none was better than the linear part alone, or nothing gained."""
        return {"epoch": float(self.kept.epoch)}

    @classmethod
    def fit(cls, learned: Learned, *, recipe: Hyperparameters = DEFAULT, epochs: int, seed: int) -> "ProductNetwork":
        losses: list[float] = []
        data = FitData(train=learned.train, validation=learned.validation, dispersion=learned.constants.dispersion)
        plan = FitPlan(recipe=recipe, epochs=epochs, seed=seed)
        network, kept = fit_network(data, plan, lambda _, loss: losses.append(loss))
        return cls(network=network, losses=tuple(losses), kept=kept)

    def predict(self, values: Values) -> Values:
        """(n, categories) expected counts. values: (n, categories, features)."""
        return np.asarray(np.exp(values[:, :, _USUAL] + residual_of(values, self.network))[:, :, 0])
