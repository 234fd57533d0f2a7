"""Counts inside cells: the guards against a brute-force oracle, planted homes, masks, a geocoder's default places."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fine_counts import LEAST, PSEUDO_COUNTS, default_places, fine_counts, fit_shares, log_shares, shrunk
from schemas.areas import read_masks
from schemas.fine import OVER_ALL
from schemas.incidents import Incidents, fixed_places
from tests.harness.toy import box, mask_file, square_bounds, toy_grid, toy_spec

SPEC = toy_spec(grid=toy_grid(1, 2, cell_m=1000), answered_by=("fire", "ems"), fine=2)
SQUARES = 4


def incidents_at(lat_deg, lon_deg, category=0, spec=SPEC):
    """At these places, all inside the grid."""
    cell, inside = spec.grid.locate(lat_deg, lon_deg)
    assert inside.all()
    of_none, count = Incidents.empty(), len(cell)
    fields = {name: np.zeros(count, getattr(of_none, name).dtype) for name in of_none.__dataclass_fields__}
    category = np.broadcast_to(np.asarray(category, np.int16), count)
    return Incidents(**{**fields, "cell": cell, "category": category, "place": fixed_places(lat_deg, lon_deg)})


def inside(cell, square, number, *, random=None, spec=SPEC):
    """(number,) latitudes and longitudes in a square: one address, or with `random` as many."""
    south, west, north, east = square_bounds(spec.grid, spec.fine, cell, square)
    part = np.full((2, number), 0.5) if random is None else random.uniform(0.02, 0.98, (2, number))
    return south + part[0] * (north - south), west + part[1] * (east - west)


def gathered(*parts, category=0, spec=SPEC):
    """Incidents of several pairs of latitudes and longitudes."""
    return incidents_at(*(np.concatenate(of) for of in zip(*parts, strict=True)), category, spec)


def oracle(incidents):
    """(cell, category) -> counts by square, one incident at a time. incidents: (cell, category, square, point)."""
    at_places, rows = Counter((cell, square, point) for cell, _, square, point in incidents), {}
    default = {place for place, number in at_places.items() if number >= max(100, 0.01 * len(incidents))}

    def counted(cell, categories):
        of_squares = []
        for square in range(SQUARES):
            at = Counter(p for c, k, s, p in incidents if (c, s) == (cell, square) and k in categories)
            for point in [point for point in at if (cell, square, point) in default]:
                del at[point]
            of_squares.append(sum(min(number, at.total() - number) for number in at.values()))
        return of_squares

    def evened(counts):
        few = [square for square in range(SQUARES) if counts[square] < LEAST]
        if len(few) == 1:
            few.append(min({*range(SQUARES)} - {*few}, key=lambda square: (counts[square], square)))
        together = sum(counts[square] for square in few)
        return [together / len(few) if square in few else counts[square] for square in range(SQUARES)]

    for cell in sorted({cell for cell, *_ in incidents}):
        own = [category for category in (0, 1) if sum(counted(cell, {category})) >= LEAST * SQUARES]
        of_parts = [evened(counted(cell, {category})) for category in own]
        over_all = [sum(of) for of in zip(*of_parts, evened(counted(cell, {0, 1} - {*own})), strict=True)]
        for category, counts in [(OVER_ALL, over_all), *zip(own, of_parts, strict=True)]:
            categories = {0, 1} if category == OVER_ALL else {category}
            spread = sum(k in categories for c, k, s, point in incidents if c == cell and (c, s, point) in default)
            if category != OVER_ALL or sum(counts) >= LEAST:
                rows[cell, category] = [of_square + spread / SQUARES for of_square in counts]
    return rows


_GROUP = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(1, 60))


@settings(max_examples=150, deadline=None)
@given(st.lists(_GROUP, min_size=1, max_size=30))
def test_counts_are_those_of_a_loop_over_single_incidents(groups):
    incidents = [(*group, point) for *group, point, times in groups for _ in range(times)]
    lat, lon = np.empty((2, len(incidents)))
    for at, (cell, _, square, point) in enumerate(incidents):
        south, west, north, east = square_bounds(SPEC.grid, SPEC.fine, cell, square)
        lat[at], lon[at] = south + (0.2 + 0.2 * point) * (north - south), (west + east) / 2
    counts = fine_counts(incidents_at(lat, lon, [category for _, category, *_ in incidents]), SPEC.grid, SPEC.fine)
    expected = oracle(incidents)
    assert list(zip(counts.cell.tolist(), counts.category.tolist(), strict=True)) == list(expected)
    np.testing.assert_allclose(counts.share.tolist(), list(expected.values()))


def test_no_planted_address_shows_by_more_than_its_neighbours_have():
    """200 addresses in as many cells, among none to 200 other incidents in their square.

    A square with one counts at most twice what the others have, or as another square that shares with it. Once there
    are as many incidents at the address as at all others together, more of them change no number.
    """
    random = np.random.default_rng(7)
    spec = toy_spec(grid=toy_grid(10, 20, cell_m=1000), answered_by=("fire", "ems"), fine=4)
    most = np.resize([1, 4, 12, 60, 200], 200)
    base = {
        (cell, square): inside(cell, square, int(random.integers(most[cell])), random=random, spec=spec)
        for cell in range(200)
        for square in range(16)
    }
    homes = random.integers(16, size=200).tolist()
    neighbours = np.array([len(base[cell, home][0]) for cell, home in enumerate(homes)])
    at = [inside(cell, home, 1, random=random, spec=spec) for cell, home in enumerate(homes)]
    rows = []
    for calls in (neighbours + 1, 2 * neighbours + 17, np.full(200, 1000)):
        planted = tuple(np.repeat(np.concatenate(of), calls) for of in zip(*at, strict=True))
        incidents = gathered(*base.values(), planted, spec=spec)
        assert not default_places(incidents.place)[1].any()
        counts = fine_counts(incidents, spec.grid, spec.fine)
        rows.append({cell: row for cell, row in zip(counts.cell.tolist(), counts.share, strict=True)})
        np.testing.assert_equal(rows[-1], rows[0])
    assert len(rows[0]) > 150  # elsewhere there is no other incident in the cell, or too few: even shares
    told = [cell for cell, row in rows[0].items() if (row == row[homes[cell]]).sum() == 1]
    assert len(told) > 50
    for cell in told:
        assert LEAST <= rows[0][cell][homes[cell]] <= 2 * neighbours[cell]


def test_rows_taken_from_that_over_all_tell_no_small_number_and_no_home():
    """One category has a row of its own; of the other there are few, and one home with most of them."""
    random = np.random.default_rng(4)
    many = gathered(*(inside(cell, square, 60, random=random) for cell in (0, 1) for square in range(SQUARES)))
    for others, calls in product((0, 3, 9, 14), (1, 40, 80)):
        few = gathered(
            inside(0, 2, others, random=random), inside(0, 2, calls), inside(0, 1, 4, random=random), category=1
        )
        counts = fine_counts(Incidents.concatenate([many, few]), SPEC.grid, SPEC.fine)
        rows = dict(zip(zip(counts.cell, counts.category, strict=True), counts.share, strict=True))
        left = rows[0, OVER_ALL] - rows[0, 0]
        assert (0, 1) not in rows
        assert left[2] == left[0] or LEAST <= left[2] <= 2 * others


@pytest.mark.parametrize(
    ("north_m", "east_m"), [(1, 0), (0, 1), (-2, 2), (4, 0), (0, -3)], ids=lambda metres: f"{metres} m"
)
def test_a_home_that_is_given_as_two_points_close_together_counts_as_one(north_m, east_m):
    """By whatever edge of a rounding they lie on either side of."""
    random = np.random.default_rng(2)
    (lat_deg,), (lon_deg,) = inside(0, 1, 1)
    neighbours = [inside(0, square, 30, random=random) for square in (1, 2, 3)]
    for north_deg, east_deg in product(np.arange(0, 1e-4, 1e-5), repeat=2):
        home = (
            lat_deg + north_deg + np.arange(90) % 2 * north_m / 111_195,
            lon_deg + east_deg + np.arange(90) % 2 * east_m / 83_000,
        )
        counts = fine_counts(gathered(*neighbours, home), SPEC.grid, SPEC.fine)
        assert counts.share[0][1] <= 60


def test_incidents_where_a_geocoder_puts_what_it_does_not_find_are_spread_over_their_cell():
    random = np.random.default_rng(3)
    hot, quiet = inside(0, 1, 80, random=random), inside(0, 2, 20, random=random)
    default, busy = inside(0, 3, 100), inside(1, 0, 99)
    incidents = gathered(hot, quiet, default, busy)
    places, is_there = default_places(incidents.place)
    assert (places.tolist(), int(is_there.sum())) == ([incidents.place[100].tolist()], 100)
    counts = fine_counts(incidents, SPEC.grid, SPEC.fine)
    np.testing.assert_array_equal(counts.share[0], np.array([0, 80, 20, 0]) + 25.0)
    assert counts.cell.tolist() == [0, 0]  # over all, and of the one category; the other cell has a single address
    many = gathered(*(inside(cell, square, 5000, random=random) for cell in (0, 1) for square in range(4)), busy)
    assert not default_places(many.place)[1].any()  # not a hundredth of all


def test_the_pseudo_count_is_the_likeliest_and_unknown_cells_are_even():
    random = np.random.default_rng(5)
    past = gathered(inside(0, 1, 30, random=random), inside(0, 2, 30, random=random))
    even = gathered(*(inside(0, square, 50, random=random) for square in range(4)))
    alike = gathered(inside(0, 1, 500, random=random), inside(0, 2, 500, random=random))
    for later, chosen in ((even, PSEUDO_COUNTS[-1]), (alike, PSEUDO_COUNTS[0])):
        both = replace(Incidents.concatenate([past, later]), occurred_s=np.repeat([1, 9], [len(past), len(later)]))
        shares, pseudo_count = fit_shares(both, SPEC.grid, SPEC.fine, learned_until_s=5, chosen_from_s=5)
        assert pseudo_count == chosen
        expected = shrunk(fine_counts(both, SPEC.grid, SPEC.fine), chosen)
        np.testing.assert_array_equal(shares.share, expected.share)
    elsewhere = gathered(inside(1, 3, 7, random=random))
    np.testing.assert_allclose(log_shares(shares, elsewhere), np.log(1 / 4), atol=1e-6)


def test_a_masked_shelter_leaves_its_square_as_any_quiet_one(tmp_path):
    random = np.random.default_rng(9)
    shelter = inside(0, 0, 300, random=random)
    others = inside(0, 1, 40, random=random), inside(0, 2, 30, random=random)
    incidents = gathered(shelter, *others)
    south, west, north, east = square_bounds(SPEC.grid, SPEC.fine, 0, 0)
    hidden = read_masks(mask_file(tmp_path / "masks.geojson", box(west, south, east, north))).hold(incidents.place)
    assert int(hidden.sum()) == 300
    counts = fine_counts(incidents.select(~hidden), SPEC.grid, SPEC.fine)
    np.testing.assert_array_equal(counts.share, fine_counts(gathered(*others), SPEC.grid, SPEC.fine).share)
    np.testing.assert_array_equal(counts.share[0], [0, 40, 30, 0])
