"""Merging of repeated calls, against every pair looked at by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files.repeated_calls import merge_repeated
from schemas.errors import DataError
from tests.harness.toy import toy_table

EARTH_M = 6_371_008.8


def table_of(calls):
    """calls: (second, latitude, longitude, category), in the file's order."""
    calls = [(*call, row) for row, call in enumerate(calls, start=1)]
    columns = list(zip(*sorted(calls, key=lambda call: call[0]), strict=True)) or [()] * 5
    return toy_table(
        columns[0],
        lat_deg=np.array(columns[1], np.float64),
        lon_deg=np.array(columns[2], np.float64),
        category=np.array(columns[3], np.int16),
        row=np.array(columns[4], np.int64),
    )


def metres(one, other):
    """Along the great circle, by the angle between two vectors."""

    def vector(lat, lon):
        lat, lon = math.radians(lat), math.radians(lon)
        return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])

    a, b = vector(*one), vector(*other)
    return EARTH_M * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def left_over(table, within_m, within_s):
    """Rows of the calls that no earlier call is near to."""
    places = [np.round(column, 7) for column in (table.lat_deg, table.lon_deg)]  # to a centimetre, as everywhere
    calls = list(zip(table.occurred_s, *places, table.category, strict=True))
    return [
        int(table.row[j])
        for j, (when, lat, lon, category) in enumerate(calls)
        if not any(
            when - earlier <= within_s and metres((lat, lon), (y, x)) <= within_m and category == other_category
            for earlier, y, x, other_category in calls[:j]
        )
    ]


@st.composite
def towns(draw):
    """60 calls of an hour within some 500 m, at the equator or far from it, also across the date line."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lat, lon = draw(st.sampled_from([0.0, 51.5, -70.0])), draw(st.sampled_from([10.0, 179.999]))
    north, east = random.uniform(-0.004, 0.004, (2, 60)) / [[1], [math.cos(math.radians(lat))]]
    east = (lon + east + 180) % 360 - 180
    return list(zip(random.integers(0, 3600, 60).tolist(), lat + north, east, random.integers(0, 2, 60), strict=True))


@given(towns(), st.floats(20, 400), st.integers(60, 1800))
def test_what_is_left_is_what_every_pair_looked_at_leaves(calls, within_m, within_s):
    table = table_of(calls)
    merged = merge_repeated(table, within_m=within_m, within_s=within_s)
    assert merged.row.tolist() == left_over(table, within_m, within_s)
    assert merged.repeated_calls == len(table) - len(merged)


def test_the_limits_belong_to_it_and_the_first_call_stays():
    #  second     0    900   901
    #  call       a     b     c       one place: b repeats a; c repeats b, though b is left out
    table = table_of([(901, 40.0, -75.0, 0), (900, 40.0, -75.0, 0), (0, 40.0, -75.0, 0)])
    assert merge_repeated(table).row.tolist() == [3]
    assert merge_repeated(table, within_s=899).row.tolist() == [3, 2]
    assert merge_repeated(table, within_m=0).row.tolist() == [3]
    apart = table_of([(0, 40.0, -75.0, 0), (0, 40.0 + math.degrees(200 / EARTH_M), -75.0, 0)])
    assert merge_repeated(apart, within_m=200.01).row.tolist() == [1]
    assert merge_repeated(apart, within_m=199.99).row.tolist() == [1, 2]


def test_many_calls_of_one_second_and_place_are_one():
    table = table_of([(0, 40.0, -75.0, 0)] * 500)
    assert merge_repeated(table).row.tolist() == [1]


@pytest.mark.parametrize("limits", [{"within_m": -1}, {"within_s": -1}, {"within_m": float("nan")}])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(DataError, match="0 or more"):
        merge_repeated(table_of([(0, 40.0, -75.0, 0)]), **limits)
