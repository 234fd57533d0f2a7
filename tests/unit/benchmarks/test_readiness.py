"""The simulation of units that are away: who goes, and when."""

import numpy as np
import pytest

from benchmarks import readiness
from benchmarks.fleet import DRIVE, CityOfCalls, Fleet, simulate
from models.readiness.demand import Demand
from schemas.errors import DataError
from tests.harness.toy import toy_grid

SPEED = Fleet.at(np.zeros((1, 2))).metres_a_second
NEAR = DRIVE.metres * 0.9


def test_the_nearest_free_unit_goes_and_later_the_first_that_is_free():
    fleet = Fleet.at(np.array([[0.0, 0.0], [5000.0, 0.0]]))
    assert fleet.answer(np.array([1000.0, 0.0]), 0.0, 600.0)[0] == 0
    unit, start_s, there_s = fleet.answer(np.array([1000.0, 0.0]), 10.0, 5000.0)
    assert (unit, start_s, there_s) == (1, 10.0, pytest.approx(10 + 4000 / SPEED))
    unit, start_s, there_s = fleet.answer(np.array([1000.0, 0.0]), 20.0, 60.0)
    assert (unit, start_s) == (0, pytest.approx(600 + 1000 / SPEED))
    assert there_s == pytest.approx(start_s)


def test_a_unit_on_its_way_back_is_where_the_way_has_led():
    fleet = Fleet.at(np.array([[0.0, 0.0]]))
    fleet.answer(np.array([3000.0, 4000.0]), 0.0, 0.0)
    halfway_s = 1.5 * 5000 / SPEED
    np.testing.assert_allclose(fleet.where(halfway_s), [[1500, 2000]])
    np.testing.assert_allclose(fleet.where(1e6), [[0, 0]])


def town(at_s, call_m):
    grid = toy_grid(3, 3)
    demand = Demand(expected=np.ones(9), has_history=np.ones(9, np.bool_))
    return CityOfCalls(grid=grid, demand=demand, at_s=np.asarray(at_s), call_m=np.asarray(call_m, float))


def test_calls_in_time_are_those_that_a_free_unit_is_near():
    city = town([0, 60, 10**6], [[NEAR, 0], [NEAR, 0], [2 * NEAR, 0]])
    done = simulate(city, np.array([[0.0, 0.0]]), (0,), 40)
    assert done.in_time.tolist() == [True, False, False]
    assert simulate(city, np.array([[0.0, 0.0]]), (0, 0), 40).in_time.tolist() == [True, True, False]


def test_a_city_whose_file_is_not_here_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(readiness, "TASKS", {"montgomery-2km-hourly": (None, tmp_path / "none.zip")})
    with pytest.raises(DataError, match=r"none.zip is not here: put the file there"):
        readiness.city_of("montgomery")
    said = []
    tables = readiness.measure(said.append, quick=True)
    assert list(tables) == ["cost at 2,304 cells, seconds of CPU"]
    assert any("montgomery is left out" in words for words in said)
