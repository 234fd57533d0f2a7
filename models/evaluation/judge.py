"""How models are judged: no leak, a row of the table for each, the hours after a surge, and the evaluation of all.

*Leaks*: a forecast that knows the future is refused: the future is changed, and no forecast before it may notice.
*Surges*: an average over all hours hides the few nights for which a live forecast is there. A surge is defined before,
by counts alone: in the last hour the whole region had SURGE standard deviations more than is usual, by Poisson's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import gammaln

from models.comparison import Difference, day_blocks, difference_of, ratio_of
from models.dispersion import Dispersion
from models.evaluation.inside_cells import Inside
from models.evaluation.rival_contract import Regression, least_mean, poisson_loss
from models.evaluation.tasks import Task
from models.measures import (
    AnyFloats,
    Counts,
    Cube,
    Floats,
    ModelScores,
    Runs,
    Sheet,
    Totals,
    score,
    totals_of,
    type_for,
)
from models.network_kinds import DEFAULT, Hyperparameters
from models.nowcast import LastHours, Nowcast, log_likelihood
from models.outcomes import AtShare, captured
from models.training.fit_baseline import JUDGED_SIZE, dispersion_losses, likeliest
from schemas.errors import LeakError

SURGE = 4.0
AREA_SHARE = 0.05  # of the cells, that are put first
LEAST_SURGES = 5  # steps; fewer say nothing
MOVED = 0.1  # of the forecast, that is worth counting


def is_surge(lately: Sequence[LastHours]) -> npt.NDArray[np.bool_]:
    """(steps,) whether each begins after a surge. lately: what was known at the begin of each."""
    came, usual = np.array([(at.came_1h.sum(), at.usual_1h.sum()) for at in lately]).T
    return np.asarray(came - usual > SURGE * np.sqrt(usual))


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeFigures:
    """A model in the judged steps: (kept steps,) each, of the whole region."""

    forecast: Floats
    came: Floats
    region_score: Floats  # nats
    cells_score: Floats  # the sum over the cells, nats
    hits: Floats  # incidents in the AREA_SHARE of the cells that are put first
    after: npt.NDArray[np.bool_]  # whether it begins after a surge

    @classmethod
    def of(cls, runs: Runs, after: npt.NDArray[np.bool_], cells_score: Floats) -> "SurgeFigures":
        """runs: (n, cells, categories) forecasts and counts. after, cells_score: (steps,) of all runs together."""
        sums: list[list[Floats]] = []
        for mean, counts in runs:
            caught, cells = list[float](), max(1, round(AREA_SHARE * mean.shape[1]))
            for of_mean, of_counts in zip(mean.sum(axis=2), counts.sum(axis=2), strict=True):
                caught.append(float(captured(of_mean[None], of_counts[None]).caught[cells - 1]))
            sums.append([*(of.sum(axis=(1, 2), dtype=np.float64) for of in (mean, counts)), np.array(caught)])
        expected, came, hits = (np.concatenate(of) for of in zip(*sums, strict=True))
        return cls(
            forecast=expected,
            came=came,
            region_score=gammaln(came + 1) - log_likelihood(came, expected, JUDGED_SIZE),
            cells_score=cells_score,
            hits=hits,
            after=after,
        )

    @classmethod
    def joined(cls, parts: Sequence["SurgeFigures"]) -> "SurgeFigures":
        """Those of several origins, one behind the other."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeRow:
    """A model after surges, over all origins. Percents are of the plain network's score; below zero is better.

    Where fewer than LEAST_SURGES steps begin after a surge, what is of them alone is nan.
    """

    model: str
    steps: int  # after a surge
    came: float  # mean of a step
    forecast: float
    forecast_over_actual: float
    low: float  # of its 95 % interval
    high: float
    region_percent: float  # log score of the region's total
    cells_percent: float  # log score of the cells
    cells_low: float
    cells_high: float
    hits: float  # share of the incidents
    all_region_percent: float  # over all judged steps, as the next
    all_cells_percent: float
    moved: float  # share of all steps whose forecast differs from the plain network's by more than MOVED


