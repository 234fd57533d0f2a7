"""The two real files, against the totals that their publishers and the published benchmark give."""

from pathlib import Path

import numpy as np
import pytest

from models.incident_files import read_incidents
from models.layouts import LAYOUTS
from models.local_time import local_from_utc
from streaming.sample_cut import SAMPLE, cut_sample

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def chicago():
    return read(DATA / "chicago_2016_2017.zip", "chicago")


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


def test_chicagos_last_92_days_have_the_sums_of_the_published_benchmark(chicago):
    day = local_from_utc(chicago.occurred_s, chicago.timezone) // 86_400
    last = (day >= np.datetime64("2017-10-01").astype(int)) & (chicago.row != 1)  # the benchmark drops the first row
    sums = dict(zip(chicago.categories, np.bincount(chicago.category[last]).tolist(), strict=True))
    assert sums == {"theft": 16_187, "assault": 4_426, "battery": 11_509, "criminal_damage": 6_904}


def test_the_sample_is_what_its_command_cuts_from_the_full_file(chicago):
    assert cut_sample(chicago) == SAMPLE.read_bytes()


def test_montgomery_has_its_totals_and_its_storm():
    table = read(DATA / "montgomery_911_2015_2016.zip", "montgomery")
    assert len(table) == 99_492
    assert totals(table) == {"ems": 48_877, "traffic": 35_695, "fire": 14_920}
    assert not table.skipped
    day = local_from_utc(table.occurred_s, table.timezone) // 86_400
    busiest, calls = max(zip(*np.unique(day, return_counts=True), strict=True), key=lambda pair: pair[1])
    assert (np.datetime64(int(busiest), "D"), calls) == (np.datetime64("2016-01-23"), 913)
