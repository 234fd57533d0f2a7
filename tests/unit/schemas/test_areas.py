"""Areas of an agency and masks: which cells and places lie in them, by angles, and what is wrong with a file."""

import hashlib
import json
import re
from functools import partial
from itertools import pairwise
from math import atan2, pi

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.areas import (
    NO_MASKS,
    Area,
    Masks,
    cells_inside,
    cells_of_areas,
    cells_pattern,
    read_areas,
    read_masks,
    refuse_other_masks,
)
from schemas.errors import ArtifactError, SettingsError
from schemas.grid import Grid
from schemas.incidents import fixed_places
from tests.harness.toy import box, mask_file

GRID = Grid(south_deg=42.0, west_deg=-88.0, cell_m=1000.0, rows=9, cols=7)
LAT, LON = GRID.corners()
FAR = Grid(south_deg=10.0, west_deg=20.0, cell_m=1000.0, rows=2, cols=2)


def cell_box(west, south, east, north):
    """Closed ring of a rectangle, counted in cells from the grid's south-west corner."""
    step_lon, step_lat = LON[1] - LON[0], LAT[1] - LAT[0]
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[float(LON[0] + x * step_lon), float(LAT[0] + y * step_lat)] for x, y in corners]


def area(*polygons, name="a"):
    return Area(name, tuple(tuple(np.array(ring) for ring in rings) for rings in polygons))


(SOUTH, *_, NORTH), (WEST, *_, EAST) = LAT.tolist(), LON.tolist()
NEAR = st.tuples(st.floats(WEST - 0.02, EAST + 0.02), st.floats(SOUTH - 0.02, NORTH + 0.02))


@settings(max_examples=40)
@given(st.lists(NEAR, min_size=3, max_size=8), st.lists(NEAR, min_size=0, max_size=5))
def test_a_cell_belongs_to_the_area_that_its_centre_lies_in(outer, hole):
    rings = [[*ring, ring[0]] for ring in (outer, hole) if len(ring) >= 3]
    inside = set(cells_inside(area(rings), GRID).tolist())
    lat, lon = GRID.centres()
    for cell, place in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
        around = [turns(ring, place) for ring in rings]
        assume(None not in around)
        # An outline that crosses itself, too, is inside where an odd number of its turns go around.
        assert (cell in inside) == bool(sum(around) % 2), place


@settings(max_examples=40)
@given(st.lists(st.sampled_from(range(1, 7)), max_size=4, unique=True), st.data())
def test_areas_that_share_their_borders_part_the_cells_among_them(columns, data):
    """Borders of any shape from south to north, most of them through centres of cells."""
    halves = [0.5 * step for step in range(-1, 20)]
    walls = []
    for column in (-1, *sorted(columns), 9):
        bends = data.draw(st.lists(st.sampled_from([column - 0.25, column, column + 0.25]), min_size=21, max_size=21))
        walls.append(list(zip(bends if column in columns else [column] * 21, halves, strict=True)))
    owners = []
    for west, east in pairwise(walls):
        at = [cell_box(x, y, x, y)[0] for x, y in (*west, *reversed(east), west[0])]
        owners += cells_inside(area([at]), GRID).tolist()
    assert sorted(owners) == list(range(GRID.cells))


def test_a_hole_belongs_to_another_area_and_parts_of_an_area_may_overlap():
    ring, hole = cell_box(0, 0, 4, 4), cell_box(1, 1, 3, 3)
    around, within = cells_inside(area([ring, hole]), GRID), cells_inside(area([hole]), GRID)
    assert (len(around), len(within)) == (12, 4)
    assert not set(around) & set(within)
    assert set(cells_inside(area([ring], [hole]), GRID)) == set(around) | set(within)


@given(st.sets(st.integers(0, GRID.cells - 1), min_size=1))
def test_the_pattern_fits_the_cells_and_no_other(cells):
    pattern = re.compile(f"^({cells_pattern(GRID, sorted(cells))})$")
    ids = GRID.cell_ids()
    assert {cell for cell in range(GRID.cells) if pattern.match(ids[cell])} == cells


def feature(name="North", ring=None, **more):
    geometry = {"type": "Polygon", "coordinates": [ring or cell_box(0, 0, 3, 3)]}
    return {"type": "Feature", "properties": {"name": name, "beat": 12}, "geometry": geometry} | more


def written(path, *features, **more):
    file = path / "areas.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)} | more), encoding="utf-8")
    return file


