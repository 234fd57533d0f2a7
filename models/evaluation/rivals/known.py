"""What a rival knows when it forecasts: sums over the steps that were reported by then, and the local week."""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from models.hour_of_week import HOURS
from models.measures.cube import Counts, Cube, Floats

Steps = npt.NDArray[np.int64]


def known_steps(cube: Cube, first: int, delay: int) -> Steps:
    """(steps - first,) how many of the cube's first steps each forecast may use; 0 where none is reported yet."""
    return np.maximum(np.arange(first, len(cube)) - delay, 0)


def sums(counts: Counts, known: Steps) -> Floats:
    """(forecasts, cells, categories) incidents in the first `known` steps.

    counts: (steps, cells, categories). known: (forecasts,) ascending, at most `steps`.
    """
    start, stop = int(known[0]), int(known[-1])
    before = counts[:start].sum(axis=0, dtype=np.int64)
    since = np.concatenate([before[None], counts[start:stop]]).cumsum(axis=0)
    return np.asarray(since[known - start], np.float64)


def mean_count(counts: Counts, known: Steps, *, window: int | None = None) -> Floats:
    """(forecasts, cells, categories) incidents per step in the last `window` known steps, without it in all of them.

    0 where nothing is known. counts and known as for `sums`.
    """
    if window is None:
        return sums(counts, known) / np.maximum(known, 1)[:, None, None]
    left_out = np.maximum(known - window, 0)
    return (sums(counts, known) - sums(counts, left_out)) / np.maximum(known - left_out, 1)[:, None, None]


def decayed_sums(counts: Counts, known: Steps, keep: float) -> Floats:
    """(forecasts, cells, categories) incidents in the first `known` steps, each step weighing `keep` times the next.

    The last known step weighs 1. counts and known as for `sums`, but known < steps; 0 < keep < 1.
    """
    start, stop = int(known[0]), int(known[-1])
    weights = keep ** np.arange(start - 1, -1, -1)
    before = np.einsum("s,scj->cj", weights, counts[:start])
    since, _ = lfilter([0.0, 1.0], [1.0, -keep], counts[start : stop + 1], axis=0, zi=before[None])
    return np.asarray(since[known - start], np.float64)


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
    slots, per_step = week_slots(past), past.counts.sum(axis=1)
    usual = per_step.mean(axis=0)
    seen = np.zeros((past.steps_per_week, len(usual)))
    np.add.at(seen, slots, per_step)
    steps = np.bincount(slots, minlength=past.steps_per_week)[:, None]
    profile = np.divide((seen + usual) / (steps + 1), usual, out=np.ones_like(seen), where=usual > 0)
    return np.asarray(profile / profile.mean(axis=0))
