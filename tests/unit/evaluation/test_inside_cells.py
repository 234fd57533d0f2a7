"""Where inside the cell: hits against a loop, a town whose incidents lie in one square, and what may be learned."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import inside_cells as module
from models.evaluation.evaluate import history_of, spec_of
from models.evaluation.inside_cells import (
    AREA_SHARES,
    CELLS,
    HEADINGS,
    SHARES,
    inside_results,
    inside_texts,
    judge_inside,
)
from tests.harness.small_task import START_S, counted_task
from tests.harness.toy import square_bounds, toy_grid, toy_table

GRID = toy_grid(2, 2, cell_m=1000)
STEPS, VALIDATION, TEST = 200, 100, 150
DAY_S = 86_400


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.lists(st.integers(0, 29), max_size=20))
def test_hits_are_those_of_a_loop_in_which_ties_count_in_parts(scores, places):
    at = [place for place in places if place < len(scores)]
    expected = []
    for share in AREA_SHARES:
        area, hits = share * len(scores), 0.0
        for value in sorted({*scores}, reverse=True):
            equal = scores.count(value)
            hits += min(area / equal, 1.0) * sum(scores[place] == value for place in at)
            area = max(area - equal, 0.0)
        expected.append(hits)
    got = module.hits_at(np.array(scores, float), np.array(at, np.intp))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def town(*, late_square=0, outside=()):
    """Twelve incidents a day in cell 0, all at random places in its square 0; of two categories in turn.

    late_square: where they are in the judged steps. outside: judged steps with one more in cell 3, which is new.
    """
    random = np.random.default_rng(1)
    step = np.repeat(np.arange(STEPS), 12)
    place = np.stack([random.uniform(0.1, 0.9, len(step)) for _ in range(2)])
    bounds = np.array([square_bounds(GRID, 2, 0, square) for square in range(4)])
    south, west, north, east = bounds[np.where(step < TEST, 0, late_square)].T
    lat, lon = south + place[0] * (north - south), west + place[1] * (east - west)
    category = np.append(np.arange(len(step)) % 2, np.zeros(len(outside), int)).astype(np.int16)
    lat, lon = (np.append(of, [GRID.centres()[n][3]] * len(outside)) for n, of in enumerate((lat, lon)))
    step = np.append(step, np.array(outside, int))
    order = np.argsort(step, kind="stable")
    starts_s = START_S + DAY_S * np.arange(STEPS + 1)
    places = {"lat_deg": lat[order], "lon_deg": lon[order], "category": category[order]}
    table = toy_table(starts_s[step[order]] + 60, **places)
    return counted_task(table, GRID.locate(lat, lon)[0][order], GRID, starts_s, VALIDATION, TEST, fine=2)


def judged(task):
    past = history_of(task, spec_of(task), int(task.cube.starts_s[-1])).incidents
    runs = [range(TEST, 180), range(180, STEPS)]
    return judge_inside(task, past, lambda run: np.ones((len(run), 4, 2)), runs, purge=1)


def results_of(*origins, starts=("",)):
    results = inside_results(origins, starts, steps_per_week=7, seed=0)
    return {f"{row['judged_from']} {row['model']}".strip(): row for row in results}


def test_what_lies_in_one_square_is_found_there_and_costs_even_shares_their_logarithm():
    figures, _ = judged(town(outside=[TEST + 3, TEST + 9, STEPS - 1]))
    results = results_of(figures)
    cells, shares = results[CELLS], results[SHARES]
    assert cells["incidents"] == shares["incidents"] == 12 * (STEPS - TEST) + 3
    np.testing.assert_allclose(cells["nats"], np.log(4))
    known = 12 * (STEPS - TEST) / shares["incidents"]  # in a cell that is new shares are even
    for number, share in enumerate(AREA_SHARES):
        assert cells["hits"][number][0] == pytest.approx(share * known)  # of the only cell that ever had incidents
        value, low, high = shares["hits"][number]
        assert value == pytest.approx(4 * share * known)
        assert low <= value <= high
        assert shares["hits_over_cells"][number][0] == pytest.approx(3 * share * known)
    assert shares["nats_over_cells"][0] == pytest.approx(-known * np.log(4), abs=0.01)
    assert results[f"ems: {SHARES}"]["hits"][0][0] == pytest.approx(4 * 0.005 * 300 / 303)
    texts = inside_texts(list(results.values()))
    assert {len(line) for line in texts} == {len(HEADINGS)}
    of_ems = [line[0] for line in texts if "ems" in line[0]]
    assert of_ems == [f"ems: {CELLS}", f"ems: {SHARES}", f"ems: {SHARES}: more"]
    both = results_of(figures, figures, starts=("May", "June"))
    assert both[CELLS]["incidents"] == 2 * both[f"June {CELLS}"]["incidents"] == 2 * cells["incidents"]
    assert len(both) == 3 * len(results)
    assert len(inside_texts(list(both.values()))) == len(texts) + 2 * 3


def test_nothing_is_learned_from_what_is_judged():
    (same, chosen), (other, chosen_again) = judged(town()), judged(town(late_square=3))
    assert chosen == chosen_again
    assert list(chosen) == ["squares_pseudo_count", "kernel_bandwidth_m"]
    found, missed = (results_of(of)[SHARES] for of in (same, other))
    assert found["nats_over_cells"][0] < -1.3
    assert missed["nats_over_cells"][0] > 3
    assert missed["hits"][0][0] == 0


def test_steps_that_are_cut_out_have_no_part():
    task = town()
    hours = np.arange(24) + int(task.cube.starts_s[TEST + 5]) // 3600
    cut = replace(task, incidents=replace(task.incidents, cut_hours=hours))
    for of, days in ((cut, STEPS - TEST - 1), (task, STEPS - TEST)):
        assert judged(of)[0][CELLS][0].tolist() == [12.0] * days
