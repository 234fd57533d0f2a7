"""Stage 1, on the workers: bytes from Kafka -> one packed row per region; and what becomes of each message.

A message is refused for its content in schemas/decode.py, where its own times are content too: it may be late or ahead
of its arrival. For its region's clock it is refused when it is counted: `apply` of models/counting/count_state.py
decides, `take_in` here gives the reason. The stream and `check` both use `take_in`, so the two agree.

The heartbeat is one extra row per batch (from a rate source, see `dataflow.py`). The task that meets it emits an
empty packed row for each region of the roster, so that silent regions tick and new ones join while running, and one
for messages of no region.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from models.counting.count_state import Applied, CountState
from schemas.areas import NO_MASKS, Masks
from schemas.decode import Messages, decode_messages
from schemas.errors import LedgerUnbalanced
from schemas.event import Reason
from schemas.incidents import Incidents, Rejection, pack_rejections
from schemas.limits import MIB
from schemas.records import Entry
from streaming.artifacts_in_force import spec_of
from streaming.flow.rows import UNASSIGNED, PackedRow, arrow_fields, balanced_ledger
from streaming.flow.workers import on_this_worker, settle_worker

HEARTBEAT = -1  # the `partition` of the heartbeat row
# A batch has at most as many tasks as there are cores (dataflow.py), so partitions of the topic share a task. All
# refused messages of a batch meet in one worker and in the driver: without a limit a flood of invalid messages
# (1.6 million x 8 KiB) would end the job, and again at every start.
PAYLOADS_PER_TASK = 4 * MIB
_PACKED = pa.schema(arrow_fields(PackedRow))


def decode_stage(
    read_roster: Callable[[], Mapping[str, Entry]], masks: Masks = NO_MASKS
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`: (value, partition, offset, time_ms, now_ms) -> packed rows.

    The masks reach the workers inside the function: Spark keeps it in memory, and in a temporary file when it is
    large, but not in its checkpoint.
    """

    def decode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        settle_worker()
        roster = read_roster()
        regions = {region: spec_of(on_this_worker(entry.folder)) for region, entry in roster.items()}
        room = PAYLOADS_PER_TASK
        for batch in batches:
            rows: list[PackedRow] = []
            is_heartbeat = batch.column("partition").to_numpy() == HEARTBEAT
            if is_heartbeat.any():
                for region, entry in roster.items():
                    rows.append(PackedRow(region, entry.folder, entry.challenger or None, is_heartbeat=True))
                rows.append(PackedRow(UNASSIGNED, is_heartbeat=True))
                batch = batch.filter(pa.array(~is_heartbeat))
            if batch.num_rows:
                value = batch.column("value")
                ends = np.frombuffer(value.buffers()[1], np.int32)[value.offset : value.offset + len(value) + 1]
                messages = Messages(
                    data=value.buffers()[2].slice(ends[0], ends[-1] - ends[0]).to_pybytes(),
                    ends=(ends - ends[0]).astype(np.int64),
                    missing=value.is_null().to_numpy(zero_copy_only=False),
                    partition=batch.column("partition").to_numpy(),
                    kafka_offset=batch.column("offset").to_numpy(),
                    kafka_time_ms=batch.column("time_ms").to_numpy(),
                )
                now_ms = batch.column("now_ms")[0].as_py()
                decoded = decode_messages(messages, regions, now_ms=now_ms, masks=masks)
                newest_ms = int(messages.kafka_time_ms.max())
                for region in sorted({*decoded.incidents, *decoded.rejections}):
                    incidents = decoded.incidents.get(region)
                    refused, room = within(decoded.rejections.get(region, []), room)
                    row = PackedRow(
                        region,
                        roster[region].folder if region in roster else None,
                        newest_ms=newest_ms,
                        consumed=(0 if incidents is None else len(incidents)) + len(refused),
                        incidents=b"" if incidents is None else incidents.pack(),
                        rejections=pack_rejections(refused),
                    )
                    rows.append(row)
                if sum(row.consumed for row in rows) != batch.num_rows:
                    raise LedgerUnbalanced(f"of {batch.num_rows} messages some were lost or doubled in decoding")
            yield pa.RecordBatch.from_pylist([row._asdict() for row in rows], schema=_PACKED)

    return decode


def within(refused: Sequence[Rejection], room: int) -> tuple[list[Rejection], int]:
    """The rejections, without the payloads for which `room` bytes are not enough, and the room that is left."""
    within_room = []
    for rejection in refused:
        size = len(rejection.payload or b"")
        if size > room:
            within_room.append(msgspec.structs.replace(rejection, payload=None))
        else:
            within_room.append(rejection)
            room -= size
    return within_room, room


def take_in(
    state: CountState, incidents: Incidents, refused: Sequence[Rejection], *, as_of_s: int, consumed: int
) -> tuple[Applied, list[Rejection], dict[str, int]]:
    """Count a region's batch in `state`: (what was applied, rejections by content and by the clock, the ledger).

    refused: by the decoder, for their content. Raises LedgerUnbalanced.
    """
    applied, rejections = state.apply(incidents, as_of_s), list(refused)
    by_clock: tuple[tuple[Reason, str, Any], ...] = (
        ("future", "ahead of the region's clock", applied.ahead_of_clock),
        ("late", "older than the time that incidents are remembered", applied.older_than_memory),
    )
    for reason, detail, where in by_clock:
        rejections += [Rejection.at(incidents, index, reason, detail) for index in np.asarray(where).tolist()]
    return applied, rejections, balanced_ledger(consumed, applied.outcomes, rejections)
