"""The published Chicago benchmark, rebuilt from the csv, against the figures of the published cube."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from models.evaluation.published import TEST_DAYS, VALIDATION_DAYS, published_chicago
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from schemas.errors import DataError

DATA = Path(__file__).parents[4] / "shared" / "data" / "chicago_2016_2017.zip"


@pytest.fixture(scope="module")
def table():
    if not DATA.is_file():
        pytest.skip(f"the real incident file is not at {DATA}")
    return read_incidents(DATA, LAYOUTS["chicago"])


@pytest.fixture(scope="module")
def published(table):
    return published_chicago(table)


def blocks(counts):
    """Training, validation and test days."""
    return np.split(counts, [len(counts) - VALIDATION_DAYS - TEST_DAYS, len(counts) - TEST_DAYS])


def test_totals_and_test_sums_are_the_published_ones(published):
    cube = published.cube
    assert cube.counts.shape == (731, 14 * 12, 4)
    assert cube.counts.sum() == 321_876
    assert [len(block) for block in blocks(cube.counts)] == [609, 30, 92]
    sums = dict(zip(cube.categories, cube.counts[-92:].sum(axis=(0, 1)).tolist(), strict=True))
    assert sums == {"theft": 16_187, "battery": 11_509, "assault": 4_426, "criminal_damage": 6_904}


def test_cells_are_the_published_ones(published):
    """Figures that another way to cut the cells would change."""
    counts = published.cube.counts
    assert counts.max() == 104
    assert [round(100 * float((block == 0).mean()), 1) for block in blocks(counts)] == [73.6, 73.1, 74.3]
    training = blocks(counts)[0]
    assert (training.sum(axis=(0, 2)) > 0).sum() == 94


def test_steps_are_chicagos_days_with_the_changes_of_its_clock(published):
    cube, zone = published.cube, ZoneInfo("America/Chicago")
    assert len(cube.starts_s) == len(cube) + 1
    shown = [datetime.fromtimestamp(start, zone) for start in cube.starts_s.tolist()]
    assert (shown[0].isoformat(), shown[-1].isoformat()) == ("2016-01-01T00:00:00-06:00", "2018-01-01T00:00:00-06:00")
    assert {moment.time().isoformat() for moment in shown} == {"00:00:00"}
    hours, days = np.unique(np.diff(cube.starts_s) // 3600, return_counts=True)
    assert (hours.tolist(), days.tolist()) == ([23, 24, 25], [2, 727, 2])
    assert cube.hour_of_week.tolist() == [moment.weekday() * 24 for moment in shown[:-1]]
    assert cube.steps_per_week == 7


def test_each_incident_stands_in_the_cell_in_which_the_cube_counts_it(published):
    cube, incidents = published.cube, published.incidents
    counted = np.zeros_like(cube.counts)
    step = np.searchsorted(cube.starts_s, incidents.occurred_s, side="right") - 1
    np.add.at(counted, (step, published.cell, incidents.category), 1)
    np.testing.assert_array_equal(counted, cube.counts)
    assert (np.diff(incidents.occurred_s) >= 0).all()
    assert 1 not in incidents.row


def test_another_file_is_refused(table):
    with pytest.raises(DataError, match="give the whole Chicago file"):
        published_chicago(table.select(np.arange(1000)))
