"""What becomes of a batch's messages without Spark: decoded, packed, masked, refused, and booked in the ledger."""

import json
import struct
from itertools import permutations

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql.streaming.tws_tester import TwsTester

from models.counting.count_state import CountState
from schemas.areas import read_masks
from schemas.decode import decode_messages
from schemas.errors import ArtifactError, LedgerUnbalanced
from schemas.incidents import NO_PLACE, Rejection, pack_rejections, unpack_rejections
from schemas.records import read_roster
from schemas.spec import DAY_S
from streaming.artifacts_in_force import refresh_roster
from streaming.flow.count import RegionCounter, artifact_in_force, unpacked
from streaming.flow.dataflow import facts_of
from streaming.flow.intake import PAYLOADS_PER_TASK, decode_stage, take_in, within
from streaming.flow.rows import (
    UNASSIGNED,
    PackedRow,
    QueryFacts,
    Summary,
    add_up,
    balanced_ledger,
    is_balanced,
    tick_of,
)
from streaming.watchers import FrameWatch
from tests.harness.batch import MemorySink, Rows, publisher_to, scored_row
from tests.harness.region_bench import MIDDLE, NOW, Bench
from tests.harness.toy import CUTOFF_S, box, iso, mask_file, toy_artifact, toy_event, toy_grid, toy_messages, toy_spec


def test_what_the_clock_refuses_is_told_with_its_reason_beside_what_counts_and_what_the_decoder_refused():
    spec = toy_spec()
    times_s = {"counts": CUTOFF_S, "future": CUTOFF_S + spec.future_limit_s + 1, "late": CUTOFF_S - 9 * DAY_S}
    events = [
        toy_event(spec, at_s=at_s, cell=0, incident_id=name, received_at=iso(at_s)) for name, at_s in times_s.items()
    ]
    messages = toy_messages(events, times_s["future"] * 1000, partition=2, offset=[4, 5, 6])
    decoded = decode_messages(messages, {spec.region: spec})
    of_the_decoder = Rejection("schema", "no event", 0, 3, 0)
    incidents = decoded.incidents[spec.region]
    applied, rejections, ledger = take_in(CountState(spec), incidents, [of_the_decoder], as_of_s=CUTOFF_S, consumed=4)
    assert [(rejection.kafka_offset, rejection.reason, rejection.detail) for rejection in rejections] == [
        (3, "schema", "no event"),
        (5, "future", "ahead of the region's clock"),
        (6, "late", "older than the time that incidents are remembered"),
    ]
    assert {(one.partition, one.kafka_time_ms) for one in rejections[1:]} == {(2, times_s["future"] * 1000)}
    reasons = dict.fromkeys(("rejected_schema", "rejected_future", "rejected_late"), 1)
    none = {"corrected": 0, "duplicate": 0, "repeated": 0, "excluded": 0}
    assert ledger == {"consumed": 4, "counted": 1, **none, "rejected": 3, **reasons}
    assert applied.newest_counted_s == CUTOFF_S


@pytest.mark.parametrize(("room", "kept", "left"), [(0, "", 0), (1, "a", 0), (2, "ac", 0), (3, "ab", 0), (4, "abc", 0)])
def test_payloads_are_kept_up_to_the_last_byte_of_the_room_that_there_is(room, kept, left):
    """Every message keeps its place and reason; only its bytes are left out."""
    payloads = {"a": b"1", "b": b"22", "c": b"1"}
    refused = [Rejection("not_json", name, 0, 7, 0, payload) for name, payload in payloads.items()]
    taken, rest = within(refused, room)
    assert [one.detail for one in taken] == list(payloads)
    assert {one.detail: one.payload for one in taken if one.payload} == {name: payloads[name] for name in kept}
    assert rest == left


MESSAGE = b"x" * 8_000
MESSAGES, PER_BATCH = 1_000, 250


def record_batch(first, count):
    return pa.RecordBatch.from_pydict(
        {
            "value": [MESSAGE] * count,
            "partition": np.zeros(count, np.int32),
            "offset": np.arange(first, first + count, dtype=np.int64),
            "time_ms": np.full(count, 1_764_000_000_000),
            "now_ms": np.full(count, 1_764_000_000_000),
        }
    )


