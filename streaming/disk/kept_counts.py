"""A region's counts at the start of a day, on disk: the archive reads its final days there."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState
from schemas.batches import batches_folder, counts_path
from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors
from schemas.spec import Spec


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    totals: dict[str, int]
    newest_event_s: int
    blobs: dict[str, bytes]


def pack_counts(state: CountState, *, totals: Mapping[str, int], newest_event_s: int) -> bytes:
    """The content of a file of counts."""
    fingerprint, blobs = state.spec.fingerprint(), export_state(state)
    counts = _Counts(fingerprint=fingerprint, totals=dict(totals), newest_event_s=newest_event_s, blobs=blobs)
    return zlib.compress(msgspec.msgpack.encode(counts), 1)


def keep_counts(checkpoint: Path, day: str, region: str, packed: bytes) -> None:
    """Raises CheckpointError when the disk is full."""
    path = counts_path(batches_folder(checkpoint), day, region)
    with write_errors(CheckpointError, path, remedy="free disk space"):
        replace_file(path, packed)


def read_clock(path: Path) -> tuple[int, bool]:
    """(the region's clock when its counts were kept, whether it had any batch before). Raises CheckpointError."""
    counts = _read(path)
    return msgspec.msgpack.decode(counts.blobs["clock"], type=int), bool(counts.totals)


def read_counts(path: Path, spec: Spec) -> tuple[CountState, dict[str, int], int]:
    """(counts, ledger totals, newest event time) as `pack_counts` packed them. Raises CheckpointError."""
    counts = _read(path)
    if counts.fingerprint != spec.fingerprint():
        fault = f"{path} has counts for spec {counts.fingerprint}, not {spec.fingerprint()}"
        raise CheckpointError(fault, remedy="restore the artifact with that spec")
    return restore_state(spec, counts.blobs), counts.totals, counts.newest_event_s


def _read(path: Path) -> _Counts:
    try:
        return msgspec.msgpack.decode(zlib.decompress(path.read_bytes()), type=_Counts)
    except (OSError, zlib.error, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})", remedy="restore it, or choose another day") from error
