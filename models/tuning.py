"""Tuning: recipes are tried on rolling origins, and the best one must beat the default by more than seeds differ."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from models.dispersion import Dispersion
from models.features import FeatureEngine
from models.network_kinds import DEFAULT, Hyperparameters, TunedOn
from models.training.fit_baseline import Blocks, fit_constants, likeliest_dispersion
from models.training.fit_network import (
    Examples,
    FitData,
    FitPlan,
    cells_to_learn,
    collect,
    fit_network,
    random_moments,
)
from models.training.replay import IncidentHistory, Replay
from models.training.train import ReportProgress, TrainingOptions
from schemas.errors import DataError

FOLDS = 3
OBJECTIVE = f"validation loss over the untrained network's, mean of {FOLDS} rolling origins"
_OTHER_JOURNAL = "give another --out, or delete it"
SPACE: Mapping[str, BaseDistribution] = {
    "first": IntDistribution(16, 128, step=8),  # at most twice the default: the stream scores every cell, always
    "second": IntDistribution(8, 64, step=8),
    "learning_rate": FloatDistribution(2e-4, 1e-2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1.0, log=True),
    "minibatch": IntDistribution(512, 8192, step=512),
    "patience": IntDistribution(2, 6),
}
SEEDS_COMPARED = 3
Loss = Callable[[Hyperparameters, int, int], float]  # of a recipe on a fold, counted from 0, with a seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One origin: what is learned from, and what it is judged on. Forecasts come true inside their own part."""

    train: Examples
    train_at_s: tuple[int, int]  # first and last moment
    validation: Examples
    validation_at_s: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    folds: tuple[Fold, ...]  # in the order of time
    dispersion: Dispersion  # (categories, horizons)
    epochs: int  # of a network, at most

    def loss(self, recipe: Hyperparameters, fold: int, seed: int) -> float:
        """The least validation loss of a network made by `recipe`, over the untrained one's; at most 1.

        The span that judges also stops the training early. That flatters every recipe, as it does in training itself;
        only differences between recipes mean something.
        """
        best = 1.0

        def after_epoch(_: int, ratio: float) -> None:
            nonlocal best
            best = min(best, ratio)  # this way round a loss that is not a number leaves `best`

        part = self.folds[fold]
        data = FitData(train=part.train, validation=part.validation, dispersion=self.dispersion)
        fit_network(data, FitPlan(recipe=recipe, epochs=self.epochs, seed=seed), after_epoch)
        return best


def origin_starts(blocks: Blocks) -> tuple[int, ...]:
    """Starts of FOLDS spans one behind the other, each as long as the validation block; the last one is that block."""
    span_s = blocks.test_s - blocks.validation_s
    return tuple(blocks.validation_s - back * span_s for back in reversed(range(FOLDS)))


