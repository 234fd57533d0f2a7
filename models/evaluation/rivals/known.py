"""What a rival knows when it forecasts: sums over the steps that were reported by then, and the local week."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from models.cube import Counts, Cube, Floats
from models.local_time import HOURS


def known_steps(cube: Cube, first: int, delay: int) -> list[int]:
    """(steps - first,) how many of the cube's first steps each forecast may use; 0 where none is reported yet."""
    return [max(step - delay, 0) for step in range(first, len(cube))]


def sums(counts: Counts, known: Iterable[int]) -> Iterator[npt.NDArray[np.int64]]:
    """(cells, categories) incidents in the first `known` steps, for each `known`.

    counts: (steps, cells, categories). known: ascending, at most `steps`.
    """
    total, counted = np.zeros(counts.shape[1:], np.int64), 0
    for until in known:
        total = total + counts[counted:until].sum(axis=0, dtype=np.int64)
        counted = until
        yield total


def mean_counts(counts: Counts, known: list[int], *, window: int | None = None) -> Iterator[Floats]:
    """(cells, categories) incidents per step in the last `window` known steps, without it in all, for each `known`.

    0 where nothing is known. counts and known as for `sums`.
    """
    left_out = [0 if window is None else max(until - window, 0) for until in known]
    for until, start, total, before in zip(known, left_out, sums(counts, known), sums(counts, left_out), strict=True):
        yield (total - before) / max(until - start, 1)


def decayed_sums(counts: Counts, known: Iterable[int], keep: float) -> Iterator[Floats]:
    """(cells, categories) incidents in the first `known` steps, each step weighing `keep` times the next.

    The last known step weighs 1. One for each `known`; counts and known as for `sums`; 0 < keep < 1.
    """
    total, counted = np.zeros(counts.shape[1:]), 0
    for until in known:
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
