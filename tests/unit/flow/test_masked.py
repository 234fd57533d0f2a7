"""Incidents in a mask: they come and go without a count, and what the job stores has no coordinate of the mask."""

import struct

import pytest

from models.counting.count_state import CountState
from schemas.areas import read_masks
from schemas.decode import decode_messages
from schemas.errors import ArtifactError
from schemas.incidents import NO_PLACE
from streaming.batch_files import FrameWatch
from streaming.flow.intake import take_in
from tests.harness.batch import Rows, publisher_to, scored_row
from tests.harness.masks import box, mask_file
from tests.harness.memory_sink import MemorySink
from tests.harness.region_bench import MIDDLE, NOW, Bench
from tests.harness.toy import toy_artifact, toy_event, toy_grid, toy_messages, toy_spec

GRID = toy_grid(4, 6)
WEST, SOUTH, EAST, NORTH = (-86.9718291, 41.0187291, -86.9649287, 41.0248293)  # within the cell MIDDLE
IN, OUT = {"lat": 41.0221937, "lon": -86.9684713}, {"lat": 41.0181, "lon": -86.9719}


@pytest.fixture
def masks(tmp_path):
    return read_masks(mask_file(tmp_path / "masks.geojson", box(WEST, SOUTH, EAST, NORTH)))


@pytest.fixture
def spec(masks):
    return toy_spec(grid=GRID, masked=masks.digest, merge="repeated_calls")


def outcomes(spec, masks, *places):
    """What each revision of an incident at these places does, and how many then count in its cell."""
    state, seen = CountState(spec), []
    state.advance(NOW)
    for revision, place in enumerate(places):
        event = toy_event(spec, at_s=NOW, cell=MIDDLE, revision=revision, **place)
        incidents = decode_messages(toy_messages([event], NOW * 1000), {spec.region: spec}, masks=masks).incidents
        _, _, ledger = take_in(state, incidents[spec.region], [], as_of_s=NOW, consumed=1)
        counted = int(state.shape(state.levels["pane"].sum_of_newest(2))[MIDDLE].sum())
        seen.append((next(name for name, count in ledger.items() if count and name != "consumed"), counted))
    return seen


def test_an_incident_in_a_mask_counts_as_long_as_no_revision_is_outside(spec, masks):
    gone = {**OUT, "status": "cancelled"}
    assert outcomes(spec, masks, IN) == [("excluded", 0)]
    assert outcomes(spec, masks, OUT, gone) == [("counted", 1), ("corrected", 0)]
    assert outcomes(spec, masks, OUT, IN, OUT) == [("counted", 1), ("excluded", 0), ("corrected", 1)]
    assert outcomes(spec, masks, IN, OUT, IN) == [("excluded", 0), ("corrected", 1), ("excluded", 0)]


def test_an_incident_in_a_mask_keeps_no_place(spec, masks):
    events = [toy_event(spec, at_s=NOW, cell=MIDDLE, incident_id=name, **at) for name, at in (("a", IN), ("b", OUT))]
    incidents = decode_messages(toy_messages(events, NOW * 1000), {spec.region: spec}, masks=masks).incidents
    assert (incidents[spec.region].place == NO_PLACE).all(axis=1).tolist() == [True, False]
    assert incidents[spec.region].cell.tolist() == [MIDDLE, MIDDLE]


def test_a_spec_is_not_decoded_by_other_masks(spec):
    event = toy_event(spec, at_s=NOW, cell=MIDDLE)
    with pytest.raises(ArtifactError, match=f"counts with masks {spec.masked}, and it is given no masks"):
        decode_messages(toy_messages([event], NOW * 1000), {spec.region: spec})


def forms(value):
    """How a coordinate may stand in a file: as a text, a float or a whole number of steps, of all of its digits."""
    steps, text = round(value * 1e7), f"{value:.7f}"
    return [text.encode(), text[:-2].encode(), str(steps).encode(), struct.pack("<d", value), struct.pack("<i", steps)]


def test_no_coordinate_of_a_mask_is_in_artifact_state_roster_frame_or_line_protocol(tmp_path, spec, masks):
    folder, store = tmp_path / "job", MemorySink()
    bench = Bench(folder, masks=masks)
    artifact = toy_artifact(bench.artifacts, spec, cutoff_s=NOW - 3600)
    bench.look()
    events = [toy_event(spec, at_s=NOW, cell=MIDDLE, incident_id=name, **at) for name, at in (("a", IN), ("b", OUT))]
    summary = bench.batch(NOW, *events)[spec.region][1]
    assert (summary.ledger["counted"], summary.ledger["excluded"]) == (1, 1)
    watch = FrameWatch(folder=folder / "frames", clock="wall")
    publisher_to(store, folder / "checkpoint", watchers=[watch.show])(Rows(scored_row(artifact, NOW)), 0)
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert {path.parent.name for path in folder.rglob("*.json")} >= {"job", artifact.name}
    contents += [*store.writes, *(bytes(part) for part in packed_parts(bench.stored(spec.region)))]
    assert any(masks.digest.encode() in content for content in contents)
    hidden = [WEST, SOUTH, EAST, NORTH, *IN.values()]
    assert not [value for value in hidden for form in forms(value) for content in contents if form in content]


def packed_parts(value):
    """All bytes in a nest of tuples and dicts."""
    if isinstance(value, bytes | bytearray):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from packed_parts(pair)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from packed_parts(each)
