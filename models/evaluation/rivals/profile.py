"""The local week: which of its slots a step falls into, and how busy the whole region is in each."""

import numpy as np
import numpy.typing as npt

from models.hour_of_week import HOURS
from models.measures.cube import Cube, Floats


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
