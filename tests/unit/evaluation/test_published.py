"""The two real files against published totals, and the rivals on them against the figures of a published benchmark."""

from dataclasses import replace
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy.stats import nbinom
from sklearn.metrics import mean_poisson_deviance

from deploy.cut_sample import cut_sample
from models.evaluation.featured import spec_of
from models.evaluation.rivals import Ewma, EwmaProfile, Expanding, Historical, Kde, LastWeek, SelfExciting
from models.files.incident_files import merge_repeated, read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import local_from_utc
from schemas.errors import DataError
from schemas.grid import Grid
from streaming.rehearse.incident_replay import SAMPLE
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


@pytest.fixture(scope="module")
def chicago():
    return read(DATA / "chicago_2016_2017.zip", "chicago")


@pytest.fixture(scope="module")
def montgomery():
    return read(DATA / "montgomery_911_2015_2016.zip", "montgomery")


def read(path, layout):
    if not path.is_file():
        pytest.skip(f"the real incident file is not at {path}")
    return read_incidents(path, LAYOUTS[layout])


def totals(table):
    return dict(zip(table.categories, np.bincount(table.category).tolist(), strict=True))


def test_chicago_has_the_published_totals(chicago):
    assert len(chicago) == 321_877
    assert totals(chicago) == {"theft": 124_630, "battery": 99_389, "criminal_damage": 59_886, "assault": 37_972}
    assert chicago.exact_duplicates == 916
    assert not chicago.skipped


def test_the_sample_is_what_its_command_cuts_from_the_full_file(chicago):
    assert cut_sample(chicago) == SAMPLE.read_bytes()


def test_montgomery_has_its_totals_and_its_storm(montgomery):
    assert len(montgomery) == 99_492
    assert totals(montgomery) == {"ems": 48_877, "traffic": 35_695, "fire": 14_920}
    assert not montgomery.skipped
    day = local_from_utc(montgomery.occurred_s, montgomery.timezone) // 86_400
    busiest, calls = max(zip(*np.unique(day, return_counts=True), strict=True), key=lambda pair: pair[1])
    assert (np.datetime64(int(busiest), "D"), calls) == (np.datetime64("2016-01-23"), 913)


def test_chicagos_rounded_and_unsorted_times_are_counted_and_kept(chicago):
    assert (np.diff(chicago.occurred_s) >= 0).all()
    assert (chicago.out_of_order, chicago.whole_hours, chicago.midnights) == (156_267, 110_029, 2_803)
    assert round(chicago.whole_hours / len(chicago), 2) == 0.34
    assert round(chicago.midnights / len(chicago), 3) == 0.009


def in_county(table):
    return (table.lat_deg > 39.9) & (table.lat_deg < 40.5) & (table.lon_deg > -75.9) & (table.lon_deg < -74.9)


@pytest.mark.parametrize(("minutes", "merged"), [(5, 6_894), (15, 8_707)])
def test_montgomerys_repeated_calls_are_the_published_ones(montgomery, minutes, merged):
    county = montgomery.select(in_county(montgomery))
    assert len(county) == 99_473
    # The published figures know one category. The rule's 15 minutes are `minutes` of these calls.
    stretched_s = county.occurred_s * (15 // minutes)
    left = merge_repeated(replace(county, category=np.zeros_like(county.category), occurred_s=stretched_s))
    assert (left.repeated_calls, len(left)) == (merged, 99_473 - merged)


def test_within_a_category_montgomery_repeats_mostly_traffic(montgomery):
    left = merge_repeated(montgomery)
    gone = {name: count - totals(left)[name] for name, count in totals(montgomery).items()}
    assert gone == {"ems": 429, "fire": 216, "traffic": 2_944}
    assert left.repeated_calls == 3_589


def test_montgomerys_strays_and_a_place_in_the_gulf_of_guinea_make_no_large_grid(montgomery):
    county = in_county(montgomery)
    tight = Grid.around(montgomery.lat_deg[county], montgomery.lon_deg[county], cell_m=1000)
    for places in (0, 1):
        lat_deg, lon_deg = (np.append(of, np.zeros(places)) for of in (montgomery.lat_deg, montgomery.lon_deg))
        grid = Grid.around(lat_deg, lon_deg, cell_m=1000)
        assert max(abs(grid.rows - tight.rows), abs(grid.cols - tight.cols)) <= 1
        _, inside = grid.locate(montgomery.lat_deg, montgomery.lon_deg)
        assert not inside[~county].any()
        assert inside.mean() > 0.999