def surge_rows(
    origins: Sequence[Mapping[str, SurgeFigures]], beside: str, *, steps_per_week: int, seed: int
) -> tuple[SurgeRow, ...]:
    """A row for each model. origins: of each, the figures by model. beside: the plain network."""
    figures = {model: SurgeFigures.joined([of[model] for of in origins]) for model in origins[0]}
    plain = figures[beside]
    after, rows = plain.after, list[SurgeRow]()
    enough = after.sum() >= LEAST_SURGES
    block = day_blocks(*(len(of[beside].after) for of in origins), steps_per_week=steps_per_week)
    _, of_surges = np.unique(block[after], return_inverse=True)

    def percent(score: Floats, of_plain: Floats) -> float:
        return float(100 * (score.sum() / of_plain.sum() - 1))

    for model, of in figures.items():
        ratio = gain = (np.nan, np.nan, np.nan)
        if enough:
            ratio = ratio_of(of.forecast[after], of.came[after], of_surges, np.random.default_rng(seed))
            scores = of.cells_score[after], plain.cells_score[after]
            gain = ratio_of(*scores, of_surges, np.random.default_rng(seed))
        rows.append(
            SurgeRow(
                model=model,
                steps=int(after.sum()),
                came=float(of.came[after].mean()) if enough else np.nan,
                forecast=float(of.forecast[after].mean()) if enough else np.nan,
                forecast_over_actual=ratio[0],
                low=ratio[1],
                high=ratio[2],
                region_percent=percent(of.region_score[after], plain.region_score[after]) if enough else np.nan,
                cells_percent=100 * (gain[0] - 1),
                cells_low=100 * (gain[1] - 1),
                cells_high=100 * (gain[2] - 1),
                hits=float(of.hits[after].sum() / max(of.came[after].sum(), 1.0)) if enough else np.nan,
                all_region_percent=percent(of.region_score, plain.region_score),
                all_cells_percent=percent(of.cells_score, plain.cells_score),
                moved=float((np.abs(of.forecast / plain.forecast - 1) > MOVED).mean()),
            )
        )
    return tuple(rows)