def test_areas_are_read_by_name_and_a_number_is_a_name_too(tmp_path):
    parts = {"type": "MultiPolygon", "coordinates": [[cell_box(0, 0, 1, 1)], [cell_box(2, 2, 3, 3)]]}
    with_height = [[*place, 180.5] for place in cell_box(0, 0, 3, 3)]
    file = written(tmp_path, feature("West", geometry=parts), feature("East", with_height))
    assert [(one.name, len(one.polygons)) for one in read_areas(file, "name")] == [("East", 1), ("West", 2)]
    assert [one.name for one in read_areas(written(tmp_path, feature()), "beat")] == ["12"]


OPEN = [*cell_box(0, 0, 3, 3)[:-1], [-87.99, 42.0]]
BOW_TIE = [cell_box(0, 0, 3, 3)[corner] for corner in (0, 2, 1, 3, 0)]
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([], r"features.*FeatureCollection"),
        ([feature(geometry=None)], r"geometry.*export"),
        ([feature(geometry=LINE)], r"LineString.*features\[0\]"),
        ([feature(ring=cell_box(0, 0, 3, 3)[:3])], r"length >= 4"),
        ([feature(ring=OPEN)], r"'North'.*not closed"),
        ([feature(ring=[[1_170_000.0, 1_900_000.0]] * 4)], r"'North'.*1170000.*degrees.*WGS 84"),
        ([feature(ring=[[272.3, 41.8], [272.4, 41.8], [272.4, 41.9], [272.3, 41.8]])], r"272\.3.*not in degrees"),
        ([feature(ring=[["a", "b"]] * 4)], r"float"),
        ([feature(ring=[[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]])], r"'North' crosses longitude 180"),
        ([feature(ring=[[100, 0], [-100, 0], [-100, 1], [100, 0]])], r"'North' crosses longitude 180"),
        ([feature(ring=BOW_TIE)], r"'North' has a ring that crosses itself.*along its border"),
        ([feature(), feature()], r"several areas.*'North'.*MultiPolygon"),
        ([feature(), feature(" ")], r"area 2.*--area-name: beat, name"),
        ([feature(), feature("x", properties=None)], r"area 2 has None.*no property"),
        ([feature(True)], r"area 1 has True"),
        ([feature("All")], r"area 1 has 'All'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, features, said):
    with pytest.raises(SettingsError, match=said):
        read_areas(written(tmp_path, *features), "name")


@pytest.mark.parametrize("read", [read_masks, partial(read_areas, name_property="name")], ids=["masks", "areas"])
@pytest.mark.parametrize("text", [None, "{", '{"type": "Topology"}', '{"type": "Point", "coordinates": [1, 2]}'])
def test_a_file_that_is_none_is_named(tmp_path, text, read):
    if text:
        (tmp_path / "a.geojson").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"a\.geojson (cannot be|does not exist)") as refused:
        read(tmp_path / "a.geojson")
    assert "GeoJSON" in refused.value.remedy


def test_each_region_gets_the_areas_that_it_holds():
    here, there = area([cell_box(0, 0, 2, 1)]), area([[[20, 10], [20.1, 10], [20.1, 10.1], [20, 10]]], name="b")
    near, far = cells_of_areas([here, there], [GRID, FAR])
    assert (near.keys(), far.keys()) == ({"a"}, {"b"})
    assert near["a"].tolist() == [0, 1]


OFF = 0.001  # of a cell


@pytest.mark.parametrize(
    "corners",
    [
        ((0, 0), (4, 0), (2, 2), (4, 4), (0, 4), (2, 2), (0, 0)),  # touches itself
        ((0, 0), (3, 0), (3, 3), (3, 1), (3, 3), (0, 3), (0, 0)),  # goes back on itself
        ((0, 0), (4, 0), (4, 4), (2 - OFF, 4), (2, 4 + OFF), (2, 4 - OFF), (0, 4), (0, 0)),  # crosses itself in a point
        ((0, 0), (8, OFF), (8, 2 * OFF), (0, OFF), (0, 0)),  # is thin
        ((0, 0), (1, 0), (0, 0), (0, 0)),  # is a line
    ],
)
def test_a_border_as_programs_write_it_is_taken(tmp_path, corners):
    file = written(tmp_path, feature(ring=[cell_box(x, y, x, y)[0] for x, y in corners]))
    assert [one.name for one in read_areas(file, "name")] == ["North"]