def collect_folds(past: IncidentHistory, options: TrainingOptions, *, report: Callable[[float], None]) -> Folds:
    """Examples from one replay of the training and validation blocks, cut at every origin. `report` gets 0..1.

    The baseline's constants come from the time before the first origin alone: their log mean is among the features and
    is what the untrained network forecasts, so constants from a later span would leak it into every fold. The test
    block is not even counted.
    """
    blocks = Blocks.of(past.first_s, past.cutoff_s)
    starts_s = origin_starts(blocks)
    early = Blocks(
        burn_in_s=blocks.burn_in_s,
        validation_s=past.first_s + (starts_s[0] - past.first_s) * 70 // 85,  # as in training
        test_s=starts_s[0],
        end_s=starts_s[0],
    )
    before, longest_s = past.until(starts_s[0]), max(past.spec.horizons_s)
    engine = FeatureEngine(past.spec, fit_constants(before, early), past.counts_before)
    random = np.random.default_rng(options.seed)
    end_s = blocks.test_s - longest_s
    moments = past.clear_of_cuts(random_moments(blocks.burn_in_s, end_s, options.step_s, random), longest_s)
    cells = cells_to_learn(before, early.validation_s, random)
    replay = Replay(past.until(blocks.test_s))

    def report_replay(at_s: int) -> None:
        report((at_s - blocks.burn_in_s) / (end_s - blocks.burn_in_s))

    examples, _ = collect(replay, engine, moments, cells, random, report_replay)
    report(1.0)
    # Each of the moments has equally many of the examples.
    at_s = np.repeat(moments, len(examples.values) // len(moments))

    def between(start_s: int, stop_s: int) -> tuple[Examples, tuple[int, int]]:
        start, stop = np.searchsorted(at_s, (start_s, stop_s))
        if start == stop:
            raise DataError(
                f"no step of {options.step_s} s has its moment in {stop_s - start_s} s",
                remedy="give fewer step_minutes or a longer file",
            )
        part = Examples(values=examples.values[start:stop], counts=examples.counts[start:stop])
        return part, (int(at_s[start]), int(at_s[stop - 1]))

    folds = []
    for origin_s, next_s in pairwise((*starts_s, blocks.test_s)):
        train, train_at_s = between(blocks.burn_in_s, origin_s - longest_s)
        validation, validation_at_s = between(origin_s, next_s - longest_s)
        fold = Fold(train=train, train_at_s=train_at_s, validation=validation, validation_at_s=validation_at_s)
        folds.append(fold)
    dispersion = likeliest_dispersion(folds[0].train.log_usual, folds[0].train.counts)
    return Folds(folds=tuple(folds), dispersion=dispersion, epochs=options.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    number: int  # among the finished ones, from 0
    recipe: Hyperparameters
    losses: tuple[float, ...]  # after each fold, the mean of the folds so far
    pruned: bool  # stopped after a fold, with a loss above the median of the trials before it

    @property
    def loss(self) -> float:
        return self.losses[-1]


def open_study(journal: Path, tuned_on: TunedOn) -> optuna.Study:
    """The study in `journal`, or a new one. Raises DataError when it is damaged, or another search's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # A process that was killed while it wrote leaves a line without an end, and the next line would join it.
        if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
            journal.write_bytes(content[: content.rfind(b"\n") + 1])
        study = optuna.create_study(
            study_name="recipe",
            storage=JournalStorage(JournalFileBackend(str(journal))),
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, OSError) as error:
        raise DataError(f"{journal} cannot be used ({error!r})", remedy=_OTHER_JOURNAL) from error
    now = {name: value for name, value in msgspec.to_builtins(tuned_on).items() if name not in ("trials", "made_at")}
    was = study.user_attrs.get("tuned_on")
    if was is None:
        study.set_user_attr("tuned_on", now)
    elif other := [f"{name} was {was.get(name)} and is {now[name]}" for name in now if was.get(name) != now[name]]:
        raise DataError(
            f"{journal} was written by a search with other settings ({', '.join(other)})", remedy=_OTHER_JOURNAL
        )
    return study


def ask(study: optuna.Study, *, seed: int) -> tuple[optuna.Trial, Hyperparameters]:
    """The next trial: the default first, then what TPE finds promising."""
    number = len(finished_trials(study))
    if number == 0:
        first, second = DEFAULT.widths
        params = msgspec.structs.asdict(DEFAULT) | {"first": first, "second": second}
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            # Optuna's queue of fixed trials would give the point of an interrupted trial twice.
            study.sampler = PartialFixedSampler(params, RandomSampler(seed=0))
    else:
        own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        study.sampler = TPESampler(seed=own_seed, constant_liar=False)  # which ignores interrupted trials
    trial = study.ask(dict(SPACE))
    return trial, _recipe(trial.params)


def finished_trials(study: optuna.Study) -> tuple[FinishedTrial, ...]:
    """The finished trials in their order; interrupted ones have no number."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return tuple(
        FinishedTrial(
            number=number,
            recipe=_recipe(trial.params),
            losses=tuple(trial.intermediate_values[fold] for fold in sorted(trial.intermediate_values)),
            pruned=trial.state == TrialState.PRUNED,
        )
        for number, trial in enumerate(finished)
    )


def _recipe(params: Mapping[str, Any]) -> Hyperparameters:
    others = {name: value for name, value in params.items() if name not in ("first", "second")}
    return Hyperparameters(widths=(params["first"], params["second"]), **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedComparison:
    """The best recipe and the default with seeds that chose neither: (seeds,) losses each."""

    seeds: tuple[int, ...]
    best: tuple[float, ...]
    default: tuple[float, ...]

    @property
    def gain(self) -> float:
        """How much smaller the best one's mean loss is."""
        return fmean(self.default) - fmean(self.best)

    @property
    def spread(self) -> float:
        """How far the least loss lies from the largest, of the recipe for which that is more."""
        return max(max(losses) - min(losses) for losses in (self.best, self.default))


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningResult:
    trials: tuple[FinishedTrial, ...]  # the first one is the default
    best: FinishedTrial
    compared: SeedComparison | None  # None when the default is the best

    @property
    def chosen(self) -> Hyperparameters:
        """The default, unless the best one gains more than seeds differ."""
        return self.best.recipe if self.compared and self.compared.gain > self.compared.spread else DEFAULT


def tune(study: optuna.Study, loss: Loss, search: TunedOn, *, report: ReportProgress) -> TuningResult:
    """Try recipes until the search's `trials` are finished in all; then compare the best with the default.

    Reports the progress of `trials` and then of `seeds`.
    """
    while (number := len(finished_trials(study))) < search.trials:
        trial, recipe = ask(study, seed=search.seed)
        so_far: list[float] = []
        for fold in range(FOLDS):
            report(f"trials: {_best_so_far(study)}", (number + fold / FOLDS) / search.trials)
            so_far.append(loss(recipe, fold, search.seed))
            trial.report(fmean(so_far), fold)
            if fold + 1 < FOLDS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, fmean(so_far))
    report(f"trials: {_best_so_far(study)}", 1.0)
    finished = finished_trials(study)
    best = min((trial for trial in finished if not trial.pruned), key=lambda trial: trial.loss)
    if best.recipe == DEFAULT:
        report("seeds: not needed", 1.0)
        return TuningResult(trials=finished, best=best, compared=None)
    seeds = tuple(range(search.seed + 1, search.seed + 1 + SEEDS_COMPARED))
    losses: dict[int, list[float]] = {best.number: [], 0: []}
    for done, (rerun, seed) in enumerate(product((best, finished[0]), seeds)):
        report("seeds", done / (2 * SEEDS_COMPARED))
        name = f"loss of trial {rerun.number} with seed {seed}"
        if name not in study.user_attrs:  # it may have been measured by an earlier call
            study.set_user_attr(name, fmean(loss(rerun.recipe, fold, seed) for fold in range(FOLDS)))
        losses[rerun.number].append(float(study.user_attrs[name]))
    report("seeds", 1.0)
    compared = SeedComparison(seeds=seeds, best=tuple(losses[best.number]), default=tuple(losses[0]))
    return TuningResult(trials=finished, best=best, compared=compared)


def _best_so_far(study: optuna.Study) -> str:
    losses = [trial.loss for trial in finished_trials(study) if not trial.pruned]
    return f"best {min(losses):.5f}" if losses else "the default first"
