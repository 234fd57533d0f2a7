"""Which incidents lie in a mask, by the angles under which its corners are seen; and no coordinate in an error."""

import hashlib
import json
from itertools import pairwise
from math import atan2, pi

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.areas import NO_MASKS, Masks, read_masks, refuse_other_masks
from schemas.errors import ArtifactError, SettingsError
from schemas.incidents import fixed_places
from tests.harness.masks import box, mask_file

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


def test_a_file_that_is_missing_or_no_collection_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_masks(tmp_path / "none.geojson")
    (tmp_path / "point.geojson").write_text(json.dumps({"type": "Point", "coordinates": [1, 2]}))
    with pytest.raises(SettingsError, match=r"cannot be read.*GeoJSON"):
        read_masks(tmp_path / "point.geojson")


def test_other_masks_are_refused_both_ways_with_the_remedy():
    refuse_other_masks("it", "a" * 16, "a" * 16)
    with pytest.raises(ArtifactError, match=r"it counts with masks a{16}, and it is given no masks.*RISK_MASKS"):
        refuse_other_masks("it", "a" * 16, "")
    with pytest.raises(ArtifactError, match=r"it counts with no masks, and it is given masks b{16}"):
        refuse_other_masks("it", "", "b" * 16)
