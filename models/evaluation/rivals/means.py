"""Rivals whose forecast is a mean of what is known: nothing is chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.cube import Cube, Floats
from models.evaluation.rivals.known import decayed_sums, kept_per_step, known_steps, mean_counts, week_slots
from models.evaluation.rivals.rule import Rule


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
        for slot, known in zip(slots[first:], known_steps(cube, first, delay), strict=True):
            for step in range(counted, known):
                total[slots[step]] += cube.counts[step]
                steps[slots[step]] += 1
            counted = known
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


def ewma_rates(cube: Cube, known: list[int], half_life_days: float) -> Iterator[Floats]:
    """(cells, categories) weighted mean count per step, for each `known`; the weights of the known steps sum to 1.

    known: as `known_steps` gives it. 0 where nothing is known.
    """
    keep = kept_per_step(cube, half_life_days)
    for until, total in zip(known, decayed_sums(cube.counts, known, keep), strict=True):
        yield total * ((1 - keep) / (1 - keep ** max(until, 1)))
