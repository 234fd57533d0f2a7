"""Merging of repeated calls, against every pair looked at by hand."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.repeated_calls import merge_repeated
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


def metres(place, other):
    """Along the great circle, by the angle between two vectors."""

    def vector(lat, lon):
        lat, lon = math.radians(lat), math.radians(lon)
        return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])

    a, b = vector(*place), vector(*other)
    return EARTH_M * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def left_over(table):
    """Rows of the calls to which no earlier call is near: 200 m and 15 minutes."""
    places = [np.round(column, 7) for column in (table.lat_deg, table.lon_deg)]  # to a centimetre, as everywhere
    calls = list(zip(table.occurred_s, *places, table.category, strict=True))
    return [
        int(table.row[j])
        for j, (when, lat, lon, category) in enumerate(calls)
        if not any(
            when - earlier <= 900 and metres((lat, lon), (y, x)) <= 200 and category == other_category
            for earlier, y, x, other_category in calls[:j]
        )
    ]


@st.composite
def towns(draw):
    """60 calls, near each other or not, at the equator or far from it, also across the date line."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    half_deg, span_s = draw(st.floats(0.002, 0.04)), draw(st.integers(1800, 54_000))
    lat, lon = draw(st.sampled_from([0.0, 51.5, -70.0])), draw(st.sampled_from([10.0, 179.999]))
    north, east = random.uniform(-half_deg, half_deg, (2, 60)) / [[1], [math.cos(math.radians(lat))]]
    east = (lon + east + 180) % 360 - 180
    return list(zip(random.integers(0, span_s, 60).tolist(), lat + north, east, random.integers(0, 2, 60), strict=True))


@settings(max_examples=50)
@given(towns())
def test_what_is_left_is_what_every_pair_looked_at_leaves(calls):
    table = table_of(calls)
    merged = merge_repeated(table)
    assert merged.row.tolist() == left_over(table)
    assert merged.repeated_calls == len(table) - len(merged)


def test_the_limits_belong_to_it_and_the_first_call_stays():
    #  second     0    900   901
    #  call       a     b     c       one place: b repeats a; c repeats b, though b is left out
    for seconds, left in (((901, 900, 0), [3]), ((902, 901, 0), [3, 2])):
        assert merge_repeated(table_of([(second, 40.0, -75.0, 0) for second in seconds])).row.tolist() == left
    for apart_m, left in ((199.98, [1]), (200.02, [1, 2])):
        north = 40.0 + math.degrees(apart_m / EARTH_M)
        assert merge_repeated(table_of([(0, 40.0, -75.0, 0), (0, north, -75.0, 0)])).row.tolist() == left


def test_many_calls_of_one_second_and_place_are_one():
    table = table_of([(0, 40.0, -75.0, 0)] * 500)
    assert merge_repeated(table).row.tolist() == [1]
