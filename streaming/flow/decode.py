"""Stage 1, on the workers: bytes from Kafka -> one packed row per region, and a heartbeat for every region.

The heartbeat is one extra row per batch (from a rate source, see `source.py`). The task that meets it emits an
empty packed row for each region of the roster, so that silent regions tick and new ones join while running, and one
for messages of no region.
"""

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from schemas.decode import Decoded, Messages, decode_messages
from schemas.errors import LedgerUnbalanced
from schemas.incidents import pack_rejections
from schemas.left_behind.roster import Entry
from schemas.masks import NO_MASKS, Masks
from streaming.flow.intake import PAYLOADS_PER_TASK, within
from streaming.flow.ledger import UNASSIGNED
from streaming.flow.rows import PACKED, PackedRow
from streaming.flow.workers import settle_worker
from streaming.roster.roster import spec_of
from streaming.roster.shipped import on_this_worker

HEARTBEAT = -1  # the `partition` of the heartbeat row


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
                rows += heartbeat_rows(roster)
                batch = batch.filter(pa.array(~is_heartbeat))
            if batch.num_rows:
                messages = messages_of(batch)
                now_ms = batch.column("now_ms")[0].as_py()
                decoded = decode_messages(messages, regions, now_ms=now_ms, masks=masks)
                packed, room = packed_rows(decoded, roster, newest_ms=int(messages.kafka_time_ms.max()), room=room)
                if sum(row.consumed for row in packed) != batch.num_rows:
                    raise LedgerUnbalanced(f"of {batch.num_rows} messages some were lost or doubled in decoding")
                rows += packed
            yield pa.RecordBatch.from_pylist([row._asdict() for row in rows], schema=PACKED)

    return decode


def heartbeat_rows(roster: Mapping[str, Entry]) -> Iterator[PackedRow]:
    """An empty row for each region of the roster and one for messages of no region."""
    for region, entry in roster.items():
        yield row_without_messages(region, roster, 0)._replace(challenger=entry.challenger or None, is_heartbeat=True)
    yield row_without_messages(UNASSIGNED, roster, 0)._replace(is_heartbeat=True)


def messages_of(batch: pa.RecordBatch) -> Messages:
    return Messages(
        values=batch.column("value").to_pylist(),
        partition=batch.column("partition").to_numpy(),
        kafka_offset=batch.column("offset").to_numpy(),
        kafka_time_ms=batch.column("time_ms").to_numpy(),
    )


def packed_rows(
    decoded: Decoded, roster: Mapping[str, Entry], *, newest_ms: int, room: int
) -> tuple[list[PackedRow], int]:
    """A row per region that had messages, and how many bytes of payload the task may still keep."""
    rows = []
    for region in sorted({*decoded.incidents, *decoded.rejections}):
        incidents = decoded.incidents.get(region)
        refused, room = within(decoded.rejections.get(region, []), room)
        row = row_without_messages(region, roster, newest_ms)._replace(
            consumed=(0 if incidents is None else len(incidents)) + len(refused),
            incidents=b"" if incidents is None else incidents.pack(),
            rejections=pack_rejections(refused),
        )
        rows.append(row)
    return rows, room


def row_without_messages(region: str, roster: Mapping[str, Entry], newest_ms: int) -> PackedRow:
    """The start of a row of a region, or of UNASSIGNED, to which a task adds what it decoded. It is no heartbeat."""
    return PackedRow(
        region=region,
        artifact=roster[region].folder if region in roster else None,
        challenger=None,
        is_heartbeat=False,
        newest_ms=newest_ms,
        consumed=0,
        incidents=b"",
        rejections=b"",
    )
