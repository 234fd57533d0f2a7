"""Stage 1, on the workers: bytes from Kafka -> one packed row per region, and a heartbeat for every region.

The heartbeat is one extra row per batch (from a rate source, see `source.py`). The task that meets it emits an
empty packed row for each region of the roster, so that silent regions tick and new ones join while running, and one
for messages of no region.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from schemas.decode import Messages, decode_messages
from schemas.errors import LedgerUnbalanced
from schemas.incidents import Rejection, pack_rejections
from schemas.limits import MIB
from streaming.flow.ledger import UNASSIGNED
from streaming.flow.workers import settle_worker
from streaming.roster.roster import read_roster, vocabulary

HEARTBEAT = -1  # the `partition` of the heartbeat row
# A batch has at most as many tasks as there are cores (source.py), so partitions of the topic share one. All refused
# messages of a batch meet in one worker and in the driver, so a flood of rubbish (1.6 million x 8 KiB) would end the
# job, again at every start.
PAYLOADS_PER_TASK = 4 * MIB
PACKED_DDL = (
    "region string, artifact string, heartbeat boolean, newest_ms bigint, consumed bigint, "
    "incidents binary, rejections binary"
)
_PACKED = pa.schema(
    [
        ("region", pa.string()),
        ("artifact", pa.string()),
        ("heartbeat", pa.bool_()),
        ("newest_ms", pa.int64()),
        ("consumed", pa.int64()),
        ("incidents", pa.binary()),
        ("rejections", pa.binary()),
    ]
)


def decode_stage(roster_path: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`: (value, partition, offset, time_ms, now_ms) -> packed rows."""

    def decode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        settle_worker()
        roster = read_roster(Path(roster_path))
        regions = {region: vocabulary(entry.folder) for region, entry in roster.items()}
        room = PAYLOADS_PER_TASK
        for batch in batches:
            partition = batch.column("partition").to_numpy()
            rows: list[tuple[str, str | None, bool, int, int, bytes, bytes]] = []
            if (partition == HEARTBEAT).any():
                beating = {region: entry.folder for region, entry in roster.items()} | {UNASSIGNED: None}
                rows += [(region, folder, True, 0, 0, b"", b"") for region, folder in beating.items()]
                batch = batch.filter(pa.array(partition != HEARTBEAT))
                partition = partition[partition != HEARTBEAT]
            if batch.num_rows:
                time_ms = batch.column("time_ms").to_numpy()
                messages = Messages(
                    values=batch.column("value").to_pylist(),
                    partition=partition,
                    kafka_offset=batch.column("offset").to_numpy(),
                    kafka_time_ms=time_ms,
                )
                decoded = decode_messages(messages, regions, now_ms=batch.column("now_ms")[0].as_py())
                newest_ms = int(time_ms.max())
                for region in sorted({*decoded.incidents, *decoded.rejections}):
                    incidents = decoded.incidents.get(region)
                    refused, room = within(decoded.rejections.get(region, []), room)
                    rows.append(
                        (
                            region,
                            roster[region].folder if region in roster else None,
                            False,
                            newest_ms,
                            (0 if incidents is None else len(incidents)) + len(refused),
                            b"" if incidents is None else incidents.pack(),
                            pack_rejections(refused) if refused else b"",
                        )
                    )
                if sum(row[4] for row in rows) != batch.num_rows:
                    raise LedgerUnbalanced(f"of {batch.num_rows} messages some were lost or doubled in decoding")
            columns = list(zip(*rows, strict=True)) if rows else [()] * len(_PACKED)
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, field.type) for column, field in zip(columns, _PACKED, strict=True)], schema=_PACKED
            )

    return decode


def within(refused: Sequence[Rejection], room: int) -> tuple[list[Rejection], int]:
    """The rejections, without the payloads for which `room` bytes are not enough, and the room that is left."""
    kept = []
    for one in refused:
        size = len(one.payload or b"")
        if size > room:
            kept.append(msgspec.structs.replace(one, payload=None))
        else:
            kept.append(one)
            room -= size
    return kept, room
