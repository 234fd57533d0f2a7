"""The rivals of the network: those that count for themselves, then those that see the product's features.

To add one: a class here, or in a file beside, and one entry of RIVALS, or of REGRESSIONS.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve, gaussian_filter
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.evaluation.rival_contract import Forecaster, Regression, Rival, Values, least_mean, poisson_loss
from models.feature_lists import usual_columns
from models.local_time import HOURS
from models.measures import Counts, Cube, Floats

if TYPE_CHECKING:  # torch takes seconds to import
    from models.training.fit_network import Examples


def known_steps(cube: Cube, first: int, delay: int) -> list[int]:
    """(steps - first,) how many of the cube's first steps each forecast may use; 0 where none is reported yet."""
    return [max(step - delay, 0) for step in range(first, len(cube))]


def sums(counts: Counts, reported: Iterable[int]) -> Iterator[npt.NDArray[np.int64]]:
    """(cells, categories) incidents in the first `reported` steps, for each `reported`.

    counts: (steps, cells, categories). reported: ascending, at most `steps`.
    """
    total, counted = np.zeros(counts.shape[1:], np.int64), 0
    for until in reported:
        total = total + counts[counted:until].sum(axis=0, dtype=np.int64)
        counted = until
        yield total


def mean_counts(counts: Counts, reported: list[int], *, window: int | None = None) -> Iterator[Floats]:
    """(cells, categories) incidents per step in the last `window` reported steps, or in all, for each `reported`.

    0 where nothing is reported. counts and reported as for `sums`.
    """
    left_out = [0 if window is None else max(until - window, 0) for until in reported]
    for until, start, total, before in zip(
        reported, left_out, sums(counts, reported), sums(counts, left_out), strict=True
    ):
        yield (total - before) / max(until - start, 1)


def decayed_sums(counts: Counts, reported: Iterable[int], keep: float) -> Iterator[Floats]:
    """(cells, categories) incidents in the first `reported` steps, each step weighing `keep` times the next.

    The last known step weighs 1. One for each `reported`; counts and reported as for `sums`; 0 < keep < 1.
    """
    total, counted = np.zeros(counts.shape[1:]), 0
    for until in reported:
        for step in counts[counted:until]:
            total = keep * total + step
        counted = until
        yield total


def kept_per_step(cube: Cube, half_life_days: float) -> float:
    """The share of its weight that a step keeps when it grows one step older."""
    return float(0.5 ** (7 / (cube.steps_per_week * half_life_days)))


def week_slots(cube: Cube) -> npt.NDArray[np.int64]:
    """(steps,) 0 to steps_per_week - 1: the hour of the week for steps of an hour, the weekday for those of a day."""
    return cube.hour_of_week.astype(np.int64) * cube.steps_per_week // HOURS


def week_profile(past: Cube) -> Floats:
    """(steps_per_week, categories) how busy the region is in each slot of the week; 1 is its mean.

    One week of the mean is added to what was seen, so that no slot becomes 0 and a slot without data is usual.
    """
    slots, per_step = week_slots(past), past.counts.sum(axis=1, dtype=np.int64)
    usual = per_step.mean(axis=0)
    by_slot = np.zeros((past.steps_per_week, len(usual)))
    np.add.at(by_slot, slots, per_step)
    steps = np.bincount(slots, minlength=past.steps_per_week)[:, None]
    profile = np.divide((by_slot + usual) / (steps + 1), usual, out=np.ones_like(by_slot), where=usual > 0)
    return np.asarray(profile / profile.mean(axis=0))


Candidate = TypeVar("Candidate", bound=Forecaster)


class Rule:
    """Rival and forecaster in one: a formula of the known steps. A rule adds its `name` and its `forecast`."""

    __slots__ = ()
    chosen: ClassVar[Mapping[str, float]] = {}

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> Self:
        return self


def best_of(candidates: Iterable[Candidate], past: Cube, validation: int, *, delay: int) -> Candidate:
    """The candidate with the least loss from step `validation` of `past` on."""
    counts, least = past.counts[validation:], least_mean(past.counts[:validation])

    def loss(fitted: Candidate) -> float:
        steps = zip(fitted.forecast(past, validation, delay=delay), counts, strict=True)
        return float(np.mean([poisson_loss(np.maximum(mean, least), observed) for mean, observed in steps]))

    return min(candidates, key=loss)


