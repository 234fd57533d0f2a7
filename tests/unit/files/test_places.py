"""Wrong places that make a grid larger than its region are said."""

import re
from dataclasses import replace

import numpy as np
import pytest

from models.files.data_report import place_warnings
from models.training.region_tasks import RegionTask
from models.training.train_region import spec_for
from schemas.errors import DataError
from schemas.grid import Grid
from tests.harness.toy import toy_table

DAY_S = 86_400


def town(wrong=0, lat=40.3, lon=-87.7):
    """A town of 40 x 40 km for 100 days; so many of its incidents stand at one other place."""
    random, n = np.random.default_rng(4), 20_000
    lat_deg, lon_deg = 41.6 + 0.4 * random.random(n), -87.9 + 0.4 * random.random(n)
    lat_deg[:wrong], lon_deg[:wrong] = lat, lon
    order = random.permutation(n)
    return toy_table(
        np.arange(n) * (100 * DAY_S // n),
        lat_deg=lat_deg[order],
        lon_deg=lon_deg[order],
        category=np.zeros(n, np.int16),
        categories=("ems",),
    )


def grid_of(table):
    return Grid.around(table.lat_deg, table.lon_deg, cell_m=1000)


def test_a_town_without_wrong_places_is_not_warned_of():
    for table in (town(), town(5)):  # 0.025 % are left out by the trim
        assert place_warnings(table, grid_of(table)) == ()


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_two_in_a_thousand_at_one_place_are_said_with_the_empty_band_that_they_make(axis):
    lat, lon = (40.3, -87.7) if axis == "rows" else (41.8, -86.0)
    table = town(40, lat, lon)
    grid = grid_of(table)
    assert grid.cells > 3 * grid_of(town()).cells
    band, place = place_warnings(table, grid)
    assert re.match(rf"1\d\d of the grid's {getattr(grid, 'rows' if axis == 'rows' else 'cols')} {axis} lie", band)
    assert place.startswith(f"40 of 20,000 incidents are at one place far from the others, {lat:.5f}, {lon:.5f}")
    assert all("--bounds" in warning for warning in (band, place))


def test_far_places_that_hold_few_incidents_each_are_no_default_of_a_geocoder():
    table = town(40)
    table = replace(table, lon_deg=table.lon_deg + np.where(table.lat_deg < 41, np.arange(20_000) * 1e-5, 0))
    (band,) = place_warnings(table, grid_of(table))
    assert "rows" in band


def test_bounds_leave_wrong_places_out_of_the_grid():
    task = RegionTask(data="a.csv", region="made", bounds="41.5,-88,42.1,-87.4")
    specs = [
        spec_for(table, region="made", cell_m=1000, cutoff_s=99 * DAY_S, bounds=task.edges)
        for table in (town(), town(40))
    ]
    assert abs(specs[1].grid.rows - specs[0].grid.rows) <= 1
    assert place_warnings(town(40), specs[1].grid) == ()


@pytest.mark.parametrize("bounds", ["41", "41,-87,40,-86", "a,b,c,d", "41,-87,42,-88", "nan,nan,nan,nan"])
def test_bounds_that_hold_no_place_are_refused(bounds):
    with pytest.raises(DataError, match="hold no place"):
        RegionTask(data="a.csv", region="made", bounds=bounds)


def test_bounds_and_a_grid_that_is_kept_are_refused():
    for kept in ({"like": "folder", "data": "a.csv"}, {"data": "archive:days"}):
        with pytest.raises(DataError, match="leave out one of the two"):
            RegionTask(region="made", bounds="41,-88,42,-87", **kept)
