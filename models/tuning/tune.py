"""Tuning: recipes are tried on rolling origins, and the best one must beat the default by more than seeds differ."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import optuna
from optuna.trial import TrialState

from models.hyperparameters import DEFAULT, Hyperparameters, TunedOn
from models.training.train import ReportProgress
from models.tuning.rolling_origin import FOLDS
from models.tuning.search import FinishedTrial, ask, finished_trials

SEEDS_COMPARED = 3
Loss = Callable[[Hyperparameters, int, int], float]  # of a recipe on a fold, counted from 0, with a seed


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
    """What tuning gives."""

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
    _run_trials(study, loss, search, report)
    finished = finished_trials(study)
    best = min((trial for trial in finished if not trial.pruned), key=lambda trial: trial.loss)
    if best.recipe == DEFAULT:
        report("seeds: not needed", 1.0)
        return TuningResult(trials=finished, best=best, compared=None)
    seeds = tuple(range(search.seed + 1, search.seed + 1 + SEEDS_COMPARED))
    losses: dict[int, list[float]] = {best.number: [], 0: []}
    for done, (trial, seed) in enumerate(product((best, finished[0]), seeds)):
        report("seeds", done / (2 * SEEDS_COMPARED))
        losses[trial.number].append(_remembered(study, trial, loss, seed))
    report("seeds", 1.0)
    compared = SeedComparison(seeds=seeds, best=tuple(losses[best.number]), default=tuple(losses[0]))
    return TuningResult(trials=finished, best=best, compared=compared)


def _run_trials(study: optuna.Study, loss: Loss, search: TunedOn, report: ReportProgress) -> None:
    while (number := len(finished_trials(study))) < search.trials:
        trial, recipe = ask(study, seed=search.seed)
        losses: list[float] = []
        for fold in range(FOLDS):
            report(f"trials: {_best_so_far(study)}", (number + fold / FOLDS) / search.trials)
            losses.append(loss(recipe, fold, search.seed))
            trial.report(fmean(losses), fold)
            if fold + 1 < FOLDS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, fmean(losses))
    report(f"trials: {_best_so_far(study)}", 1.0)


def _remembered(study: optuna.Study, trial: FinishedTrial, loss: Loss, seed: int) -> float:
    """The mean loss with another seed, from the study when it was measured before."""
    name = f"loss of trial {trial.number} with seed {seed}"
    if name not in study.user_attrs:
        study.set_user_attr(name, fmean(loss(trial.recipe, fold, seed) for fold in range(FOLDS)))
    return float(study.user_attrs[name])


def _best_so_far(study: optuna.Study) -> str:
    losses = [trial.loss for trial in finished_trials(study) if not trial.pruned]
    return f"best {min(losses):.5f}" if losses else "the default first"
