"""The two real files, against the totals that their publishers and the published benchmark give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.cut_sample import cut_sample
from models.files.incident_files import merge_repeated, read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import local_from_utc
from schemas.grid import Grid
from streaming.rehearse.incident_replay import SAMPLE

DATA = Path(__file__).parents[4] / "shared" / "data"


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