@settings(max_examples=60)
@given(st.lists(st.floats(0.02, 1.0), min_size=3, max_size=300), st.floats(0.01, 100))
def test_no_border_that_goes_once_around_a_place_is_taken_for_one_that_crosses_itself(tmp_path_factory, away, wide):
    turn = np.linspace(0, 2 * np.pi, len(away), endpoint=False)
    at = np.stack([-88 + 0.05 * wide * np.cos(turn) * away, 42 + 0.05 * np.sin(turn) * away], axis=1).tolist()
    file = written(tmp_path_factory.mktemp("star"), feature(ring=[*at, at[0]]))
    assert len(read_areas(file, "name")) == 1


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        ([place[::-1] for place in cell_box(0, 0, 2, 2)], "longitude and latitude are exchanged"),
        (cell_box(20, 20, 30, 30), r"longitude.*leave it out.*join it"),
        (cell_box(0.1, 0.1, 0.4, 0.4), r"longitude.*leave it out.*join it"),
    ],
    ids=["exchanged", "elsewhere", "small"],
)
def test_an_area_without_a_cell_is_refused_and_exchanged_coordinates_are_called_so(ring, said):
    with pytest.raises(SettingsError, match=f"'a' holds no centre.*{said}"):
        cells_of_areas([area([ring])], [FAR, GRID])


DEGREES = st.integers(-400, 400).map(lambda steps: steps / 1e4)
PLACES = st.tuples(DEGREES, DEGREES)
RINGS = st.lists(PLACES, min_size=3, max_size=7).map(lambda places: [*places, places[0]])


def turns(ring, place):
    """How often a ring goes around a place; None where the place is on it, or so near that rounding decides."""
    whole = 0.0
    for (x1, y1), (x2, y2) in pairwise((x - place[0], y - place[1]) for x, y in ring):
        if (x1, y1) != (x2, y2):
            angle = atan2(x1 * y2 - y1 * x2, x1 * x2 + y1 * y2)
            if abs(angle) > pi - 1e-6 or not (x1 or y1) or not (x2 or y2):
                return None
            whole += angle
    return round(whole / (2 * pi))


@settings(max_examples=60)
@given(st.lists(RINGS, min_size=1, max_size=3), RINGS, st.lists(PLACES, min_size=1, max_size=30))
def test_a_place_is_masked_where_the_rings_of_a_polygon_go_around_it_an_odd_number_of_times(outlines, hole, places):
    polygons = [[ring, hole] if number == 0 else [ring] for number, ring in enumerate(outlines)]
    masks = Masks("0" * 16, tuple(tuple(np.array(ring) for ring in rings) for rings in polygons))
    held = masks.hold(fixed_places(*np.array(places)[:, ::-1].T))
    for place, is_held in zip(places, held.tolist(), strict=True):
        around = [[turns(ring, place) for ring in rings] for rings in polygons]
        assume(all(number is not None for numbers in around for number in numbers))
        assert is_held == any(sum(numbers) % 2 for numbers in around), place


def test_a_crowd_in_one_mask_is_judged_in_parts_as_each_of_it_alone(monkeypatch):
    masks, places = Masks("0" * 16, ((np.array(box(0.0, 0.0, 2.0, 1.0)),),)), np.arange(-60, 60).reshape(60, 2) * 10**6
    whole = masks.hold(places.astype(np.int32))
    monkeypatch.setattr("schemas.areas._AT_ONCE", 7)
    assert masks.hold(places.astype(np.int32)).tolist() == whole.tolist()
    assert 0 < whole.sum() < len(whole)


def test_a_file_is_named_by_its_bytes_and_without_one_there_is_no_mask(tmp_path):
    file = mask_file(tmp_path / "masks.geojson", box(-88, 41, -87, 42), box(-86, 41, -85, 42))
    masks = read_masks(file)
    assert masks.digest == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert len(masks.polygons) == 2
    assert read_masks(None) is read_masks("") is NO_MASKS


@pytest.mark.parametrize(
    ("ring", "fault"),
    [
        (box(448_123, 41, 448_124, 42), "area 2 of .* is not in degrees"),
        (box(-87.6543, 41, -87, 42)[:-1], "area 2 of .* not closed"),
        ([box(-87.6543, 41, -87, 42)[corner] for corner in (0, 2, 1, 3, 0)], "area 2 of .* crosses itself"),
        ([[-87.6543, "x"]] * 4, "cannot be read"),
        ([[-87.6543, 41]], "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_without_any_coordinate(tmp_path, ring, fault):
    file = mask_file(tmp_path / "masks.geojson", box(-88, 41, -87, 42), ring)
    with pytest.raises(SettingsError, match=fault) as refused:
        read_masks(file)
    assert refused.value.__suppress_context__ or "448" not in str(refused.value.__cause__)
    for number in ("448", "87.6", "41"):
        assert number not in str(refused.value).replace(str(file), "")


def test_other_masks_are_refused_both_ways_with_the_remedy():
    refuse_other_masks("it", "a" * 16, "a" * 16)
    with pytest.raises(ArtifactError, match=r"it counts with masks a{16}, and it is given no masks.*RISK_MASKS"):
        refuse_other_masks("it", "a" * 16, "")
    with pytest.raises(ArtifactError, match=r"it counts with no masks, and it is given masks b{16}"):
        refuse_other_masks("it", "", "b" * 16)