class Constant(Rule):
    """One incident everywhere, always: useless as a map, yet good by errors that leave out cells without incidents."""

    name: ClassVar[str] = "constant 1"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        for _ in range(first, len(cube)):
            yield np.ones(cube.counts.shape[1:])


class LastWeek(Rule):
    """Mean of the last seven known days: what many a dashboard shows."""

    name: ClassVar[str] = "last week's count / 7"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        return mean_counts(cube.counts, known_steps(cube, first, delay), window=cube.steps_per_week)


class SameWeekday(Rule):
    """Mean of the known steps in the same slot of the week; 0 where there is none."""

    name: ClassVar[str] = "same weekday and hour"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        slots, counted = week_slots(cube), 0
        total = np.zeros((cube.steps_per_week, *cube.counts.shape[1:]), np.int64)
        steps = np.zeros(cube.steps_per_week)
        for slot, reported in zip(slots[first:], known_steps(cube, first, delay), strict=True):
            for step in range(counted, reported):
                total[slots[step]] += cube.counts[step]
                steps[slots[step]] += 1
            counted = reported
            yield total[slot] / max(steps[slot], 1)


class Expanding(Rule):
    """The mean of all history up to each step."""

    name: ClassVar[str] = "expanding mean"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        return mean_counts(cube.counts, known_steps(cube, first, delay))


