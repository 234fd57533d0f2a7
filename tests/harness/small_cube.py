"""Small cubes with a rhythm, and forecasts of them."""

import numpy as np

from models.measures import Cube


def cube_of(counts, *, rows, cols, steps_per_week=7):
    """counts: (steps, rows * cols, categories), the first step starts on Thursday, 1970-01-01, UTC."""
    starts_s = np.arange(len(counts) + 1, dtype=np.int64) * (7 * 86_400 // steps_per_week)
    return Cube(
        counts=np.asarray(counts, np.int32),
        starts_s=starts_s,
        hour_of_week=((starts_s[:-1] // 3600 + 72) % 168).astype(np.int16),
        rows=rows,
        cols=cols,
        cell_m=1000.0,
        categories=tuple(f"kind_{number}" for number in range(np.shape(counts)[2])),
    )


def random_cube(random, *, steps=60, rows=3, cols=2, categories=2, steps_per_week=7):
    """Poisson counts of cells that differ, over a week that has quiet and busy slots."""
    rate = random.gamma(0.7, 1.0, (1, rows * cols, categories))
    week = random.uniform(0.2, 2.0, (steps_per_week, 1, categories))
    counts = random.poisson(rate * week[np.arange(steps) % steps_per_week])
    return cube_of(counts, rows=rows, cols=cols, steps_per_week=steps_per_week)


def stacked(forecast):
    """(steps, cells, categories) of a forecast that is given step by step."""
    return np.stack([*forecast])


def in_runs(height, *arrays):
    """The arrays cut along their first axis into runs of `height` steps; the last may be shorter."""
    for start in range(0, len(arrays[0]), height):
        yield tuple(array[start : start + height] for array in arrays)
