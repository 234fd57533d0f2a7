"""Rolling origin: learn on what lies before a moment, be judged on the span after it, at three moments.

Source: Tashman, Out-of-sample tests of forecasting accuracy (2000), International Journal of Forecasting 16.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.dispersion import Dispersion
from models.features import FeatureEngine
from models.hyperparameters import Hyperparameters
from models.training.examples import CellDraw, cells_to_learn, collect, random_moments
from models.training.fit_baseline import Blocks, fit_constants
from models.training.fit_dispersion import likeliest_dispersion
from models.training.fit_network import Examples, FitData, FitPlan, fit_network
from models.training.replay import IncidentHistory, Replay
from models.training.train import TrainingOptions
from schemas.errors import DataError

FOLDS = 3
OBJECTIVE = f"validation loss over the untrained network's, mean of {FOLDS} rolling origins"


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

    examples, _ = collect(replay, engine, moments, CellDraw(cells=cells, random=random), report_replay)
    report(1.0)
    folds = tuple(_folds(examples, moments, blocks, options.step_s, purge_s=longest_s))
    earliest = folds[0].train
    dispersion = likeliest_dispersion(earliest.log_usual, earliest.counts)
    return Folds(folds=folds, dispersion=dispersion, epochs=options.epochs)


def _folds(examples: Examples, moments: list[int], blocks: Blocks, step_s: int, *, purge_s: int) -> Iterator[Fold]:
    """The folds in the order of time; each of `moments` has equally many of the examples."""
    at_s = np.repeat(moments, len(examples.values) // len(moments))

    def between(start_s: int, stop_s: int) -> tuple[Examples, tuple[int, int]]:
        start, stop = np.searchsorted(at_s, (start_s, stop_s))
        if start == stop:
            raise DataError(
                f"no step of {step_s} s has its moment in {stop_s - start_s} s",
                remedy="give fewer step_minutes or a longer file",
            )
        part = Examples(values=examples.values[start:stop], counts=examples.counts[start:stop])
        return part, (int(at_s[start]), int(at_s[stop - 1]))

    for origin_s, next_s in pairwise((*origin_starts(blocks), blocks.test_s)):
        train, train_at_s = between(blocks.burn_in_s, origin_s - purge_s)
        validation, validation_at_s = between(origin_s, next_s - purge_s)
        yield Fold(train=train, train_at_s=train_at_s, validation=validation, validation_at_s=validation_at_s)
