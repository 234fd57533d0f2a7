"""Shares of squares inside cells: their geometry, what a reader gets, and files made to do harm."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from models.artifact import FILES, read_artifact, read_manifest
from models.counting.count_state import CountState
from schemas.errors import ArtifactError
from schemas.fine import FINE_FILE, OVER_ALL, FineShares, read_fine, squares_of
from schemas.spec import FINE
from tests.harness.forged_artifact import forge
from tests.harness.toy import publish_artifact, square_bounds, toy_constants, toy_grid, toy_network, toy_spec

SPEC = toy_spec(2, 3, answered_by=("fire", "ems"), fine=2)
ROWS = {
    "cell": np.array([1, 1, 4], np.int32),
    "category": np.array([OVER_ALL, 1, OVER_ALL], np.int16),
    "share": np.array([[0.5, 0.25, 0.125, 0.125], [0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]], np.float16),
}


@pytest.fixture
def squared(tmp_path):
    """The folder of an artifact with ROWS."""
    history = CountState(SPEC)
    history.advance(1_700_000_000)
    parts = {"constants": toy_constants(SPEC), "network": toy_network(SPEC), "history": history}
    return publish_artifact(tmp_path, spec=SPEC, fine=FineShares(grid=SPEC.grid, fine=SPEC.fine, **ROWS), **parts)


@settings(max_examples=60, deadline=None)
@given(
    fine=st.sampled_from(FINE),
    south_deg=st.floats(-60, 60),
    west_deg=st.floats(-179, 178),
    cell_m=st.floats(800, 5000),
    parts=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)), min_size=1),
)
def test_each_place_lies_in_the_bounds_of_its_square_and_squares_tile_their_cell(
    fine, south_deg, west_deg, cell_m, parts
):
    grid = toy_grid(3, 4, south_deg=south_deg, west_deg=west_deg, cell_m=cell_m)
    (lat_edges, lon_edges), places = grid.corners(), np.array(parts)
    lat, lon = (e[0] + of * (e[-1] - e[0]) for e, of in zip((lat_edges, lon_edges), places.T, strict=True))
    cell, inside = grid.locate(lat, lon)
    cell, lat, lon = cell[inside], lat[inside], lon[inside]
    square = squares_of(grid, fine, cell, lat, lon)
    for at in range(len(cell)):
        south, west, north, east = square_bounds(grid, fine, int(cell[at]), int(square[at]))
        assert south <= lat[at] < north
        assert west <= lon[at] < east
    bounds = [square_bounds(grid, fine, 5, square) for square in range(fine**2)]
    (west, south), _, (east, north), *_ = grid.polygon(5)
    assert (bounds[0][:2], bounds[-1][2:]) == ((south, west), (north, east))
    for number, (south, west, north, east) in enumerate(bounds):
        assert south < north
        assert west < east
        assert number % fine == fine - 1 or bounds[number + 1][1] == east
        assert number // fine == fine - 1 or bounds[number + fine][0] == north


def test_a_category_has_its_own_shares_or_those_over_all_or_even_ones(squared):
    for shares in (read_artifact(squared).fine, read_fine(squared)):
        over_all, fire, ems = (shares.of_category(category) for category in (OVER_ALL, 0, 1))
        np.testing.assert_array_equal(over_all, fire)
        np.testing.assert_allclose(fire[[1, 4]], ROWS["share"][[0, 2]], atol=1e-3)
        np.testing.assert_allclose(ems[[1, 4]], ROWS["share"][[1, 2]], atol=1e-3)
        np.testing.assert_array_equal(ems[[0, 2, 3, 5]], np.full((4, 4), 0.25))
        np.testing.assert_allclose(ems.sum(axis=1), 1, atol=1e-6)
    assert read_manifest(squared).files[FINE_FILE].size_bytes < 500


def test_in_squares_each_category_is_parted_by_its_own_shares_and_added_up():
    shares = FineShares(grid=SPEC.grid, fine=SPEC.fine, **ROWS)
    means = np.arange(24, dtype=np.float32).reshape(2, 6, 2)  # of cell 1: fire 2, ems 3, and in the second 14 and 15
    both, ems = (shares.in_squares(means, np.array([1, 5], np.int32), which) for which in ([0, 1], [1]))
    assert (both.shape, both.dtype) == ((2, 2, 4), np.float32)
    np.testing.assert_allclose(ems[:, 0], np.multiply.outer([3, 15], [0.7, 0.1, 0.1, 0.1]), rtol=2e-3)
    np.testing.assert_allclose(both[:, 0] - ems[:, 0], np.multiply.outer([2, 14], ROWS["share"][0]), rtol=2e-3)
    np.testing.assert_array_equal(both[:, 1], np.repeat([[21 / 4], [45 / 4]], 4, axis=1))  # without a row: evenly


def test_shares_are_read_without_torch_or_scipy():
    program = "import schemas.fine, sys; assert not {'torch', 'scipy', 'models'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def changed(**arrays):
    """ROWS with some exchanged; None: left out."""
    return save({name: array for name, array in {**ROWS, **arrays}.items() if array is not None})


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be used"),
        (b"\xff" * 40, "cannot be used"),
        (changed(cell=None), "no shares of 2 x 2"),
        (changed(more=ROWS["cell"]), "no shares of 2 x 2"),
        (changed(share=ROWS["share"].astype(np.float32)), "no shares of 2 x 2"),
        (changed(share=np.full((3, 9), 1 / 9, np.float16)), "no shares of 2 x 2"),
        (changed(share=np.zeros((), np.float16)), "no shares of 2 x 2"),
        (changed(cell=np.array([1, 1, 6], np.int32)), "no shares of the spec's cells"),
        (changed(cell=np.array([-1, 1, 4], np.int32)), "no shares of the spec's cells"),
        (changed(cell=np.array([4, 1, 1], np.int32)), "no shares of the spec's cells"),
        (changed(category=np.array([OVER_ALL, OVER_ALL, 1], np.int16)), "no shares of the spec's cells"),
        (changed(category=np.array([OVER_ALL, 2, OVER_ALL], np.int16)), "no shares of the spec's cells"),
        (changed(category=np.array([-2, 1, OVER_ALL], np.int16)), "no shares of the spec's cells"),
        (changed(share=ROWS["share"] * np.float16(1.1)), "no shares of the spec's cells"),
        (changed(share=ROWS["share"] * np.float16(np.nan)), "no shares of the spec's cells"),
        (changed(share=np.array([[1.5, -0.5, 0, 0]] * 3, np.float16)), "no shares of the spec's cells"),
        (changed(share=np.array([[1.0, 0, 0, 0]] * 3, np.float16)), "no shares of the spec's cells"),
    ],
)
def test_a_file_of_shares_that_no_training_gives_is_refused_by_both_readers(squared, content, said):
    folder = forge(squared, fine__safetensors=content)
    for reader in (read_artifact, read_fine):
        with pytest.raises(ArtifactError, match=said):
            reader(folder)


@pytest.mark.fault("F28")
def test_shares_come_with_a_spec_that_asks_for_them_and_are_those_of_its_manifest(squared, artifact_copy):
    whole = (squared / FINE_FILE).read_bytes()
    for content, said in ((whole[:-1] + b"\0", "damaged"), (bytes(17 * 1024 * 1024), "larger than|damaged")):
        (squared / FINE_FILE).write_bytes(content)
        for reader in (read_artifact, read_fine):
            with pytest.raises(ArtifactError, match=said):
                reader(squared)
    (squared / FINE_FILE).unlink()
    with pytest.raises(ArtifactError, match="spec without it"):
        read_artifact(squared)
    assert read_fine(artifact_copy) is None
    assert sorted(read_manifest(artifact_copy).files) == sorted(FILES)
    (artifact_copy / FINE_FILE).write_bytes(whole)
    with pytest.raises(ArtifactError, match="without its spec"):
        read_artifact(artifact_copy)
    with pytest.raises(ArtifactError, match="lists files"):
        read_artifact(forge(artifact_copy, fine__safetensors=whole))
