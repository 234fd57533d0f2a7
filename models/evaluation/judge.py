"""Judges the forecasts of one task: every model by the same steps, cells and random draws."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.evaluation.contract import least_mean, poisson_loss
from models.evaluation.tasks import Task
from models.measures.cube import Counts, Floats
from models.measures.paired import LEAST_JUDGED, Difference, compare
from models.measures.ranking import AtShare
from models.measures.scores import ModelScores, Sheet, score
from models.measures.totals import Totals, totals

T = TypeVar("T", Sheet, AtShare)
AnyFloats = npt.NDArray[np.floating]
AnyCounts = npt.NDArray[np.number]
# Shares of the mean that a model may mix in, so that a quiet place keeps a small forecast.
SHARES = (0.0, 1e-4, 1e-3, 1e-2, 0.05)


@dataclass(frozen=True, kw_only=True)
class Judge:
    task: Task
    seed: int  # of the randomised PIT and the bootstrap

    def floored(self, mean: AnyFloats) -> Floats:
        """(steps, scored cells, categories) the forecast as it is judged, see `least_mean`."""
        return np.maximum(mean, self._least)

    def share_mixed_in(self, chosen: AnyFloats, seen: AnyCounts) -> float:
        """Which of SHARES makes the forecasts of the validation steps best. chosen: as `floored` gives them."""
        return min(SHARES, key=lambda share: poisson_loss(self.mixed(chosen, share), seen))

    def mixed(self, floored: AnyFloats, share: float) -> AnyFloats:
        """The forecast with `share` of it replaced by the category's mean over scored cells and learned steps."""
        return np.asarray(floored + share * (self._usual - floored), floored.dtype) if share else floored

    @cached_property
    def _usual(self) -> Floats:
        return np.asarray(self._learned.mean(axis=(0, 1)), np.float64)

    @cached_property
    def _least(self) -> Floats:
        return least_mean(self._learned)

    @property
    def _learned(self) -> Counts:
        """(learned steps, scored cells, categories) without the steps that are cut out."""
        known = slice(self.task.validation)
        return self.task.cube.counts[known, self.task.scored][self.task.is_kept[known]]

    @property
    def counts(self) -> Counts:
        """(judged steps, scored cells, categories) observed incidents."""
        return self.task.cube.counts[self.task.test :, self.task.scored]

    @cached_property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(judged steps,) see `Task.is_kept`; what is forecast for a step that is not kept changes no figure."""
        return self.task.is_kept[self.task.test :]

    def at_all_steps(self, mean: Floats) -> Floats:
        """Forecasts of the kept steps, with nothing in the place of the others."""
        if self.is_kept.all():
            return mean
        everywhere = np.zeros((len(self.is_kept), *mean.shape[1:]))
        everywhere[self.is_kept] = mean
        return everywhere

    def scores(self, mean: AnyFloats, dispersion: Floats) -> ModelScores:
        """mean: (judged steps, scored cells, categories)."""
        random, categories, kept = np.random.default_rng(self.seed), self.task.cube.categories, self.is_kept
        return score(np.asarray(mean[kept], np.float64), self.counts[kept], dispersion, categories, random)

    def totals(self, mean: AnyFloats, dispersion: Floats) -> Totals:
        """Of the scored cells; the others expect nothing and count nothing."""
        everywhere = np.zeros((len(mean), len(self.task.scored), mean.shape[2]))
        everywhere[:, self.task.scored] = mean
        everywhere[~self.is_kept] = 0
        cube, first = self.task.cube, self.task.test
        judged = replace(
            cube,
            counts=cube.counts[first:] * self.task.scored[:, None] * self.is_kept[:, None, None],
            starts_s=cube.starts_s[first:],
            hour_of_week=cube.hour_of_week[first:],
        )
        return totals(everywhere, judged, dispersion)

    def versus(self, model: ModelScores, rival: ModelScores, category: str | None = None) -> Difference:
        """Over all categories, or in one of them."""
        names = self.task.cube.categories
        taken = [place for place, name in enumerate(names) if category in (None, name)]
        model_sums, rival_sums = (one.log_score_sums[:, :, taken].sum(axis=2) for one in (model, rival))
        found = compare(
            model_sums,
            rival_sums,
            values=int(self.task.scored.sum()) * len(taken),
            steps_per_week=self.task.cube.steps_per_week,
            random=np.random.default_rng(self.seed),
        )
        judged = self.counts[self.is_kept][:, :, taken].sum()
        return found if judged >= LEAST_JUDGED else replace(found, verdict="too few")


def mean_scores(of_seeds: Sequence[ModelScores]) -> ModelScores:
    """Every figure's mean over the seeds; the curves of the first, the sums of each."""
    first = of_seeds[0]
    return replace(
        first,
        sheet=_mean([scores.sheet for scores in of_seeds]),
        by_category={name: _mean([scores.by_category[name] for scores in of_seeds]) for name in first.by_category},
        log_score_sums=np.concatenate([scores.log_score_sums for scores in of_seeds]),
    )


def _mean(figures: Sequence[T]) -> T:
    """The mean of each float, without nan: one seed alone may expect as much as one incident nowhere."""
    means: dict[str, Any] = {}
    for name in (field.name for field in fields(figures[0])):
        values = [getattr(figure, name) for figure in figures]
        if name == "ranking":
            means[name] = tuple(_mean(shares) for shares in zip(*values, strict=True))
        elif any(value != values[0] for value in values):
            present = [value for value in values if not np.isnan(value)]
            means[name] = float(np.mean(present)) if present else np.nan
    return replace(figures[0], **means)
