"""Where units should stand: against every choice; what they reach; files of places and driving times."""

from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.posts_plan import read_times, solve
from models.readiness import (
    DETOUR,
    Drive,
    Place,
    Question,
    Reach,
    best_floor,
    by_straight_line,
    choose,
    metres_of,
    points_a_side,
    read_places,
)
from schemas.errors import DataError
from tests.harness.toy import toy_grid


def reach_of(place, point, minutes, *, places, cells):
    """place, point: (n,), in the order of the places."""
    start = np.searchsorted(place, np.arange(places + 1))
    kinds = {"point": np.asarray(point, np.int32), "minutes": np.asarray(minutes, np.float32)}
    return Reach(cells=cells, per_cell=1, start=start, **kinds)


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
    alike = line([1, 8, 1], places=[0, 1, 2], reach=2, units=1)
    assert choose(alike, np.random.default_rng(0)) == (1,)  # of places that serve alike the nearer


def test_a_busy_share_doubles_up_where_calls_are_dense():
    question = line([90, 5, 5], places=[0, 1, 2], reach=0, units=2, busy=0.3)
    assert choose(question, np.random.default_rng(0)) == (0, 0)
    assert choose(replace(question, busy=0.0), np.random.default_rng(0))[0] == 0
    assert len(set(choose(replace(question, busy=0.0), np.random.default_rng(0)))) == 2


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


def test_a_cell_that_lies_half_in_reach_is_reached_by_half_and_minutes_are_those_of_the_drive():
    whole = by_straight_line(GRID, middle(12), drive_of(1000)).covered((0,)).reshape(GRID.cells, -1).mean(axis=1)
    assert whole[12] == 1
    assert 0.3 < whole[13] < 0.8
    assert whole[14] == 0
    far = by_straight_line(GRID, middle(12), drive_of(1500)).minutes.max() / drive_of(1500).minutes
    assert 0.9 < far <= 1
    assert Drive(minutes=6, speed_kmh=60).metres == pytest.approx(6000 / DETOUR)
    reach = reach_of([0, 1, 1], [0, 0, 1], np.ones(3), places=2, cells=2)
    assert reach.covered((0, 1, 1)).tolist() == [3, 2]
    assert reach.sums(np.array([1.0, 10.0])).tolist() == [1, 11]


@pytest.mark.parametrize(("reach_m", "side"), [(4000, 2), (8000, 1), (7999, 2), (2000, 4), (500, 4), (50_000, 1)])
def test_there_are_eight_points_to_the_edge_if_four_a_side_suffice(reach_m, side):
    assert points_a_side(1000, reach_m) == side


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 4, 8]), st.floats(300, 5000), st.integers(0, 2**32 - 1))
def test_squares_weigh_what_is_expected_in_them(fine, metres, seed):
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(fine**2), GRID.cells)
    expected = random.gamma(1.0, size=GRID.cells)
    reach = by_straight_line(GRID, middle(12), drive_of(max(metres, 1001 / fine / 2)), fine)
    side = int(reach.per_cell**0.5)
    assert side % fine == 0
    question = Question(expected=expected, reach=reach, units=1, shares=shares)
    inside = 0.0
    for point in reach.points_of(0).tolist():
        cell, (row, col) = point // side**2, divmod(point % side**2, side)
        square = int(row / side * fine) * fine + int(col / side * fine)
        inside += expected[cell] * shares[cell, square] / (side / fine) ** 2
    assert question.within((0,)) == pytest.approx(inside / expected.sum())
    assert question.weight.sum() == pytest.approx(1)


def test_a_reach_below_half_a_cell_and_too_many_places_are_refused_before_they_take_memory():
    with pytest.raises(DataError, match="less than half a cell of 1000 m: give more minutes"):
        by_straight_line(GRID, middle(0), drive_of(499))
    by_straight_line(GRID, middle(0), drive_of(501))
    with pytest.raises(DataError, match="give the stations in place of any cell"):
        by_straight_line(GRID, np.repeat(middle(0), 400_000, axis=0), drive_of(4000))


def written(folder, text, name="places.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_places_are_read_with_the_units_that_stand_there(tmp_path):
    text = "\ufeffplace,lat,lon,units\nNorth,41.04,-86.98,2\nSouth,41.01,-86.98,0\n"
    places = read_places(written(tmp_path, text), GRID)
    assert places == [
        Place(place="North", lat=41.04, lon=-86.98, units=2),
        Place(place="South", lat=41.01, lon=-86.98, units=0),
    ]
    assert read_places(written(tmp_path, "place,lat,lon\nNorth,41.04,-86.98\n"), GRID)[0].units is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("place,lat\na,41\n", "field `lon`.*: give a CSV file with the columns place,lat,lon"),
        ("place,lat,lon\n", "has no row"),
        ("place,lat,lon\na,41.01,x\n", r"Expected `float`, got `str` - at `\$\[0\].lon`"),
        ("place,lat,lon\na,41.01,nan\n", r"`\$\[0\].lon`"),
        ("place,lat,lon\na,41.01,-86.98\na,41.01,-86.98\n", "'a' stands several times"),
        (
            "place,lat,lon\na,42.01,-86.98\n",
            "1 of 1 places lie outside the grid, the first at 42.01000, -86.98000: leave them out",
        ),
        ("place,lat,lon,units\na,41.01,-86.98,1.5\n", r"`\$\[0\].units`"),
    ],
)
def test_a_file_of_places_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_places(written(tmp_path, text), GRID)


def two_places():
    return [Place(place="a", lat=41.01, lon=-86.98), Place(place="b", lat=41.02, lon=-86.98)]


def times(folder, *rows):
    return written(folder, "\n".join(("place,cell,minutes", *rows)), "times.csv")


def read(path, answered=(0, 1)):
    return read_times(path, two_places(), GRID, minutes=8, answered=np.array(answered, np.int32))


def test_driving_times_say_what_is_reached(tmp_path):
    path = times(tmp_path, "a,r000c000,3", "a,r000c001,9", "b,r000c000,8", "b,r000c001,1", "c,r000c000,0")
    reach, digest = read(path)
    assert [reach.points_of(place).tolist() for place in range(2)] == [[0], [0, 1]]
    assert (reach.per_cell, len(digest)) == (1, 64)
    assert read(path)[1] == digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("a,r000c000,3", "a,r000c000,1"), "has two times from 'a' to r000c000"),
        (("a,r000c000,3", "a,r000c001,9", "b,r000c000,8"), "lacks 1 times, the first from 'b' to r000c001"),
        (("a,r000c000,3", "a,r000c001,9", "b,r000c000,9", "b,r000c001,9"), "'b' reaches no cell in 8 minutes"),
        (
            ("a,r000c000,-3", "a,r000c001,9", "b,r000c000,9", "b,r000c001,9"),
            r"Expected `float` >= 0.0 - at `\$\[0\].minutes`",
        ),
        (("a,r009c000,3",), "no cell 'r009c000'"),
        (("a,r000c000,soon",), r"Expected `float`, got `str` - at `\$\[0\].minutes`"),
    ],
)
def test_a_table_with_gaps_or_nonsense_is_refused(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        read(times(tmp_path, *rows))
