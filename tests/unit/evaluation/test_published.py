"""The two real files against published totals, and the rivals on them against the figures of a published benchmark.

chicago-3km-daily is the published benchmark, rebuilt from the csv. Source: the ST-HSL task (Li et al., ICDE 2022). Its
script skips a header that the file does not have, and measures degrees as 111 km north and 84 km east, so its cells are
no squares and no grid of `schemas.grid` has the same ones.
"""

from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy.stats import nbinom
from sklearn.metrics import mean_poisson_deviance

from deploy.cut_sample import cut_sample
from models.evaluation.evaluate import spec_of
from models.evaluation.rivals import Ewma, EwmaProfile, Expanding, Historical, Kde, LastWeek, SelfExciting
from models.evaluation.tasks import Task, blocks_of, count, steps_of
from models.files.incident_files import merge_repeated, read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import local_from_utc
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S
from streaming.rehearse.incident_replay import SAMPLE
from tests.harness.small_task import stacked

DATA = Path(__file__).parents[4] / "shared" / "data"
ROWS, COLS, DAYS = 14, 12, 731
VALIDATION_DAYS, TEST_DAYS = 30, 92  # the last ones; the first 609 are for training
_CELL_KM, _KM_NORTH, _KM_EAST = 3, 111, 84
KM_PER_DEGREE = 111.2  # of latitude; the grids of the hourly tasks start at the smallest coordinates
MONTGOMERY_BOX = (39.9, 40.5, -75.9, -74.9)  # south, north, west, east: 99,473 calls lie inside


def chicago_3km_daily(path):
    """The published benchmark: 731 days, 14 x 12 cells, four categories, the last 92 days judged; all cells."""
    return published_chicago(read_incidents(path, LAYOUTS["chicago"]))


def published_chicago(table):
    """The benchmark from the whole Chicago file, layout `chicago`. Raises DataError for another file."""
    incidents = table.select(table.row != 1)
    cell, grid = _in_squares(incidents, _CELL_KM, _KM_NORTH, _KM_EAST)
    starts_s = steps_of(incidents, DAY_S)
    size = (grid.rows, grid.cols, len(starts_s) - 1)
    if size != (ROWS, COLS, DAYS):
        raise DataError(f"{size} rows, columns and days, not {(ROWS, COLS, DAYS)}", "give the whole Chicago file")
    return Task(
        name="chicago-3km-daily",
        title="Chicago 2016-2017, 3 km, one day, 4 categories, all 168 cells",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=count(incidents, cell, starts_s, grid),
        validation=DAYS - TEST_DAYS - VALIDATION_DAYS,
        test=DAYS - TEST_DAYS,
        scored=np.ones(ROWS * COLS, np.bool_),
    )


def chicago_1km_hourly(path):
    """All categories together, cells with any incident in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["chicago"])
    return hourly_task("chicago-1km-hourly", "Chicago 2016-2017, 1 km, one hour, all categories", table, cell_km=1.0)


def montgomery_2km_hourly(path):
    """Raw calls of all classes together, cells with any call in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["montgomery"])
    south, north, west, east = MONTGOMERY_BOX
    inside = (table.lat_deg > south) & (table.lat_deg < north) & (table.lon_deg > west) & (table.lon_deg < east)
    title = "Montgomery County 911 2015-2016, 2 km, one hour, raw calls"
    return hourly_task("montgomery-2km-hourly", title, table.select(inside), cell_km=2.0)


def hourly_task(name, title, table, *, cell_km):
    """Hours of all categories together, in cells of which those with any incident are judged."""
    incidents = replace(table, category=np.zeros_like(table.category), categories=("incident",))
    km_east = KM_PER_DEGREE * np.cos(np.radians(incidents.lat_deg.mean()))
    cell, grid = _in_squares(incidents, cell_km, KM_PER_DEGREE, km_east)
    cube = count(incidents, cell, steps_of(incidents, HOUR_S), grid)
    validation, test = blocks_of(len(cube))
    scored = cube.counts.sum(axis=(0, 2)) > 0
    return Task(
        name=name,
        title=f"{title}, {int(scored.sum())} cells with any",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=cube,
        validation=validation,
        test=test,
        scored=scored,
    )


