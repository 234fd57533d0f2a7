"""Small cubes with a rhythm, and the simple rivals with little to choose from."""

import numpy as np

from models.evaluation.rivals.constant import Constant
from models.evaluation.rivals.ewma import Ewma
from models.evaluation.rivals.ewma_profile import EwmaProfile
from models.evaluation.rivals.expanding import Expanding
from models.evaluation.rivals.historical import Historical
from models.evaluation.rivals.kde import Kde
from models.evaluation.rivals.last_week import LastWeek
from models.evaluation.rivals.same_weekday import SameWeekday
from models.evaluation.rivals.self_exciting import SelfExciting
from models.measures.cube import Cube

RIVALS = (
    Constant(),
    LastWeek(),
    SameWeekday(),
    Historical(),
    Expanding(),
    Ewma(half_life_days=3.0),
    EwmaProfile(half_lives_days=(2.0, 8.0)),
    Kde(half_life_days=4.0),
    SelfExciting(usual=EwmaProfile(half_lives_days=(5.0,)), half_lives_hours=(20.0, 60.0), weights=(0.1, 0.3)),
)


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
