"""Where units should stand: against every possible choice, and by what must hold of any city."""

from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.posts_plan import solve
from models.readiness import Question, best_floor, choose
from schemas.errors import DataError
from tests.harness.reaching import reach_of


def drawn_reach(random, *, places, cells):
    """A random sparse matrix; each place reaches a cell at least."""
    within = random.random((places, cells)) < 0.4
    within[np.arange(places), random.integers(0, cells, places)] = True
    place, point = np.nonzero(within)
    return reach_of(place, point, random.uniform(0, 8, len(place)), places=places, cells=cells)


def drawn(seed, *, floor=0.0, busy=None):
    random = np.random.default_rng(seed)
    places, cells, areas = int(random.integers(2, 7)), int(random.integers(2, 10)), int(random.integers(1, 4))
    return Question(
        expected=random.gamma(0.5, 1.0, cells) + 0.01,
        reach=drawn_reach(random, places=places, cells=cells),
        units=int(random.integers(1, 4)),
        busy=float(random.choice([0.0, 0.3, 0.6])) if busy is None else busy,
        fixed=(int(random.integers(places)),) if random.random() < 0.3 else (),
        areas={str(each): random.permutation(cells)[: random.integers(1, cells + 1)] for each in range(areas)},
        floor=floor,
    )


def every_choice(question):
    for posts in combinations_with_replacement(range(question.reach.places), question.units):
        if all(posts.count(place) >= question.fixed.count(place) for place in question.fixed):
            yield posts


def floor_of(question, posts):
    """The smallest share within reach of any area, straight from the definition."""
    within = {int(point) for place in posts for point in question.reach.points_of(place)}
    shares = []
    for cells in question.areas.values():
        shares.append(sum(question.expected[c] for c in cells if int(c) in within) / question.expected[cells].sum())
    return min(shares)


@pytest.mark.parametrize("seed", range(200))
def test_the_solver_finds_the_best_of_all_choices_and_no_floor_that_cannot_be(seed):
    floor = float(np.random.default_rng(seed).choice([0.0, 0.2, 0.7]))
    question = drawn(seed, floor=floor)
    choices = list(every_choice(question))
    keeping = [posts for posts in choices if floor_of(question, posts) >= floor - 1e-9]
    proved = solve(question)
    assert proved.is_best
    if not keeping:
        assert proved.posts is None
        assert question.lacking(choose(question, np.random.default_rng(0))) > 0
        best = max(floor_of(question, posts) for posts in choices)
        assert best_floor(question) == pytest.approx(best, abs=0.0011)
        return
    best = max(question.served(posts) for posts in keeping)
    assert question.served(proved.posts) == pytest.approx(best, abs=1e-7)
    assert proved.bound == pytest.approx(best, abs=1e-6)
    assert question.lacking(proved.posts) == 0
    found = choose(question, np.random.default_rng(0))
    assert question.lacking(found) == 0
    assert question.served(found) >= 0.995 * best


@given(st.integers(0, 10**6))
def test_more_units_never_reach_less(seed):
    question = drawn(seed)
    random = np.random.default_rng(0)
    more = replace(question, units=question.units + 1)
    assert more.served(choose(more, random)) >= question.served(choose(question, random)) - 1e-9


@given(st.integers(0, 10**6))
def test_units_that_are_never_busy_serve_what_is_within_reach(seed):
    question = drawn(seed, busy=0.0)
    posts = choose(question, np.random.default_rng(0))
    assert question.served(posts) == pytest.approx(question.within(posts))


@given(st.integers(0, 10**6))
def test_the_order_of_the_cells_changes_nothing(seed):
    question = drawn(seed, floor=0.2)
    order = np.random.default_rng(seed).permutation(question.reach.cells)
    new = np.argsort(order)  # the new number of each cell
    reach = replace(question.reach, point=new[question.reach.point].astype(np.int32))
    areas = {name: new[cells] for name, cells in question.areas.items()}
    moved = replace(question, expected=question.expected[order], reach=reach, areas=areas)
    posts = choose(question, np.random.default_rng(0))
    assert moved.served(choose(moved, np.random.default_rng(0))) == pytest.approx(question.served(posts))
    assert moved.lacking(posts) == pytest.approx(question.lacking(posts))


def line(expected, *, places, reach, **changes):
    """Cells in a row; a unit in a cell reaches so many cells on both sides."""
    cells = len(expected)
    place, point = np.nonzero(np.abs(np.array(places)[:, None] - np.arange(cells)) <= reach)
    minutes = np.abs(np.array(places)[place] - point).astype(float)
    reached = reach_of(place, point, minutes, places=len(places), cells=cells)
    return Question(expected=np.array(expected, float), reach=reached, **changes)


def test_one_more_unit_beside_those_that_stay_goes_where_it_adds_most():
    question = line([5, 1, 1, 4], places=[0, 1, 2, 3], reach=0, units=1, fixed=(0,))
    more = replace(question, units=2)
    assert choose(question, np.random.default_rng(0)) == (0,)
    assert choose(more, np.random.default_rng(0)) == solve(more).posts == (0, 3)
    assert more.served((0, 3)) - question.served((0,)) == pytest.approx(0.7 * 4 / 11)


def test_a_busy_share_doubles_up_where_calls_are_dense():
    question = line([90, 5, 5], places=[0, 1, 2], reach=0, units=2, busy=0.3)
    assert choose(question, np.random.default_rng(0)) == (0, 0)
    assert choose(replace(question, busy=0.0), np.random.default_rng(0))[0] == 0
    assert len(set(choose(replace(question, busy=0.0), np.random.default_rng(0)))) == 2


def test_of_places_that_serve_alike_the_nearer_is_taken():
    assert choose(line([1, 8, 1], places=[0, 1, 2], reach=2, units=1), np.random.default_rng(0)) == (1,)


def test_a_floor_takes_a_unit_to_a_thin_district():
    areas = {"west": np.arange(3), "east": np.array([3])}
    question = line([40, 30, 20, 1], places=[0, 1, 2, 3], reach=0, units=2, busy=0.0, areas=areas, floor=0.1)
    assert choose(question, np.random.default_rng(0)) == (0, 3)
    assert solve(question).posts == (0, 3)
    alone = replace(question, units=1)
    assert solve(alone).posts is None
    assert best_floor(alone) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"units": 0}, "0 units: ask for 1 to 200"),
        ({"units": 201}, "201 units"),
        ({"units": 2, "busy": 1.0}, "a busy share of 1: give the share of time"),
        ({"units": 2, "busy": -0.1}, "a busy share of -0.1"),
        ({"units": 2, "busy": float("nan")}, "a busy share of nan"),
        ({"units": 2, "floor": 1.0}, "a floor of 1"),
        ({"units": 1, "fixed": (0, 1)}, "2 units are fixed, of 1"),
    ],
)
def test_what_is_no_question_is_refused(changes, said):
    with pytest.raises(DataError, match=said):
        line([1, 2], places=[0, 1], reach=0, **changes)
    with pytest.raises(DataError, match="nothing is expected"):
        line([0, 0], places=[0, 1], reach=0, units=1)
