"""What a unit reaches: points within cells, and the straight line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.readiness import DETOUR, Drive, by_straight_line, metres_of, points_a_side
from schemas.errors import DataError
from tests.harness.reaching import reach_of
from tests.harness.toy import toy_grid

GRID = toy_grid(6, 5)


def drive_of(metres, speed_kmh=40):
    return Drive(minutes=metres * DETOUR * 60 / 1000 / speed_kmh, speed_kmh=speed_kmh)


def middle(cell):
    lat, lon = (degrees[cell] for degrees in GRID.centres())
    return metres_of(GRID, np.array([lat]), np.array([lon]))


@settings(max_examples=50)
@given(st.floats(500, 9000), st.floats(0, 6000), st.floats(0, 5000))
def test_a_point_is_reached_when_it_lies_in_the_circle(metres, north, east):
    places = np.array([[north, east], [2500.0, 2500.0]])
    reach = by_straight_line(GRID, places, drive_of(metres))
    side = int(reach.per_cell**0.5)
    assert side == points_a_side(1000, metres)
    for place in range(2):
        expected = set()
        for cell in range(GRID.cells):
            for point in range(side**2):
                at = np.array([cell // 5, cell % 5]) * 1000 + (np.array(divmod(point, side)) + 0.5) * 1000 / side
                if np.hypot(*(at - places[place])) <= metres:
                    expected.add(cell * side**2 + point)
        assert set(reach.points_of(place).tolist()) == expected


def test_minutes_are_those_of_the_drive():
    reach = by_straight_line(GRID, middle(12), drive_of(1500))
    far = reach.minutes.max() / drive_of(1500).minutes
    assert 0.9 < far <= 1
    assert Drive(minutes=6, speed_kmh=60).metres == pytest.approx(6000 / DETOUR)


def test_a_cell_that_lies_half_in_reach_is_reached_by_half():
    reach = by_straight_line(GRID, middle(12), drive_of(1000))
    whole = reach.covered((0,)).reshape(GRID.cells, -1).mean(axis=1)
    assert whole[12] == 1
    assert 0.3 < whole[13] < 0.8
    assert whole[14] == 0


@pytest.mark.parametrize(("reach_m", "side"), [(4000, 2), (8000, 1), (7999, 2), (2000, 4), (500, 4), (50_000, 1)])
def test_there_are_eight_points_to_the_edge_if_four_a_side_suffice(reach_m, side):
    assert points_a_side(1000, reach_m) == side


def test_a_reach_below_half_a_cell_is_refused():
    with pytest.raises(DataError, match="less than half a cell of 1000 m: give more minutes"):
        by_straight_line(GRID, middle(0), drive_of(499))
    by_straight_line(GRID, middle(0), drive_of(501))


def test_too_many_places_are_refused_before_they_take_memory():
    with pytest.raises(DataError, match="give the stations in place of any cell"):
        by_straight_line(GRID, np.repeat(middle(0), 400_000, axis=0), drive_of(4000))


def test_a_reach_counts_units_at_one_place_each():
    reach = reach_of([0, 1, 1], [0, 0, 1], np.ones(3), places=2, cells=2)
    assert reach.covered((0, 1, 1)).tolist() == [3, 2]
    assert reach.sums(np.array([1.0, 10.0])).tolist() == [1, 11]