def _in_squares(incidents, cell_km, km_north, km_east):
    """(n,) the cell of each incident, and the grid, of which rows and columns count. km: of a degree."""
    south, west = float(incidents.lat_deg.min()), float(incidents.lon_deg.min())
    row = np.floor((incidents.lat_deg - south) * km_north / cell_km).astype(np.int32)
    col = np.floor((incidents.lon_deg - west) * km_east / cell_km).astype(np.int32)
    rows, cols = int(row.max()) + 1, int(col.max()) + 1
    return row * cols + col, Grid(south_deg=south, west_deg=west, cell_m=1000.0 * cell_km, rows=rows, cols=cols)


TASKS = {
    "chicago-3km-daily": (chicago_3km_daily, DATA / "chicago_2016_2017.zip"),
    "chicago-1km-hourly": (chicago_1km_hourly, DATA / "chicago_2016_2017.zip"),
    "montgomery-2km-hourly": (montgomery_2km_hourly, DATA / "montgomery_911_2015_2016.zip"),
}
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
    return read(DATA / "chicago_2016_2017.zip", "chicago")


@pytest.fixture(scope="module")
def daily(table):
    return published_chicago(table).cube


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


def test_totals_and_test_sums_are_the_published_ones_of_chicagos_days(daily):
    assert daily.counts.shape == (731, 14 * 12, 4)
    assert daily.counts.sum() == 321_876
    sums = dict(zip(daily.categories, daily.counts[TEST:].sum(axis=(0, 1)).tolist(), strict=True))
    assert sums == {"theft": 16_187, "battery": 11_509, "assault": 4_426, "criminal_damage": 6_904}
    shown = [datetime.fromtimestamp(start, ZoneInfo("America/Chicago")) for start in daily.starts_s.tolist()]
    assert (shown[0].isoformat(), shown[-1].isoformat()) == ("2016-01-01T00:00:00-06:00", "2018-01-01T00:00:00-06:00")
    assert {moment.time().isoformat() for moment in shown} == {"00:00:00"}
    assert daily.hour_of_week.tolist() == [moment.weekday() * 24 for moment in shown[:-1]]
    assert daily.steps_per_week == 7


@pytest.fixture(scope="module")
def montgomery():
    return read(DATA / "montgomery_911_2015_2016.zip", "montgomery")


def read(path, layout):
    if not path.is_file():
        pytest.skip(f"the real incident file is not at {path}")
    return read_incidents(path, LAYOUTS[layout])


def totals(table):
    return dict(zip(table.categories, np.bincount(table.category).tolist(), strict=True))


def test_chicago_has_the_published_totals(table):
    assert len(table) == 321_877
    assert totals(table) == {"theft": 124_630, "battery": 99_389, "criminal_damage": 59_886, "assault": 37_972}
    assert (table.exact_duplicates, table.skipped) == (916, {})
    assert (np.diff(table.occurred_s) >= 0).all()
    assert (table.out_of_order, table.whole_hours, table.midnights) == (156_267, 110_029, 2_803)


def test_montgomery_has_its_totals_and_its_storm(montgomery):
    assert len(montgomery) == 99_492
    assert totals(montgomery) == {"ems": 48_877, "traffic": 35_695, "fire": 14_920}
    assert not montgomery.skipped
    assert cut_sample(montgomery) == SAMPLE.read_bytes()  # the sample is what its command cuts from the full file
    day = local_from_utc(montgomery.occurred_s, montgomery.timezone) // 86_400
    busiest, calls = max(zip(*np.unique(day, return_counts=True), strict=True), key=lambda pair: pair[1])
    assert (np.datetime64(int(busiest), "D"), calls) == (np.datetime64("2016-01-23"), 913)


@pytest.mark.parametrize(("minutes", "merged"), [(5, 6_894), (15, 8_707)])
def test_montgomerys_repeated_calls_are_the_published_ones(montgomery, minutes, merged):
    lat, lon = montgomery.lat_deg, montgomery.lon_deg
    county = montgomery.select((lat > 39.9) & (lat < 40.5) & (lon > -75.9) & (lon < -74.9))
    assert len(county) == 99_473
    # The published figures know one category. The rule's 15 minutes are `minutes` of these calls.
    stretched_s = county.occurred_s * (15 // minutes)
    left = merge_repeated(replace(county, category=np.zeros_like(county.category), occurred_s=stretched_s))
    assert (left.repeated_calls, len(left)) == (merged, 99_473 - merged)
    left = merge_repeated(montgomery)
    gone = {name: count - totals(left)[name] for name, count in totals(montgomery).items()}
    assert gone == {"ems": 429, "fire": 216, "traffic": 2_944}