OUR_BASELINE = "our baseline"  # the row of what networks start from
NETWORK = "network"  # the row and kind of the network
FOLLOWING = "following"  # the network with a follower behind it
NOWCAST = "nowcast"  # the network with factors of the last hours
WITH_THE_NETWORK = (NETWORK, FOLLOWING, NOWCAST)  # rows that are no rivals of it
Losses = tuple[tuple[float, ...], ...]  # by seed: of the linear part alone, then after each epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A model beside the best of the others."""

    model: str
    versus_best_baseline: Difference | None = None  # None for the best rival itself
    versus_best_rule: Difference | None = None  # None for the best rule itself
    versus_own_baseline: Difference | None = None  # of a network: what it starts from; None for other kinds
    place: Difference | None = None  # of a rule: the network against its map with the network's totals


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult(Compared):
    """One model. With several seeds each figure is the mean over them, and the reliability is the first seed's."""

    kind: str  # "rule" counts for itself; the others see the product's features
    scores: ModelScores
    totals: Totals
    dispersion: Dispersion  # (categories,) likeliest on the validation steps
    chosen: Mapping[str, float]  # what was chosen on the validation steps, by name; of several seeds the first's
    seeds: int
    log_scores_of_seeds: tuple[float, ...]  # NB log score of each seed; one without seeds
    seconds: float  # of fitting and forecasting
    levelled: ModelScores | None = None  # of a rule: its map with the network's total in each step and category
    versus_by_category: Mapping[str, Difference] = field(default_factory=dict)  # the best rival; empty for itself
    inside: Inside | None = None  # of the network, where the task has squares

    @property
    def nb_log_score(self) -> float:
        return self.scores.sheet.nb_log_score

    @property
    def levelled_score(self) -> float | None:
        return self.levelled.sheet.nb_log_score if self.levelled else None

    @property
    def verdict(self) -> str:
        """Against the best rival; empty for itself."""
        return self.versus_best_baseline.verdict if self.versus_best_baseline else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingResult(Compared):
    """One model over the judged steps of several origins, fitted anew for each."""

    nb_log_scores: tuple[float, ...]  # by origin
    nb_log_score: float  # mean over all judged steps
    levelled_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The same models at several origins, the earliest first."""

    judged_from_s: tuple[int, ...]  # epoch seconds
    best_baseline: str  # over all of them
    best_rule: str
    rows: tuple[RollingResult, ...]  # best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All of it. Cells that are not scored have no part in any figure."""

    task: Task
    purge_steps: int  # between what a model learned from and the first step it is judged on
    delay_steps: int  # how late counts are known
    rows: Sequence[ModelResult]  # best NB log score first
    best_baseline: str  # of the rows without the network
    best_rule: str  # of those that only count
    learning: Losses  # validation loss over the untrained network's
    seconds: float
    peak_gib: float
    made_at: str  # UTC
    versions: Mapping[str, str]
    recipe: Hyperparameters = DEFAULT  # of the network
    seeds: tuple[int, ...] = ()  # of the network, and of regressions that have seeds
    origins: Origins | None = None  # where earlier stretches were judged, too
    nowcast: Nowcast | None = None  # of the last origin, as it was fitted; None where nothing gained
    after_surges: tuple[SurgeRow, ...] = ()  # over all origins
    surge_figures: Mapping[str, SurgeFigures] = field(default_factory=dict)  # by model, of one origin
    inside: tuple[Inside, ...] = ()  # of each origin; none of a task without squares

    @property
    def network(self) -> ModelResult:
        return next(row for row in self.rows if row.kind == NETWORK)

    @property
    def served(self) -> str:
        """The row that an artifact of this file scores as, before following has learned anything."""
        own = self.network.versus_own_baseline
        model = OUR_BASELINE if own and own.is_none else self.network.model
        return f"{model}, {NOWCAST}" if self.nowcast else model

    def row(self, model: str) -> ModelResult:
        return next(row for row in self.rows if row.model == model)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A fitted model, to be judged: a row of the table before it has figures."""

    model: str
    kind: str
    chosen: Mapping[str, float]
    seconds: float  # of fitting and forecasting
    validation: Callable[[], Runs]  # gives floored forecasts of the validation block, and counts
    judged: Sequence[Forecast]  # of the judged steps, one for each seed


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

    def row(self, contender: Contender) -> ModelResult:
        """Mix in the mean, take the likeliest dispersion, and judge."""
        losses = [
            [poisson_loss(self.mixed(step_mean, share), counts) for share in SHARES]
            for mean, step_counts in contender.validation()
            for step_mean, counts in zip(mean, step_counts, strict=True)
        ]
        share = SHARES[int(np.mean(losses, axis=0).argmin())]
        of_dispersions: Floats = np.zeros(())
        for mean, observed in contender.validation():
            log_mean, counts = (
                torch.from_numpy(values.reshape(-1, values.shape[-1], 1))
                for values in (np.log(self.mixed(mean, share)), observed)
            )
            of_dispersions = of_dispersions + dispersion_losses(log_mean, counts)
        dispersion, judged = likeliest(of_dispersions)[:, 0], contender.judged
        of_seeds = [self.scores(self.mean_of([forecast], share), dispersion) for forecast in judged]
        return ModelResult(
            model=contender.model,
            kind=contender.kind,
            scores=mean_scores(of_seeds),
            totals=self.totals(self.mean_of(judged, share)),
            dispersion=dispersion,
            chosen={**contender.chosen, MIXED_IN: share},
            seeds=len(judged),
            log_scores_of_seeds=tuple(scores.sheet.nb_log_score for scores in of_seeds),
            seconds=contender.seconds,
        )

    def versus(self, model: ModelScores, rival: ModelScores, category: str | None = None) -> Difference:
        """The difference of two models over all categories, or in one of them."""
        names = self.task.cube.categories
        taken = [place for place, name in enumerate(names) if category in (None, name)]
        model_sums, rival_sums = (scores.log_score_sums[:, :, taken].sum(axis=2) for scores in (model, rival))
        per_step = (model_sums - rival_sums.mean(axis=0)) / (self.cells * len(taken))
        block = day_blocks(model_sums.shape[1], steps_per_week=self.task.cube.steps_per_week)
        judged = int(self.task.judged_incidents()[taken].sum())
        return difference_of(per_step, block, np.random.default_rng(self.seed), judged=judged)


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
