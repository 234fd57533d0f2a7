"""The decoding stage as Spark calls it, without Spark: a flood of rubbish stays small and loses no place."""

import json

import numpy as np
import pyarrow as pa
import pytest

from schemas.incidents import unpack_rejections
from schemas.records import read_roster
from streaming.artifacts_in_force import refresh_roster
from streaming.flow.intake import PAYLOADS_PER_TASK, decode_stage
from streaming.flow.rows import UNASSIGNED
from tests.harness.toy import toy_artifact, toy_spec

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