def test_a_region_whose_messages_were_all_refused_has_a_row_of_its_own_and_the_newest_time(tmp_path):
    spec = toy_spec(2, 2)
    refresh_roster(tmp_path / "roster.json", toy_artifact(tmp_path / "artifacts", spec).parents[1])
    bad = [json.dumps({"region": spec.region, "lat": place}).encode() for place in ("north", "south")]
    values, times_ms = [b"x", *bad], [1_764_000_000_000, 1_764_000_009_000, 1_764_000_003_000]
    batch = record_batch(0, 3).set_column(0, "value", pa.array(values)).set_column(3, "time_ms", pa.array(times_ms))
    stage = decode_stage(lambda: read_roster(tmp_path / "roster.json"))
    rows = {row["region"]: row for row in pa.Table.from_batches(stage([batch])).to_pylist()}
    assert {region: row["consumed"] for region, row in rows.items()} == {UNASSIGNED: 1, spec.region: 2}
    assert {row["newest_ms"] for row in rows.values()} == {max(times_ms)}
    assert [refusal.kafka_offset for refusal in unpack_rejections(rows[spec.region]["rejections"])] == [1, 2]


@pytest.mark.fault("F13")
def test_a_flood_of_rubbish_keeps_every_place_and_no_more_payload_than_a_task_may():
    stage = decode_stage(dict)
    batches = (record_batch(first, PER_BATCH) for first in range(0, MESSAGES, PER_BATCH))
    packed = pa.Table.from_batches(stage(batches)).to_pylist()
    rejections = [refusal for row in packed for refusal in unpack_rejections(row["rejections"])]
    assert [refusal.kafka_offset for refusal in rejections] == list(range(MESSAGES))
    assert {refusal.reason for refusal in rejections} == {"not_json"}
    kept = [refusal.payload for refusal in rejections if refusal.payload is not None]
    assert kept == [MESSAGE] * (PAYLOADS_PER_TASK // len(MESSAGE))
    assert sum(len(row["rejections"]) for row in packed) < PAYLOADS_PER_TASK + 200 * MESSAGES


SPEC = toy_spec()
OLD, NEW = (f"/artifacts/riverton/2026112{day}T000000Z-0a1b2c3d" for day in range(2))


def row(**changes):
    return PackedRow(**{"region": SPEC.region, "artifact": OLD, **changes})


def batch(*rows):
    return pd.DataFrame(rows, columns=PackedRow._fields)


def incidents(*offsets):
    events = [toy_event(SPEC, at_s=CUTOFF_S + at, cell=0, received_at=iso(CUTOFF_S + at)) for at in offsets]
    messages = toy_messages(events, (CUTOFF_S + 90) * 1000, offset=[*offsets])
    return decode_messages(messages, {SPEC.region: SPEC}).incidents[SPEC.region].pack()


def refusals(*offsets):
    return [Rejection("schema", "no event", 0, offset, 7) for offset in offsets]


def test_what_several_tasks_found_is_together():
    rows = [
        row(consumed=3, incidents=incidents(5, 6), rejections=pack_rejections(refusals(7))),
        row(consumed=3, incidents=incidents(1, 2), rejections=pack_rejections(refusals(3))),
        row(is_heartbeat=True),
    ]
    for order in permutations(rows):
        consumed, together, refused = unpacked(batch(*order))
        assert consumed == 6
        assert sorted(together.kafka_offset.tolist()) == [1, 2, 5, 6]
        assert sorted(one.kafka_offset for one in refused) == [3, 7]


@pytest.mark.parametrize(
    ("heartbeats", "of_messages", "in_force"),
    [
        ([], [OLD], OLD),  # a region that joins
        ([], [NEW, OLD], NEW),
        ([OLD], [NEW], OLD),  # a task has seen the roster of after the heartbeat
        ([NEW], [OLD, OLD], NEW),
        ([NEW], [], NEW),
    ],
)
def test_the_heartbeat_says_which_artifact_scores_and_without_one_the_messages(heartbeats, of_messages, in_force):
    rows = [row(artifact=folder, is_heartbeat=True) for folder in heartbeats]
    rows += [row(artifact=folder, consumed=1) for folder in of_messages]
    assert artifact_in_force(batch(*rows)) == in_force
    assert artifact_in_force(batch(*reversed(rows))) == in_force


def test_the_events_clock_of_messages_of_no_region_is_the_newest_of_all_tasks():
    tester = TwsTester(RegionCounter("event"), timeMode="ProcessingTime", outputMode="Update")
    tester.setProcessingTime(90_000)
    counts = {"artifact": None, "consumed": 1}
    rows = [row(**counts, newest_ms=at_ms, rejections=pack_rejections(refusals(at_ms))) for at_ms in (40_000, 30_000)]
    (summary,) = tester.testInPandas(UNASSIGNED, batch(*rows))["summary"]
    assert msgspec.msgpack.decode(summary, type=Summary).as_of_s == 40


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


def test_an_incident_in_a_mask_keeps_no_place_and_its_spec_is_not_decoded_by_other_masks(spec, masks):
    events = [toy_event(spec, at_s=NOW, cell=MIDDLE, incident_id=name, **at) for name, at in (("a", IN), ("b", OUT))]
    messages = toy_messages(events, NOW * 1000)
    incidents = decode_messages(messages, {spec.region: spec}, masks=masks).incidents[spec.region]
    assert (incidents.place == NO_PLACE).all(axis=1).tolist() == [True, False]
    assert incidents.cell.tolist() == [MIDDLE, MIDDLE]
    with pytest.raises(ArtifactError, match=f"counts with masks {spec.masked}, and it is given no masks"):
        decode_messages(messages, {spec.region: spec})


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
    watch = FrameWatch(folder=folder / "frames", clock="wall", artifacts=folder / "frames")
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


OUTCOMES = {"counted": 5, "corrected": 4, "duplicate": 3, "repeated": 1, "excluded": 2}


def refused(*reasons):
    return [Rejection(reason, "", 0, offset, 0) for offset, reason in enumerate(reasons)]


@pytest.mark.parametrize("consumed", [14, 16])
def test_a_batch_that_lost_or_doubled_a_message_is_not_written(consumed):
    with pytest.raises(LedgerUnbalanced, match=f"'consumed': {consumed}.*do not add up.*please report this"):
        balanced_ledger(consumed, OUTCOMES, [])
    ledger = balanced_ledger(
        consumed + 3, {**OUTCOMES, "counted": OUTCOMES["counted"] + consumed - 15}, refused(*"aba")
    )
    assert (ledger["consumed"], ledger["rejected"], ledger["rejected_a"], ledger["rejected_b"]) == (
        consumed + 3,
        3,
        2,
        1,
    )


@pytest.mark.parametrize("name", ["consumed", *OUTCOMES, "rejected"])
def test_each_outcome_weighs_in_the_balance(name):
    ledger = {"consumed": 16, **OUTCOMES, "rejected": 1}
    assert is_balanced(ledger)
    assert not is_balanced({**ledger, name: ledger[name] + 1})
    assert not is_balanced({other: count for other, count in ledger.items() if other != name})


def test_totals_have_what_came_before_and_a_tick_begins_at_a_whole_one_of_the_regions_or_minutes():
    now, before = {"consumed": 5, "rejected_late": 1}, {"consumed": 2, "rejected_schema": 3}
    assert add_up(now, before) == {"consumed": 7, "rejected_late": 1, "rejected_schema": 3}
    assert [tick_of(at_s, None) for at_s in (0, 59, 60, 61, 121)] == [0, 0, 60, 60, 120]
    assert [tick_of(at_s, toy_spec(tick_s=300)) for at_s in (299, 300, 601)] == [0, 300, 600]


class Query:
    def __init__(self, progress):
        self.lastProgress = progress


def progress_of(end, latest):
    """As Spark 4.2 reports a batch of two sources, Kafka the second one."""
    rate = {"description": "RatePerMicroBatchV2[...]", "endOffset": {"offset": 5}, "latestOffset": {"offset": 9}}
    kafka = {"description": "KafkaV2[Subscribe[incidents.v1]]", "endOffset": end, "latestOffset": latest}
    return {
        "sources": [rate, kafka],
        "stateOperators": [{"memoryUsedBytes": 1000}, {"memoryUsedBytes": 24}],
        "inputRowsPerSecond": 12.5,
        "processedRowsPerSecond": 80.0,
        "durationMs": {"addBatch": 250, "walCommit": 5},
    }


TOPIC_END, READ = {"incidents.v1": {"0": 1500, "1": 700}}, {"incidents.v1": {"0": 1400, "1": 690}}


@pytest.mark.parametrize("written", [lambda offsets: offsets, json.dumps], ids=["as objects", "as text"])
@pytest.mark.parametrize(
    ("end", "latest", "lag"),
    [
        (READ, TOPIC_END, 110),
        (TOPIC_END, TOPIC_END, 0),
        (READ, {"incidents.v1": {"0": 1500, "1": 700, "2": 40}}, 150),  # a partition that was added
        (READ, None, 0),  # a batch that is repeated after a crash has no latest offset
        (TOPIC_END, READ, 0),  # never below zero
    ],
)
def test_a_job_that_falls_behind_reports_what_it_has_not_read(end, latest, lag, written):
    assert facts_of(Query(progress_of(written(end), written(latest)))).lag_events == lag


def test_state_rates_and_phases_are_those_of_the_batch_and_before_the_first_nothing_is_reported():
    facts = facts_of(Query(progress_of(READ, TOPIC_END)))
    assert (facts.state_bytes, facts.input_rows_per_s, facts.processed_rows_per_s) == (1024, 12.5, 80)
    assert facts.phases_s == {"addBatch": 0.25, "walCommit": 0.005}
    assert facts_of(Query(None)) == QueryFacts()