class Historical:
    """The mean of the training steps, never renewed."""

    name: ClassVar[str] = "historical average"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedHistorical":
        return FittedHistorical(mean=past.counts[:validation].mean(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedHistorical(Rule):
    mean: Floats  # (cells, categories) incidents per step

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        for _ in range(first, len(cube)):
            yield self.mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Ewma(Rule):
    """Exponentially weighted moving average: old incidents count less, by half after each half-life."""

    half_life_days: float

    @property
    def name(self) -> str:
        return f"EWMA {self.half_life_days:g} d"

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        return ewma_rates(cube, known_steps(cube, first, delay), self.half_life_days)


def ewma_rates(cube: Cube, reported: list[int], half_life_days: float) -> Iterator[Floats]:
    """(cells, categories) weighted mean count per step, for each `reported`; the weights of the known steps sum to 1.

    reported: as `known_steps` gives it. 0 where nothing is reported.
    """
    keep = kept_per_step(cube, half_life_days)
    for until, total in zip(reported, decayed_sums(cube.counts, reported, keep), strict=True):
        yield total * ((1 - keep) / (1 - keep ** max(until, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EwmaProfile:
    """Chooses the half-life, and whether half of the rate is the expanding mean."""

    half_lives_days: tuple[float, ...] = (30.0, 60.0, 120.0, 240.0, 480.0)
    expanding_shares: tuple[float, ...] = (0.0, 0.5)
    name: ClassVar[str] = "EWMA x week"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedEwmaProfile":
        profile = week_profile(past.until(validation))
        candidates = (
            FittedEwmaProfile(half_life_days=half_life, expanding_share=share, profile=profile)
            for half_life, share in product(self.half_lives_days, self.expanding_shares)
        )
        return best_of(candidates, past, validation, delay=delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEwmaProfile:
    half_life_days: float
    expanding_share: float
    profile: Floats  # (steps_per_week, categories), mean 1

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"half_life_days": self.half_life_days, "expanding_share": self.expanding_share}

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        reported, share = known_steps(cube, first, delay), self.expanding_share
        rates = ewma_rates(cube, reported, self.half_life_days)
        if share:
            means = mean_counts(cube.counts, reported)
            rates = ((1 - share) * rate + share * mean for rate, mean in zip(rates, means, strict=True))
        for slot, rate in zip(week_slots(cube)[first:], rates, strict=True):
            yield rate * self.profile[slot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kde:
    """Chooses the bandwidth, the kernel's standard deviation in cells; 0.1 smooths nothing."""

    half_life_days: float = 60.0
    bandwidths_cells: tuple[float, ...] = (0.1, 0.3, 0.5, 1.0, 2.0)
    name: ClassVar[str] = "KDE over EWMA"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedKde":
        candidates = (
            FittedKde(half_life_days=self.half_life_days, bandwidth_cells=bandwidth)
            for bandwidth in self.bandwidths_cells
        )
        return best_of(candidates, past, validation, delay=delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedKde:
    half_life_days: float
    bandwidth_cells: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"bandwidth_cells": self.bandwidth_cells}

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        for rate in ewma_rates(cube, known_steps(cube, first, delay), self.half_life_days):
            yield smooth(rate, cube, self.bandwidth_cells)


def smooth(rate: Floats, cube: Cube, bandwidth_cells: float) -> Floats:
    """(cells, categories) the rate spread over the grid; what would leave it is reflected, so the sum stays."""
    square = rate.reshape(cube.rows, cube.cols, -1)
    spread = gaussian_filter(square, sigma=bandwidth_cells, axes=(0, 1), mode="reflect")
    return np.asarray(spread.reshape(rate.shape), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfExciting:
    """Chooses how long excitation lasts, how much it weighs, and how much of it comes from the cell itself."""

    usual: EwmaProfile = field(default_factory=EwmaProfile)
    half_lives_hours: tuple[float, ...] = (1.0, 3.0, 12.0, 48.0, 168.0)
    weights: tuple[float, ...] = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
    own_shares: tuple[float, ...] = (1.0, 0.5)
    name: ClassVar[str] = "EWMA x week, self-exciting"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedSelfExciting":
        usual = self.usual.fit(past, validation, delay=delay)
        counts, least = past.counts[validation:], least_mean(past.counts[:validation])
        kinds = list(product(self.half_lives_hours, self.own_shares))
        decays = [kept_per_step(past, half_life / 24) ** delay for half_life, _ in kinds]
        weights = np.outer(decays, self.weights).tolist()
        losses = np.zeros((len(kinds), len(self.weights)))
        excitations = zip(*(excite(past, validation, *kind, delay=delay) for kind in kinds), strict=True)
        usually = usual.forecast(past, validation, delay=delay)
        for observed, mean, excited in zip(counts, usually, excitations, strict=True):
            for kind, weight in np.ndindex(losses.shape):
                mixed = np.maximum(mix(mean, excited[kind], weights[kind][weight]), least)
                losses[kind, weight] += poisson_loss(mixed, observed)
        kind, weight = np.unravel_index(losses.argmin(), losses.shape)
        half_life, own_share = kinds[kind]
        chosen = self.weights[weight]
        return FittedSelfExciting(usual=usual, half_life_hours=half_life, weight=chosen, own_share=own_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSelfExciting:
    usual: FittedEwmaProfile
    half_life_hours: float
    weight: float
    own_share: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {
            **self.usual.chosen,
            "excitation_half_life_hours": self.half_life_hours,
            "excitation_weight": self.weight,
            "excitation_own_share": self.own_share,
        }

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        """What is not yet reported excites as usual: with each step of delay the weight decays as the excitation."""
        excitations = excite(cube, first, self.half_life_hours, self.own_share, delay=delay)
        usually = self.usual.forecast(cube, first, delay=delay)
        weight = self.weight * kept_per_step(cube, self.half_life_hours / 24) ** delay
        return (mix(usual, excitation, weight) for usual, excitation in zip(usually, excitations, strict=True))


def excite(cube: Cube, first: int, half_life_hours: float, own_share: float, *, delay: int) -> Iterator[Floats]:
    """(cells, categories) weighted mean of the known counts of the cell and of its neighbours, from step `first` on."""
    keep = kept_per_step(cube, half_life_hours / 24)
    kernel = np.full((3, 3, 1), (1 - own_share) / 8)
    kernel[1, 1, 0] = own_share
    for total in decayed_sums(cube.counts, known_steps(cube, first, delay), keep):
        square = (1 - keep) * total.reshape(cube.rows, cube.cols, -1)
        yield np.asarray(convolve(square, kernel, mode="constant").reshape(total.shape), np.float64)


def mix(usual: Floats, excitation: Floats, weight: float) -> Floats:
    return (1 - weight) * usual + weight * excitation


RIVALS: list[Rival] = [
    Constant(),
    LastWeek(),
    SameWeekday(),
    Historical(),
    Expanding(),
    Ewma(half_life_days=30),
    Ewma(half_life_days=60),
    EwmaProfile(),
    Kde(),
    SelfExciting(),
]


def flat(values: Values) -> Values:
    """(n * categories, features + categories): the features, and the category as columns of 0 and 1.

    values: (n, categories, features).
    """
    n, categories, features = values.shape
    indicator = np.broadcast_to(np.eye(categories, dtype=np.float32), (n, categories, categories))
    return np.concatenate([values, indicator], axis=2).reshape(n * categories, features + categories)


def flat_counts(examples: "Examples") -> npt.NDArray[np.float64]:
    """(n * categories,) what came within the only horizon."""
    return examples.counts[:, :, 0].reshape(-1).double().numpy()


PENALTIES = (1e-6, 1e-4, 1e-2)  # of the L2 norm; the best on validation is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonGlm:
    name: ClassVar[str] = "Poisson GLM"

    def fit(self, train: "Examples", validation: "Examples", *, seeds: Sequence[int]) -> "list[FittedGlm]":
        values, counts = flat(train.values.numpy()).astype(np.float64), flat_counts(train)
        later, later_counts = flat(validation.values.numpy()), flat_counts(validation)
        fitted = []
        for penalty in PENALTIES:
            model = make_pipeline(StandardScaler(), PoissonRegressor(alpha=penalty, solver="newton-cholesky"))
            fitted.append(FittedGlm(model=model.fit(values, counts), penalty=penalty))
        return [min(fitted, key=lambda glm: poisson_loss(glm.of_rows(later), later_counts))]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedGlm:
    model: Pipeline
    penalty: float

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"penalty": self.penalty}

    def of_rows(self, rows: Values) -> Values:
        return np.asarray(self.model.predict(rows), np.float32)

    def predict(self, values: Values) -> Values:
        return self.of_rows(flat(values)).reshape(values.shape[:2])


MOST_TREES = 400
PATIENCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """Chooses with the first seed: trees explain the counts, or what they are beside the product's baseline."""

    name: ClassVar[str] = "gradient boosting"

    def fit(self, train: "Examples", validation: "Examples", *, seeds: Sequence[int]) -> "list[FittedBoosting]":
        later, counts = validation.values.numpy(), validation.counts[:, :, 0].double().numpy()
        tried = [_fit(train, validation, seed=seeds[0], beside_baseline=beside) for beside in (False, True)]
        first = min(tried, key=lambda boosting: poisson_loss(boosting.predict(later), counts))
        more = [_fit(train, validation, seed=seed, beside_baseline=first.beside_baseline) for seed in seeds[1:]]
        return [first, *more]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBoosting:
    model: HistGradientBoostingRegressor
    beside_baseline: bool

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"beside_baseline": float(self.beside_baseline), "trees": float(self.model.n_iter_)}

    def predict(self, values: Values) -> Values:
        mean = self.model.predict(flat(values)) * _exposure(values, self.beside_baseline)
        return np.asarray(mean, np.float32).reshape(values.shape[:2])


def _fit(train: "Examples", validation: "Examples", *, seed: int, beside_baseline: bool) -> FittedBoosting:
    """A rate count / exposure of weight `exposure` has the same Poisson likelihood as the count with an offset."""
    exposure, later_exposure = (_exposure(examples.values.numpy(), beside_baseline) for examples in (train, validation))
    model = HistGradientBoostingRegressor(
        loss="poisson",
        learning_rate=0.05,
        max_iter=MOST_TREES,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=seed,
    )
    model.fit(
        flat(train.values.numpy()),
        flat_counts(train) / exposure,
        sample_weight=exposure,
        X_val=flat(validation.values.numpy()),
        y_val=flat_counts(validation) / later_exposure,
        sample_weight_val=later_exposure,
    )
    return FittedBoosting(model=model, beside_baseline=beside_baseline)


def _exposure(values: Values, beside_baseline: bool) -> npt.NDArray[np.float64]:
    """(n * categories,) expected counts of the product's baseline, or 1."""
    log_usual = values[:, :, usual_columns(1)].reshape(-1).astype(np.float64)
    return np.exp(log_usual) if beside_baseline else np.ones_like(log_usual)


REGRESSIONS: list[Regression] = [PoissonGlm(), Boosting()]
