"""From a model's forecasts to its row of the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.cube import Runs
from models.evaluation.contract import Regressor
from models.evaluation.judge import Forecast, Judge, mean_scores
from models.evaluation.result import ModelResult

MIXED_IN = "share_of_the_mean_mixed_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedRow:
    """A row before it is judged."""

    name: str
    kind: str
    chosen: Mapping[str, float] = field(default_factory=dict)
    models: Sequence[Regressor] = ()  # that see features: one for each seed
    losses: tuple[tuple[float, ...], ...] = ()  # of networks
    seconds: float = 0.0


def mean_of(judged: Sequence[Forecast], judge: Judge, share: float) -> Forecast:
    """The mean over the seeds, with `share` of the usual mixed in."""
    return lambda run: np.mean([judge.mixed(forecast(run), share) for forecast in judged], axis=0)


def judged_row(
    fitted: UnjudgedRow, chosen: Callable[[], Runs], judged: Sequence[Forecast], judge: Judge
) -> ModelResult:
    """Mix in the mean, take the likeliest dispersion, and judge.

    chosen: floored forecasts of the validation block, and counts. judged: those of the judged steps, one for each seed.
    """
    share = judge.share_mixed_in(chosen())
    dispersion = judge.dispersion(chosen(), share)
    of_seeds = [judge.scores(mean_of([forecast], judge, share), dispersion) for forecast in judged]
    return ModelResult(
        model=fitted.name,
        kind=fitted.kind,
        scores=mean_scores(of_seeds),
        totals=judge.totals(mean_of(judged, judge, share)),
        dispersion=dispersion,
        chosen={**fitted.chosen, MIXED_IN: share},
        seeds=len(judged),
        log_scores_of_seeds=tuple(scores.sheet.nb_log_score for scores in of_seeds),
        seconds=fitted.seconds,
    )
