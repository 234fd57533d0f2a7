"""The beds on which following is measured: what each change does to incidents, and to a forecast that knows it."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.cities import BEDS, SHIFT_H, START_S, City, World, incidents_of
from models.features import feature_names
from schemas.spec import DAY_S, HOUR_S, Spec

WORLD = World(side=3, per_day=200.0, days=30, seed=1)
HOURS = 30 * 24
CHANGE = 14 * 24


@pytest.fixture(scope="module")
def city():
    table = incidents_of(WORLD)
    spec = Spec(region="town", timezone="UTC", grid=WORLD.grid, categories=table.categories, features=feature_names())
    cell, _ = spec.grid.locate(table.lat_deg, table.lon_deg)
    past = SimpleNamespace(spec=spec, incidents=SimpleNamespace(cell=cell))
    return City(table=table, start_s=START_S, trained=SimpleNamespace(past=past), seed=0)


def counts_of(city, table):
    """(hours, cells, categories)"""
    cell, _ = city.spec.grid.locate(table.lat_deg, table.lon_deg)
    counts = np.zeros((HOURS, city.spec.grid.cells, 2))
    hour = (table.occurred_s - START_S) // HOUR_S
    inside = hour < HOURS
    np.add.at(counts, (hour[inside], cell[inside], table.category[inside]), 1)
    return counts


@pytest.mark.parametrize("name", BEDS)
def test_a_forecast_that_knows_the_change_expects_what_comes(city, name):
    before = counts_of(city, city.table)
    changed = BEDS[name].incidents(city, np.random.default_rng(0))
    after = counts_of(city, changed)
    assert (np.diff(changed.occurred_s) >= 0).all()
    assert len(np.unique(changed.row)) == len(changed)
    assert (after[:CHANGE] == before[:CHANGE]).all()
    expected = BEDS[name].oracle(city, before)[CHANGE:]
    if name == "silent":
        assert after[CHANGE + 12 : CHANGE + 18].sum() == after[CHANGE + 126 : CHANGE + 132].sum() == 0
    elif name == "burst":
        assert (after[CHANGE + 12 : CHANGE + 24] == 4 * before[CHANGE + 12 : CHANGE + 24]).all()
    elif name in ("level x1.5", "level x0.5", "both"):
        np.testing.assert_allclose(after[CHANGE:].sum(axis=(0, 1)), expected.sum(axis=(0, 1)), rtol=0.1)
    else:
        assert (after[CHANGE:] == expected).all()


def test_hours_move_and_half_of_the_cells_do(city):
    by_hour = np.bincount(
        BEDS["hours +6"].incidents(city, np.random.default_rng(0)).occurred_s % DAY_S // HOUR_S, minlength=24
    )
    assert by_hour.argmax() != np.bincount(city.table.occurred_s % DAY_S // HOUR_S, minlength=24).argmax()
    assert SHIFT_H == 6
    assert (city.places() != np.arange(city.spec.grid.cells)).sum() == city.spec.grid.cells // 2
