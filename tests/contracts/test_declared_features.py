"""What every declared feature must be. A new entry of a list is tested here by being there."""

import pickle
from functools import partial

import numpy as np
import pytest

from models.feature_lists import (
    LEVEL_LIMIT,
    LISTS,
    MEMORY_DAYS,
    SINCE_CAP_HOURS,
    LongMemory,
    RecentCounts,
    RegionLevels,
    all_features,
    declare,
    group_of,
)
from models.features import feature_names
from models.neighbours import ring_sum
from tests.harness.toy import toy_grid

GRID = toy_grid(3, 4)
SHAPE = (GRID.cells, 2)


def readings(name, random):
    """What the functions of a list read, drawn, and the shape of what they give."""
    counts = lambda most: random.integers(0, most + 1, SHAPE).astype(np.int32)  # noqa: E731
    rates = lambda: random.gamma(0.5, 10.0, SHAPE) + 1e-9  # noqa: E731
    ratios = lambda names: {name: random.uniform(-LEVEL_LIMIT, LEVEL_LIMIT, 2) for name in names}  # noqa: E731
    windows = ("1h", "6h", "24h", "3d", "7d", "30d")
    return {
        "recent": lambda: RecentCounts(
            windows={window: counts(500) for window in ("15min", "1h", "6h", "24h", "7d")},
            around=partial(ring_sum, grid=GRID),
            hours_since=counts(SINCE_CAP_HOURS),
            same_hours=counts(50),
        ),
        "memory": lambda: LongMemory(
            by_half_life={days: rates() for days in MEMORY_DAYS}, rate=rates(), block=rates(), region=rates()[0]
        ),
        "level": lambda: RegionLevels(by_category=ratios(windows), over_all=ratios(windows)),
        "time": lambda: float(random.uniform(0, 168)),
    }[name]()


COLUMN_OF = {"recent": np.log1p, "memory": np.log, "level": np.asarray, "time": np.asarray}
SHAPES = {"recent": SHAPE, "memory": SHAPE, "level": (2,), "time": ()}
EVERY = [pytest.param(name, feature, id=feature.name) for name, features in LISTS.items() for feature in features]


@pytest.mark.parametrize(("name", "declared"), EVERY)
def test_every_feature_is_pure_finite_and_inside_its_declared_range(name, declared):
    for seed in range(5):
        read = readings(name, np.random.default_rng(seed))
        before = pickle.dumps(read)
        given = list(declared.columns(read))
        assert len(given) == len(declared.names)
        for values, again in zip(given, declared.columns(read), strict=True):
            assert np.shape(values) == SHAPES[name]
            np.testing.assert_array_equal(values, again)
            column = COLUMN_OF[name](values)
            assert np.isfinite(column).all()
            assert (declared.low <= column).all()
            assert (column <= declared.high).all()
        assert pickle.dumps(read) == before, "a feature must not change what it reads"


def test_names_differ_and_follow_the_lists():
    names = [column for feature in all_features() for column in feature.names]
    assert len(set(names)) == len(names)
    assert feature_names(("2h",)) == (*names, "log_usual_2h")


def test_a_feature_of_an_unknown_group_is_refused_and_a_name_that_is_no_feature_has_no_group():
    of_weather = declare("speed", "of the wind", unit="m/s", low=0, high=60, group="weather")
    with pytest.raises(ValueError, match="weather"):
        of_weather(lambda recent: recent)
    with pytest.raises(ValueError, match="'speed' is no feature"):
        group_of("speed")
