"""Merging of repeated calls in a file; the rule itself is tested in tests/unit/counting."""

import math

import numpy as np

from models.files.incident_files import merge_repeated
from tests.harness.toy import toy_table

EARTH_M = 6_371_008.8


def table_of(calls):
    """calls: (second, latitude, longitude, category), in the file's order."""
    calls = [(*call, row) for row, call in enumerate(calls, start=1)]
    columns = list(zip(*sorted(calls, key=lambda call: call[0]), strict=True))
    return toy_table(
        columns[0],
        lat_deg=np.array(columns[1], np.float64),
        lon_deg=np.array(columns[2], np.float64),
        category=np.array(columns[3], np.int16),
        row=np.array(columns[4], np.int64),
    )


def test_the_limits_belong_to_it_and_the_first_call_stays():
    #  second     0    900   901
    #  call       a     b     c       one place: b repeats a; c repeats b, though b is left out
    for seconds, left in (((901, 900, 0), [3]), ((902, 901, 0), [3, 2])):
        assert merge_repeated(table_of([(second, 40.0, -75.0, 0) for second in seconds])).row.tolist() == left
    for apart_m, left in ((199.98, [1]), (200.02, [1, 2])):
        north = 40.0 + math.degrees(apart_m / EARTH_M)
        assert merge_repeated(table_of([(0, 40.0, -75.0, 0), (0, north, -75.0, 0)])).row.tolist() == left
    assert merge_repeated(table_of([(0, 40.0, -75.0, 0), (0, 40.0, -75.0, 1)])).row.tolist() == [1, 2]


def test_many_calls_of_one_second_and_place_are_one():
    merged = merge_repeated(table_of([(0, 40.0, -75.0, 0)] * 500))
    assert (merged.row.tolist(), merged.repeated_calls) == ([1], 499)
