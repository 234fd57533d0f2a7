"""Hit rate, PAI and PEI against every order of tied cells, and where their value is known."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.measures import AREA_SHARES, captured

STEPS, CELLS = 3, 5
few = arrays.arrays(np.float64, (STEPS, CELLS), elements=st.sampled_from([0.1, 0.2, 0.3]))
seen = arrays.arrays(np.int32, (STEPS, CELLS), elements=st.integers(0, 4))


@given(few, seen)
def test_tied_cells_catch_what_they_catch_on_average_over_all_orders(mean, counts):
    caught = np.zeros(CELLS)
    for row, incidents in zip(mean, counts, strict=True):
        orders = [sorted(order, key=lambda cell: -row[cell]) for order in permutations(range(CELLS))]
        caught += np.mean([incidents[order].cumsum() for order in orders], axis=0)
    result = captured(mean, counts)
    np.testing.assert_allclose(result.caught, caught)
    best = [max(sum(chosen) for chosen in permutations(incidents, k)) for k in range(1, 6) for incidents in counts]
    np.testing.assert_array_equal(result.ideal, np.reshape(best, (CELLS, STEPS)).sum(axis=1))


@given(few, seen)
def test_curves_rise_from_nothing_to_everything_and_the_ideal_is_never_below(mean, counts):
    area, caught, ideal = captured(mean, counts).curve()
    np.testing.assert_allclose(area, np.arange(CELLS + 1) / CELLS)
    if counts.sum() == 0:
        assert np.isnan([*caught, *ideal]).all()
        return
    for curve in (caught, ideal):
        assert curve[0] == 0
        assert curve[-1] == pytest.approx(1)
        assert (np.diff(curve) >= 0).all()
    assert (caught <= ideal + 1e-12).all()


def simulated(steps=50, cells=300):
    return np.random.default_rng(0).poisson(0.2, (steps, cells)).astype(np.int32)


@pytest.mark.parametrize("share", AREA_SHARES)
def test_a_constant_forecast_is_chance_and_hindsight_is_ideal(share):
    counts = simulated()
    constant = captured(np.full(counts.shape, 0.2), counts).at(share)
    assert constant.pai == pytest.approx(1)
    assert constant.hit_rate == pytest.approx(share)
    hindsight = captured(counts + 1e-4, counts).at(share)
    assert hindsight.pei == pytest.approx(1)
    assert hindsight.hit_rate == pytest.approx(constant.ideal_hit_rate)


def test_a_small_map_by_hand():
    #  forecast   9 5 5 1 | 2 2 2 8       caught with 2 cells: 4 + (1 + 3) / 2, and 0 + (6 + 0 + 0) / 3
    #  incidents  4 1 3 0 | 6 0 0 0       the ideal: 4 + 3, and 6
    mean = np.array([[9.0, 5, 5, 1], [2, 2, 2, 8]])
    counts = np.array([[4, 1, 3, 0], [6, 0, 0, 0]], np.int32)
    half = captured(mean, counts).at(0.5)
    assert half.cells == 2
    assert half.hit_rate == pytest.approx(8 / 14)
    assert half.ideal_hit_rate == pytest.approx(13 / 14)
    assert half.pai == pytest.approx(8 / 14 / 0.5)
    assert half.pei == pytest.approx(8 / 13)


@pytest.mark.parametrize(("share", "cells"), [(0.01, 2), (0.05, 8), (0.10, 17), (0.20, 34), (0.001, 1)])
def test_the_flagged_cells_depend_on_the_area_alone_and_the_pai_on_their_true_share(share, cells):
    counts = simulated(cells=168)
    at = captured(np.random.default_rng(1).random(counts.shape), counts).at(share)
    assert at.cells == cells
    assert at.pai == pytest.approx(at.hit_rate / (cells / 168))


def test_steps_add_up():
    counts = simulated()
    mean = np.random.default_rng(1).random(counts.shape)
    parts, whole = captured(mean[:20], counts[:20]) + captured(mean[20:], counts[20:]), captured(mean, counts)
    np.testing.assert_allclose(parts.caught, whole.caught)
    np.testing.assert_array_equal(parts.ideal, whole.ideal)


def test_without_incidents_there_are_no_figures():
    at = captured(np.ones((2, 9)), np.zeros((2, 9), np.int32)).at(0.2)
    assert np.isnan([at.hit_rate, at.ideal_hit_rate, at.pai, at.pei]).all()
