"""The decoding stage as Spark calls it, without Spark: a flood of rubbish stays small and loses no place."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.incidents import unpack_rejections
from streaming.flow.decode import decode_stage
from streaming.flow.intake import PAYLOADS_PER_TASK

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
