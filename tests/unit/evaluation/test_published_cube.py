"""The published Chicago benchmark is rebuilt from the csv; the simple rivals give its figures: they are its rivals.

Published: the daily benchmark of 3 km cells, and hours in 1 km cells. Forecasts of zero are raised there to 1e-4, and
in the hourly table to 1e-6, which moves only last week's count (0.1886 with 1e-6, 0.1817 with 1e-4).
"""

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy.stats import nbinom
from sklearn.metrics import mean_poisson_deviance

from models.evaluation.featured import spec_of
from models.evaluation.rivals import Ewma, EwmaProfile, Expanding, Historical, Kde, LastWeek, SelfExciting
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from schemas.errors import DataError
from tests.harness.published_tasks import DATA, TASKS, TEST_DAYS, VALIDATION_DAYS, published_chicago
from tests.harness.small_cube import stacked

CHICAGO = DATA / "chicago_2016_2017.zip"
CLOSE = 0.003  # relative
PUBLISHED_LEAST = 1e-4  # expected incidents; ours is `least_mean`
DISPERSIONS = (1, 2, 4, 8, 20, 50)  # the published log scores take the best of the validation month, each rival its own
TEST = 731 - TEST_DAYS
VALIDATION = TEST - VALIDATION_DAYS

PUBLISHED_DAILY = [  # Poisson deviance, NB log score, dispersion
    (Historical(), 0.5020, 0.5800, 20),
    (Expanding(), 0.5005, 0.5794, 20),
    (Ewma(half_life_days=60.0), 0.4986, 0.5789, 20),
    (EwmaProfile(half_lives_days=(120.0,), expanding_shares=(0.0,)), 0.4959, 0.5777, 20),
    (EwmaProfile(half_lives_days=(60.0,), expanding_shares=(0.5,)), 0.4956, 0.5775, 20),
    (Kde(bandwidths_cells=(1.0,)), 0.7949, 0.6988, 2),
    (LastWeek(), 0.6429, 0.6485, 8),
]
EWMA60_PROFILE = EwmaProfile(half_lives_days=(60.0,), expanding_shares=(0.0,))
PUBLISHED_HOURLY = [
    ("chicago-1km-hourly", Expanding(), 0.1734),
    ("chicago-1km-hourly", Ewma(half_life_days=60.0), 0.1732),
    ("chicago-1km-hourly", EWMA60_PROFILE, 0.1689),
    ("chicago-1km-hourly", SelfExciting(usual=EWMA60_PROFILE), 0.1688),
    ("montgomery-2km-hourly", EWMA60_PROFILE, 0.1935),
    ("montgomery-2km-hourly", SelfExciting(usual=EWMA60_PROFILE), 0.1930),
]
CELLS_WITH_ANY = {"chicago-1km-hourly": 661, "montgomery-2km-hourly": 453}


@pytest.fixture(scope="module")
def table():
    if not CHICAGO.is_file():
        pytest.skip(f"the real incident file is not at {CHICAGO}")
    return read_incidents(CHICAGO, LAYOUTS["chicago"])


@pytest.fixture(scope="module")
def published(table):
    return published_chicago(table)


@pytest.fixture(scope="module")
def daily(published):
    return published.cube


@pytest.fixture(scope="module")
def hourly():
    """Gives hourly(name): one of TASKS."""

    @cache
    def task_of(name):
        make, path = TASKS[name]
        if not path.is_file():
            pytest.skip(f"the real incident file is not at {path}")
        return make(path)

    return task_of


def nb_log_score(mean, counts, dispersion):
    return -nbinom.logpmf(counts, dispersion, dispersion / (dispersion + mean)).mean()


@pytest.mark.parametrize(
    ("rival", "deviance", "log_score", "dispersion"), PUBLISHED_DAILY, ids=lambda value: getattr(value, "name", None)
)
def test_chicago_by_days_gives_the_published_figures(daily, rival, deviance, log_score, dispersion):
    fitted = rival.fit(daily.until(TEST), VALIDATION)
    mean, counts = np.maximum(stacked(fitted.forecast(daily, TEST)), PUBLISHED_LEAST), daily.counts[TEST:]
    month = np.maximum(stacked(fitted.forecast(daily.until(TEST), VALIDATION)), PUBLISHED_LEAST)
    seen = daily.counts[VALIDATION:TEST]
    assert min(DISPERSIONS, key=lambda size: nb_log_score(month, seen, size)) == dispersion
    assert mean_poisson_deviance(counts.ravel(), mean.ravel()) == pytest.approx(deviance, rel=CLOSE)
    assert nb_log_score(mean, counts, dispersion) == pytest.approx(log_score, rel=CLOSE)


def test_constant_one_wins_by_an_error_that_leaves_out_what_did_not_happen(daily):
    """Published: MAPE over the counts above zero is 0.3641 for the constant and 0.5178 for the historical average."""
    counts = daily.counts[TEST:]
    happened = counts > 0
    average = stacked(Historical().fit(daily.until(TEST), VALIDATION).forecast(daily, TEST))

    def masked_mape(mean):
        return float((np.abs(mean - counts) / np.maximum(counts, 1))[happened].mean())

    assert masked_mape(np.ones(counts.shape)) == pytest.approx(0.3641, rel=CLOSE)
    assert masked_mape(average) == pytest.approx(0.5178, rel=CLOSE)


def test_the_bandwidth_that_validation_chooses_in_3_km_cells_is_none(daily):
    assert Kde().fit(daily.until(TEST), VALIDATION).chosen == {"bandwidth_cells": 0.1}


@pytest.mark.parametrize(
    ("name", "rival", "deviance"), PUBLISHED_HOURLY, ids=lambda value: getattr(value, "name", None)
)
def test_the_tasks_of_hours_give_the_published_figures(hourly, name, rival, deviance):
    task = hourly(name)
    assert task.scored.sum() == CELLS_WITH_ANY[name]
    assert (len(task.incidents), spec_of(task).categories) == (task.cube.counts.sum(), task.cube.categories)
    fitted = rival.fit(task.cube.until(task.test), task.validation)
    mean = np.maximum(stacked(fitted.forecast(task.cube, task.test))[:, task.scored], PUBLISHED_LEAST)
    counts = task.cube.counts[task.test :, task.scored]
    assert mean_poisson_deviance(counts.ravel(), mean.ravel()) == pytest.approx(deviance, rel=CLOSE)


def test_last_weeks_count_by_hours_owes_its_published_figure_to_the_least_mean(hourly):
    task = hourly("chicago-1km-hourly")
    mean = stacked(LastWeek().forecast(task.cube, task.test))[:, task.scored]
    counts = task.cube.counts[task.test :, task.scored]
    for least, deviance in ((1e-6, 0.1886), (PUBLISHED_LEAST, 0.1817)):
        floored = np.maximum(mean, least)
        assert mean_poisson_deviance(counts.ravel(), floored.ravel()) == pytest.approx(deviance, rel=CLOSE)


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
