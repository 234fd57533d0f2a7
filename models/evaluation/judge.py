"""A forecast that knows the future is refused: the future is changed, and no forecast before it may notice."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from models.comparison import LEAST_JUDGED, Difference, compare
from models.cube import AnyFloats, Counts, Cube, Floats, Runs, type_for
from models.dispersion import Dispersion
from models.evaluation.result import ModelResult
from models.evaluation.rival_contract import Regression, least_mean, poisson_loss
from models.evaluation.tasks import Task
from models.hyperparameters import DEFAULT, Hyperparameters
from models.measures import AtShare, ModelScores, Sheet, Totals, score, totals_of
from models.training.fit_baseline import dispersion_losses, likeliest
from schemas.errors import LeakError

_FLOAT_NOISE = 1e-5  # relative; a network of 32-bit floats gives as much between two runs
_RAISED = 3  # incidents that are added at most


def refuse_leaks(
    forecast: Callable[[Cube, int], Iterable[Floats]],
    cube: Cube,
    first: int,
    *,
    name: str,
    random: np.random.Generator,
    delay: int,
) -> None:
    """Raise LeakError when the forecast of a step uses counts that are not reported by then.

    forecast: (cube, first) -> (cells, categories) for each step from `first` on. name: the rival, for the message. A
    step is drawn from those judged; all counts from `delay` steps before it on are permuted in time and raised by 1 to
    3, and no forecast up to this step may change. One draw sees every leak that is there at all steps; a leak at few
    steps needs more draws.
    """
    drawn = int(random.integers(first, len(cube)))
    unknown = max(drawn - delay, 0)
    changed = cube.counts.astype(type_for(int(cube.counts.max(initial=0)) + _RAISED))
    future = changed[unknown:]
    random.shuffle(future)
    future += random.integers(1, _RAISED, size=future.shape, dtype=np.int8, endpoint=True)
    other = replace(cube, counts=changed)
    both = zip(forecast(cube, first), forecast(other, first), strict=True)
    for step, (before, after) in zip(range(first, drawn + 1), both, strict=False):
        if not np.isclose(before, after, rtol=_FLOAT_NOISE, atol=1e-9, equal_nan=True).all():
            raise LeakError(
                f"{name!r} leaks: its forecast of step {step} changes with the counts from step {unknown} on, none of "
                f"them reported by then (delay {delay})",
                f"let it use only steps before {step - delay}",
            )


class Spool:
    """Forecasts of one model, (steps, cells, categories): written in the order of time, read as often as needed."""

    def __init__(self, first: int, shape: tuple[int, int], kind: npt.DTypeLike) -> None:
        """first: the step that is written first. shape: cells, categories."""
        self._file = TemporaryFile()  # noqa: SIM115 - closed with the spool; it has no name that could remain
        self._first, self._shape, self._kind = first, shape, np.dtype(kind)
        self._step_bytes = shape[0] * shape[1] * self._kind.itemsize

    def close(self) -> None:
        self._file.close()

    def append(self, mean: AnyFloats) -> None:
        """mean: (n, cells, categories) of the steps after those that were written."""
        self._file.seek(0, 2)
        self._file.write(mean.astype(self._kind, copy=False).tobytes())

    def read(self, steps: range) -> AnyFloats:
        self._file.seek((steps.start - self._first) * self._step_bytes)
        content = self._file.read(len(steps) * self._step_bytes)
        return np.frombuffer(content, self._kind).reshape(len(steps), *self._shape)


T = TypeVar("T", Sheet, AtShare)
Forecast = Callable[[range], AnyFloats]  # (steps, scored cells, categories)
ROWS = 1 << 17
MIXED_IN = "share_of_the_mean_mixed_in"
# Shares of the mean that a model may mix in, so that a quiet place keeps a small forecast.
SHARES = (0.0, 1e-4, 1e-3, 1e-2, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    regressions: Sequence[Regression]
    seeds: Sequence[int]  # of the network; the first decides every draw that is not a model's, too
    purge: int  # steps left out between what models learn from and what comes after
    delay: int  # steps until counts are known
    recipe: Hyperparameters = DEFAULT  # of the network
    tell: Callable[[str, float], None]  # (what, how far 0..1)
    rows: int = ROWS  # cells at steps whose features and forecasts are in memory at a time


@dataclass(frozen=True, kw_only=True)
class Judge:
    task: Task
    seed: int  # of the randomised PIT and the bootstrap
    rows: int = ROWS  # cells at steps whose forecasts are in memory at a time; no figure depends on it

    def floored(self, mean: AnyFloats) -> Floats:
        """(steps, scored cells, categories) the forecast as it is judged, see `least_mean`."""
        return np.maximum(mean, self._least)

    def share_mixed_in(self, chosen: Runs) -> float:
        """Which of SHARES makes the forecasts of the validation steps best. chosen: as `floored` gives them."""
        losses = [
            [poisson_loss(self.mixed(step_mean, share), counts) for share in SHARES]
            for mean, step_counts in chosen
            for step_mean, counts in zip(mean, step_counts, strict=True)
        ]
        return SHARES[int(np.mean(losses, axis=0).argmin())]

    def dispersion(self, chosen: Runs, share: float) -> Dispersion:
        """(categories,) the likeliest on the validation steps with `share` of the mean mixed in."""
        losses: Floats = np.zeros(())
        for mean, observed in chosen:
            log_mean, counts = (
                torch.from_numpy(values.reshape(-1, values.shape[-1], 1))
                for values in (np.log(self.mixed(mean, share)), observed)
            )
            losses = losses + dispersion_losses(log_mean, counts)
        return likeliest(losses)[:, 0]

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
        learned = np.flatnonzero(self.task.is_kept[: self.task.validation])
        return self.task.cube.counts[np.ix_(learned, self.task.scored)]

    @property
    def judged(self) -> range:
        """The judged steps."""
        return range(self.task.test, len(self.task.cube))

    def runs(self, steps: range) -> list[range]:
        """The steps, as many at a time as `rows` cells at steps allow."""
        height = max(1, self.rows // self.cells)
        return [steps[start : start + height] for start in range(0, len(steps), height)]

    @cached_property
    def cells(self) -> int:
        """How many cells are scored."""
        return int(self.task.scored.sum())

    def counts(self, steps: range) -> Counts:
        """(steps, scored cells, categories) observed incidents."""
        return self.task.cube.counts[steps.start : steps.stop, self.task.scored]

    @cached_property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(steps,) see `Task.is_kept`; what is forecast for a step that is not kept changes no figure."""
        return self.task.is_kept

    def in_runs(self, forecast: Forecast, steps: range) -> Iterator[tuple[AnyFloats, Counts]]:
        """Runs of the kept steps: forecasts and counts."""
        for run in self.runs(steps):
            is_kept = self.is_kept[run.start : run.stop]
            if is_kept.any():
                yield forecast(run)[is_kept], self.counts(run)[is_kept]

    def scores(self, forecast: Forecast, dispersion: Dispersion) -> ModelScores:
        return score(
            self.in_runs(forecast, self.judged),
            dispersion,
            self.task.cube.categories,
            np.random.default_rng(self.seed),
            steps=int(self.is_kept[self.task.test :].sum()),
            has_history=np.asarray(self.counts(range(self.task.test)).any(axis=(0, 2))),
        )

    def totals(self, forecast: Forecast) -> Totals:
        return totals_of(self.in_runs(forecast, self.judged), self.task.cube, self.task.scored)

    def mean_of(self, forecasts: Sequence[Forecast], share: float) -> Forecast:
        """The mean over the seeds, with `share` of the usual mixed in."""
        return lambda run: np.mean([self.mixed(forecast(run), share) for forecast in forecasts], axis=0)

    def row(
        self,
        name: str,
        kind: str,
        chosen: Mapping[str, float],
        seconds: float,
        *,
        validation: Callable[[], Runs],
        judged: Sequence[Forecast],
    ) -> ModelResult:
        """Mix in the mean, take the likeliest dispersion, and judge a fitted model.

        validation: gives floored forecasts of the validation block, and counts. judged: forecasts of the judged steps,
        one for each seed.
        """
        share = self.share_mixed_in(validation())
        dispersion = self.dispersion(validation(), share)
        of_seeds = [self.scores(self.mean_of([forecast], share), dispersion) for forecast in judged]
        return ModelResult(
            model=name,
            kind=kind,
            scores=mean_scores(of_seeds),
            totals=self.totals(self.mean_of(judged, share)),
            dispersion=dispersion,
            chosen={**chosen, MIXED_IN: share},
            seeds=len(judged),
            log_scores_of_seeds=tuple(scores.sheet.nb_log_score for scores in of_seeds),
            seconds=seconds,
        )

    def versus(self, model: ModelScores, rival: ModelScores, category: str | None = None) -> Difference:
        """The difference of two models over all categories, or in one of them."""
        names = self.task.cube.categories
        taken = [place for place, name in enumerate(names) if category in (None, name)]
        model_sums, rival_sums = (scores.log_score_sums[:, :, taken].sum(axis=2) for scores in (model, rival))
        compared = compare(
            model_sums,
            rival_sums,
            values=self.cells * len(taken),
            steps_per_week=self.task.cube.steps_per_week,
            random=np.random.default_rng(self.seed),
        )
        is_enough = self._judged_incidents[taken].sum() >= LEAST_JUDGED
        return compared if is_enough else replace(compared, verdict="too few")

    @cached_property
    def _judged_incidents(self) -> npt.NDArray[np.int64]:
        """(categories,) those of the judged steps."""
        counts = self.counts(self.judged)[self.is_kept[self.task.test :]]
        return np.asarray(counts.sum(axis=(0, 1)), np.int64)


def mean_scores(of_seeds: Sequence[ModelScores]) -> ModelScores:
    """Every figure's mean over the seeds; the reliability of the first, the sums of each."""
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
    for name in (each.name for each in fields(figures[0])):
        values = [getattr(figure, name) for figure in figures]
        if name == "ranking":
            means[name] = tuple(_mean(shares) for shares in zip(*values, strict=True))
        elif any(value != values[0] for value in values):
            present = [value for value in values if not np.isnan(value)]
            means[name] = float(np.mean(present)) if present else np.nan
    return replace(figures[0], **means)
