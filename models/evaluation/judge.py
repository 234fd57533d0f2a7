"""Judging forecasts of one task: the same steps, cells, and random draws for every model."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.evaluation.contract import Values, least_mean
from models.evaluation.tasks import Task
from models.measures.cube import Counts, Floats
from models.measures.loss import poisson_loss
from models.measures.paired import LEAST_JUDGED, Difference, compare
from models.measures.ranking import AtShare
from models.measures.scores import ModelScores, score
from models.measures.sheet import Sheet
from models.measures.totals import Totals, totals

AnyFloats = npt.NDArray[np.floating]
SHARES = (
    0.0,
    1e-4,
    1e-3,
    1e-2,
    0.05,
)  # of the mean that a model may mix in, so that a quiet place is not taken for a dead one


@dataclass(frozen=True, kw_only=True)
class Judge:
    task: Task
    seed: int  # of the randomised PIT and the bootstrap

    def floored(self, mean: Floats | Values) -> Floats:
        """(steps, scored cells, categories) the forecast as it is judged, see `least_mean`."""
        return np.maximum(mean, self._least)

    def share_mixed_in(self, chosen: AnyFloats, seen: npt.NDArray[np.number]) -> float:
        """Which of SHARES makes the forecasts of the validation steps best. chosen: as `floored` gives them."""
        return min(SHARES, key=lambda share: poisson_loss(self.mixed(chosen, share), seen))

    def mixed(self, floored: AnyFloats, share: float) -> AnyFloats:
        """The forecast with `share` of it replaced by the category's mean over scored cells and learned steps."""
        return np.asarray(floored + share * (self._usual - floored), floored.dtype) if share else floored

    @cached_property
    def _usual(self) -> Floats:
        return np.asarray(self.task.cube.counts[: self.task.validation, self.task.scored].mean(axis=(0, 1)), np.float64)

    @cached_property
    def _least(self) -> Floats:
        return least_mean(self.task.cube.counts[: self.task.validation, self.task.scored])

    @property
    def counts(self) -> Counts:
        """(judged steps, scored cells, categories) what came."""
        return self.task.cube.counts[self.task.test :, self.task.scored]

    def scores(self, mean: Floats | Values, dispersion: Floats) -> ModelScores:
        """mean: (judged steps, scored cells, categories)."""
        return score(
            np.asarray(mean, np.float64),
            self.counts,
            dispersion,
            self.task.cube.categories,
            np.random.default_rng(self.seed),
        )

    def totals(self, mean: Floats | Values, dispersion: Floats) -> Totals:
        """Of the scored cells; in the others nothing is expected and nothing came."""
        everywhere = np.zeros((len(mean), len(self.task.scored), mean.shape[2]))
        everywhere[:, self.task.scored] = mean
        cube, first = self.task.cube, self.task.test
        judged = replace(
            cube,
            counts=cube.counts[first:] * self.task.scored[:, None],
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
        return found if self.counts[:, :, taken].sum() >= LEAST_JUDGED else replace(found, verdict="too few")


def mean_scores(of_seeds: Sequence[ModelScores]) -> ModelScores:
    """Every figure's mean over the seeds; the curves of the first, the sums of each."""
    first = of_seeds[0]
    return replace(
        first,
        sheet=_mean_sheet([one.sheet for one in of_seeds]),
        by_category={name: _mean_sheet([one.by_category[name] for one in of_seeds]) for name in first.by_category},
        log_score_sums=np.concatenate([one.log_score_sums for one in of_seeds]),
    )


def _mean_sheet(sheets: Sequence[Sheet]) -> Sheet:
    plain = {
        field.name: _mean([getattr(one, field.name) for one in sheets])
        for field in fields(Sheet)
        if field.name != "ranking"
    }
    return Sheet(
        **plain, ranking=tuple(_mean_share(shares) for shares in zip(*(one.ranking for one in sheets), strict=True))
    )


def _mean_share(shares: Sequence[AtShare]) -> AtShare:
    return replace(
        shares[0],
        hit_rate=_mean([one.hit_rate for one in shares]),
        pai=_mean([one.pai for one in shares]),
        pei=_mean([one.pei for one in shares]),
    )


def _mean(values: Sequence[float]) -> float:
    """Of those that there are: a seed may, alone, expect as much as one incident nowhere."""
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else np.nan
