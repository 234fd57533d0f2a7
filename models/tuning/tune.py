"""Tuning: recipes are tried on rolling origins, and the best one must beat the default by more than seeds differ."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import optuna
from optuna.trial import TrialState

from models.hyperparameters import DEFAULT, Hyperparameters
from models.tuning.search import GRID_POINTS, FinishedTrial, ask, finished_trials

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
        """From the least to the largest loss, of the recipe for which that is more."""
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


def tune(
    study: optuna.Study,
    loss: Loss,
    *,
    folds: int,
    trials: int,
    sampler: str,
    seed: int,
    tell: Callable[[str, float], None],
) -> TuningResult:
    """Try recipes until `trials` are finished in all, or all points of the grid; then compare the best one.

    `tell(what, share)` reports progress, 0..1, of `trials` and then of `seeds`.
    """
    total = min(trials, len(GRID_POINTS)) if sampler == "grid" else trials
    while (number := len(finished_trials(study))) < total:
        trial, recipe = ask(study, sampler=sampler, seed=seed)
        losses: list[float] = []
        for fold in range(folds):
            tell(f"trials: {_best_so_far(study)}", (number + fold / folds) / total)
            losses.append(loss(recipe, fold, seed))
            trial.report(fmean(losses), fold)
            if fold + 1 < folds and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, fmean(losses))
    tell(f"trials: {_best_so_far(study)}", 1.0)
    finished = finished_trials(study)
    best = min((one for one in finished if not one.pruned), key=lambda one: one.loss)
    if best.recipe == DEFAULT:
        tell("seeds: not needed", 1.0)
        return TuningResult(trials=finished, best=best, compared=None)
    seeds = tuple(range(seed + 1, seed + 1 + SEEDS_COMPARED))
    losses_of = {}
    for done, (one, other) in enumerate(product((best, finished[0]), seeds)):
        tell("seeds", done / (2 * SEEDS_COMPARED))
        losses_of[one.number, other] = _remembered(study, one, loss, folds, other)
    tell("seeds", 1.0)
    return TuningResult(
        trials=finished,
        best=best,
        compared=SeedComparison(
            seeds=seeds,
            best=tuple(losses_of[best.number, other] for other in seeds),
            default=tuple(losses_of[0, other] for other in seeds),
        ),
    )


def _remembered(study: optuna.Study, one: FinishedTrial, loss: Loss, folds: int, seed: int) -> float:
    """The mean loss with another seed, from the study when it was measured before."""
    name = f"loss of trial {one.number} with seed {seed}"
    if name not in study.user_attrs:
        study.set_user_attr(name, fmean(loss(one.recipe, fold, seed) for fold in range(folds)))
    return float(study.user_attrs[name])


def _best_so_far(study: optuna.Study) -> str:
    losses = [one.loss for one in finished_trials(study) if not one.pruned]
    return f"best {min(losses):.5f}" if losses else "the default first"
