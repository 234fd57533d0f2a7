"""The grid against geometry that is written here a second time."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.grid import Grid, geohash

GIVEN = {"south_deg": 41.6, "west_deg": -87.9, "cell_m": 1000, "rows": 4, "cols": 4}
grids = st.builds(
    Grid,
    south_deg=st.floats(-60, 59),
    west_deg=st.floats(-180, 175),
    cell_m=st.floats(200, 2000),
    rows=st.integers(1, 12),
    cols=st.integers(1, 12),
)
share = st.floats(0, 1, exclude_max=True)


def contains(ring, lat, lon):
    """Half-open: the south and west edges belong to the cell."""
    (west, south), _, (east, north) = ring[:3]
    return south <= lat < north and west <= lon < east


@given(grids, share, share)
def test_a_place_lies_in_the_polygon_of_its_cell(grid, up, right):
    lat_edges, lon_edges = grid.corners()
    lat = float(lat_edges[0] + up * (lat_edges[-1] - lat_edges[0]))
    lon = float(lon_edges[0] + right * (lon_edges[-1] - lon_edges[0]))
    [cell], [inside] = grid.locate(np.array([lat]), np.array([lon]))
    if inside:
        assert contains(grid.polygon(int(cell)), lat, lon)
    else:  # rounding put it on the last edge, which belongs to the next cell
        assert lat == lat_edges[-1] or lon == lon_edges[-1]


@settings(max_examples=50)
@given(grids)
def test_the_centre_of_a_cell_lies_in_it_and_ids_round_trip(grid):
    cells, inside = grid.locate(*grid.centres())
    assert inside.all()
    assert cells.tolist() == list(range(grid.cells))
    ids = grid.cell_ids()
    assert [grid.index_of(cell_id) for cell_id in ids] == list(range(grid.cells))
    assert ids[-1] == f"r{grid.rows - 1:03d}c{grid.cols - 1:03d}"


@settings(max_examples=50)
@given(grids)
def test_edges_belong_to_the_cell_north_and_east_of_them_and_the_last_ones_to_nobody(grid):
    lat_edges, lon_edges = grid.corners()
    lat, lon = (axis.ravel() for axis in np.meshgrid(lat_edges, lon_edges, indexing="ij"))
    cells, inside = grid.locate(lat, lon)
    row, col = (axis.ravel() for axis in np.indices((grid.rows + 1, grid.cols + 1)))
    assert inside.tolist() == ((row < grid.rows) & (col < grid.cols)).tolist()
    assert cells[inside].tolist() == (row * grid.cols + col)[inside].tolist()
    below = grid.locate(np.nextafter(lat_edges, -np.inf), np.full(grid.rows + 1, lon_edges[0]))
    assert below[1].tolist() == [False] + [True] * grid.rows
    assert below[0][1:].tolist() == [row * grid.cols for row in range(grid.rows)]


@pytest.mark.parametrize("stray", [math.nan, math.inf, -math.inf, 91.0, -500.0])
def test_a_place_that_is_none_lies_outside(stray):
    lat, lon = np.array([(stray, -87.89), (41.61, stray), (41.61, -87.89)]).T
    assert Grid(**GIVEN).locate(lat, lon)[1].tolist() == [False, False, True]


def ellipsoid_m(*degrees):
    """The way from (lat, lon) to (lat, lon) on WGS 84: the arc above the chord through it, right to centimetres."""
    flattening, radius_m, places = 1 / 298.257223563, 6_371_000.0, []
    squared = flattening * (2 - flattening)
    for lat, lon in np.radians(degrees).reshape(2, 2):
        normal = 6_378_137.0 / np.sqrt(1 - squared * np.sin(lat) ** 2)
        turned = normal * np.cos(lat) * np.array([np.cos(lon), np.sin(lon)])
        places.append([*turned, normal * (1 - squared) * np.sin(lat)])
    return 2 * radius_m * math.asin(math.dist(*places) / 2 / radius_m)


def test_the_way_on_the_ellipsoid_is_right():
    """Flinders Peak to Buninyong, the classic worked example: 54,972.271 m."""
    length_m = ellipsoid_m(-37.95103341666667, 144.42486788888888, -37.65282113888889, 143.92649552777777)
    assert length_m == pytest.approx(54_972.271, abs=0.02)


@settings(max_examples=50)
@given(st.floats(-50, 49), st.floats(-180, 178), st.floats(500, 2000), st.integers(1, 50), st.floats(0, 1))
def test_a_cell_has_its_height_width_and_area_within_one_percent(south, west, cell_m, rows, pick):
    """The projection is made for the grid's middle latitude: there it is right to a centimetre."""
    grid = Grid(south_deg=south, west_deg=west, cell_m=cell_m, rows=rows, cols=3)
    middle = msgspec.structs.replace(grid, rows=rows // 2 * 2 + 1)
    for of, cell, share in ((grid, round(pick * (grid.cells - 1)), 0.01), (middle, middle.cells // 2, 1e-5)):
        (w, s), (e, _), (_, n), *_ = of.polygon(cell)
        high, wide = ellipsoid_m(s, w, n, w), ellipsoid_m((s + n) / 2, w, (s + n) / 2, e)
        assert (high, wide) == pytest.approx((cell_m, cell_m), rel=share)
        assert high * wide == pytest.approx(cell_m**2, rel=0.01)


def test_geohash_gives_the_published_examples_and_every_cell_has_that_of_its_centre():
    for lat, lon, known in (
        (57.64911, 10.40744, "u4pruydqqvj"),
        (42.6, -5.6, "ezs42"),
        (-25.382708, -49.265506, "6gkzwgjzn820"),
        (0, 0, "s0000"),
    ):
        assert geohash(lat, lon, len(known)) == known
    grid = Grid(**GIVEN)
    assert grid.geohashes() == [geohash(float(y), float(x), 8) for y, x in zip(*grid.centres(), strict=True)]
    assert len(set(grid.geohashes())) == 16


def test_geojson_is_what_rfc_7946_asks_for_in_metre_steps():
    """Each ring is closed, counter-clockwise."""
    grid = Grid(south_deg=41.123456789, west_deg=-87.987654321, cell_m=1000, rows=1, cols=2)
    (south, north), lon_deg = (edges.tolist() for edges in grid.corners())
    features = []
    for name, (west, east) in zip(("r000c000", "r000c001"), pairwise(lon_deg), strict=True):
        corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        ring = [[float(f"{lon:.5f}"), float(f"{lat:.5f}")] for lon, lat in corners]
        polygon = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "id": name, "properties": {"cell": name}, "geometry": polygon})
    assert grid.geojson() == {"type": "FeatureCollection", "features": features}


def test_bounds_leave_out_what_lies_beyond_each_of_them_and_a_place_lies_in_the_middle_of_its_cell():
    lats, lons = np.array([41.0, 41.5]), np.array([-87.0, -86.0])
    beyond = [(40.9, -86.5), (41.6, -86.5), (41.2, -87.1), (41.2, -85.9)]
    more_lats, more_lons = (np.append(of, [place[n] for place in beyond]) for n, of in enumerate((lats, lons)))
    bounds = (41.0, -87.0, 41.5, -86.0)
    alone = Grid.around(lats, lons, cell_m=1000, trim=0.0)
    assert Grid.around(more_lats, more_lons, cell_m=1000, trim=0.0, bounds=bounds) == alone
    lat, lon = alone.centres()
    assert (lat[0], lon[0]) == pytest.approx((41.0, -87.0), abs=2e-6)


@given(st.floats(-59, 59), st.floats(-179, 170), st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
@example(-59.0, 10.0, 0.9, 0.9, 0)  # degrees of longitude grow northward: the south edge's scale is too small
def test_a_grid_around_places_holds_them_all_and_not_much_more(lat, lon, height, width, seed):
    random = np.random.default_rng(seed)
    lats, lons = lat + height * random.random(100), lon + width * random.random(100)
    grid = Grid.around(lats, lons, cell_m=400, trim=0.0)
    assert grid.locate(lats, lons)[1].all()
    assert (grid.south_deg, grid.west_deg) == (round(grid.south_deg, 6), round(grid.west_deg, 6))
    per_lat, per_lon = grid.metres_per_degree
    assert grid.rows <= np.ptp(lats) * per_lat / 400 * 1.002 + 2  # a degree of latitude grows by 0.02 % per degree
    assert grid.cols <= np.ptp(lons) * per_lon / 400 * 1.02 + 2


def city():
    """Latitudes and longitudes of 5,000 places."""
    random = np.random.default_rng(7)
    return 41.6 + 0.4 * random.random(5000), -87.9 + 0.4 * random.random(5000)


def test_a_grid_around_places_ignores_one_stray_place():
    lats, lons = city()
    calm = Grid.around(lats, lons, cell_m=1000)
    lats[17], lons[17] = 0.0, 0.0
    stirred = Grid.around(lats, lons, cell_m=1000)
    assert abs(calm.rows - stirred.rows) <= 1
    assert abs(calm.cols - stirred.cols) <= 1
    assert np.count_nonzero(~stirred.locate(lats, lons)[1]) <= 10


@pytest.mark.parametrize(
    ("north", "east", "said"),
    [
        (20.0, 0.0, r"2\d{3} x \d\d cells of 1000 m from latitude 41.6\d to 61.\d\d, longitude -87.9"),
        (0.0, 20.0, r"\d\d x 1[67]\d\d cells of 1000 m.* to -67"),
        (3.0, 3.0, r"3\d\d x 2\d\d cells of 1000 m"),
    ],
)
def test_more_strays_than_the_trim_takes_are_refused_with_the_real_size_and_extent(north, east, said):
    lats, lons = city()
    lats[:100] += north
    lons[:100] += east
    with pytest.raises(DataError, match="no usable incident"):
        Grid.around(lats[:0], lons[:0], cell_m=1000)
    with pytest.raises(DataError, match=said + ".*at most 999 a side and 65536 in all.*leave them out.*--cell-m"):
        Grid.around(lats, lons, cell_m=1000)


@pytest.mark.parametrize(("rows", "cols"), [(999, 2), (2, 999), (256, 256)])
def test_the_largest_grids_are_made_around_places(rows, cols):
    per_lat, per_lon = Grid(south_deg=41, west_deg=-87, cell_m=200, rows=rows, cols=cols).metres_per_degree
    lats, lons = (
        first + 200 / per * np.array([0, count - 1.5])
        for first, per, count in ((41, per_lat, rows), (-87, per_lon, cols))
    )
    grid = Grid.around(lats, lons, cell_m=200, trim=0.0)
    assert (grid.rows, grid.cols) == (rows, cols)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ({"south_deg": -88.99}, {"south_deg": -89.0}, "is not a place"),
        ({}, {"south_deg": 89.0}, "is not a place"),
        ({"west_deg": -180.0}, {"west_deg": -180.1}, "is not a place"),
        ({}, {"south_deg": math.nan}, "is not a place"),
        ({}, {"west_deg": 180.0}, "is not a place"),
        ({"cell_m": 200.0}, {"cell_m": 199.0}, "identify households"),
        ({}, {"cell_m": 100_000.5}, "identify households"),
        ({}, {"cell_m": math.nan}, "cells of nan m .*: choose --cell-m from 200"),
        ({"rows": 999}, {"rows": 0}, "at most 999"),
        ({"cols": 999}, {"cols": 1000}, "at most 999"),
        ({"rows": 256, "cols": 256}, {"rows": 500, "cols": 500}, "65536"),
        ({}, {"south_deg": 88.9, "rows": 999, "cols": 1}, "leave the globe"),
        (*({"south_deg": 88.0, "cell_m": 1e5, "rows": rows, "cols": 1} for rows in (2, 3)), "leave the globe"),  # 90.7
        (*({"south_deg": 0.0, "cell_m": 1e5, "rows": 1, "cols": cols} for cols in (400, 401)), "leave the globe"),
    ],
)
def test_a_grid_may_be_as_large_as_this_and_a_larger_one_is_refused_with_what_to_do(right, wrong, said):
    grid = Grid(**GIVEN | right)
    assert grid.locate(*grid.centres())[1].all()
    with pytest.raises(DataError, match=said):
        Grid(**GIVEN | wrong)


def test_minus_zero_is_the_same_corner():
    zero, minus = (Grid(south_deg=at, west_deg=at, cell_m=1000, rows=1, cols=1) for at in (0.0, -0.0))
    assert msgspec.json.encode(zero) == msgspec.json.encode(minus)


@pytest.mark.parametrize("wrong", ["r004c000", "r000c003", "r0c0", "R000C000", "r000c000 ", "", "r000c-01"])
def test_an_id_that_the_grid_does_not_have_is_refused(wrong):
    with pytest.raises(DataError, match="no cell"):
        Grid(**GIVEN | {"cols": 3}).index_of(wrong)
