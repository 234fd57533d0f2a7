"""The counts behind a region's newest frame, as a file beside it: for those who compute with them again.

    <frames>/chicago.counts    records, each after its length and its hash: first all counts, then what each batch moved

The worker that counts makes the records, the driver writes them: their disks may be those of different machines. Every
hour, and when there is much to add, the file begins again, so that one that could not be written is soon there again.

No ids, no coordinates, and no time finer than a pane of the counts. A record names the digest of the counts before and
after it; a frame names the digest that it was computed from. So records of a batch that was tried twice do no harm.
`counts_at` trusts nothing in the file.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState, Moves
from schemas.errors import SinkError
from schemas.files import replace_file
from schemas.limits import MAX_FRAME_BYTES, MIB
from schemas.spec import Spec

SUFFIX = ".counts"
_MOST_MOVES = 50_000  # of a batch; a job that catches up leaves the file behind until its batches are small again
_MOST_BYTES = 16 * MIB  # of the records after the first
_HEAD = struct.Struct("<I16s")  # length and hash of the body


class _All(msgspec.Struct, frozen=True, tag="all"):
    fingerprint: str
    digest: int
    blobs: bytes  # compressed


class _Moved(msgspec.Struct, frozen=True, tag="moved"):
    before: int  # digest
    digest: int
    as_of_s: int
    slots: dict[int, bytes]  # by sign: numbers of the panes, little-endian int64
    places: dict[int, bytes]  # by sign: little-endian int32


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsAt:
    """Counts without a registry, and the digest that names them."""

    state: CountState
    digest: int


@dataclass(slots=True)
class CountsRecords:
    """Makes a region's records, batch by batch, in the worker that counts."""

    is_begun: bool = False  # the file has all counts, and every batch since
    _bytes: int = 0  # of the records after the first

    def begin(self, state: CountState, digest: int, *, messages: int) -> bytes:
        """The record of all counts as they are before a batch of so many messages; b"" if the file goes on."""
        if self.is_begun or messages > _MOST_MOVES:
            return b""
        self.is_begun, self._bytes = True, 0
        blobs = {name: blob for name, blob in export_state(state).items() if not name.startswith("r:")}
        packed = zlib.compress(msgspec.msgpack.encode(blobs), 1)
        return _record(_All(state.spec.fingerprint(), digest, packed))

    def add(self, state: CountState, moves: Moves, *, before: int, digest: int) -> bytes:
        """The record of what a batch moved, if it moved anything. `state` is as it is after the batch."""
        if not self.is_begun or before == digest:
            return b""
        self.is_begun = sum(len(place) for _, place, _ in moves) <= _MOST_MOVES
        if not self.is_begun:
            return b""
        slide_s = state.spec.slide_s
        slots = {sign: (occurred_s // slide_s).astype("<i8").tobytes() for occurred_s, _, sign in moves}
        places = {sign: place.astype("<i4").tobytes() for _, place, sign in moves}
        record = _record(_Moved(before, digest, state.as_of_s, slots, places))
        self._bytes += len(record)
        self.is_begun = self._bytes < _MOST_BYTES
        return record


def add_records(folder: Path, region: str, *, everything: bytes, moved: bytes) -> None:
    """Begin the region's file with the record of all counts, if there is one, and add a batch's moves.

    A file that is not there stays away until it begins again. Raises SinkError, and takes the file away, when it cannot
    be written.
    """
    path = folder / f"{region}{SUFFIX}"
    try:
        if everything:
            replace_file(path, everything + moved, outlives_power_cut=False)
        elif moved and path.exists():
            with path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(moved)
    except OSError as error:
        with suppress(OSError):
            path.unlink()  # it may end in half a record
        raise SinkError(f"{path} cannot be written ({error.strerror})", remedy="free disk space") from error


def counts_at(folder: Path, spec: Spec, digest: int, known: CountsAt | None = None) -> CountsAt:
    """The counts that `digest` names; those of `known` (which are changed) are moved on where that is enough.

    Raises SinkError when the file does not lead there, or is none of this spec.
    """
    if known and known.digest == digest:
        return known
    path = folder / f"{spec.region}{SUFFIX}"
    try:
        first, moved = _read(path, spec)
        way: list[_Moved] = []
        at = digest
        while at != first.digest and not (known and at == known.digest):
            way.append(moved.pop(at))
            at = way[-1].before
        steps = [(record.as_of_s, _moves(record, spec)) for record in reversed(way)]
        state = known.state if known and at == known.digest else restore_state(spec, _blobs(first))
    except (OSError, KeyError, IndexError, ValueError, zlib.error) as error:
        fault = f"{path} does not have the counts of the newest frame ({type(error).__name__})"
        remedy = "wait: it begins again every hour; while the job catches up, or cannot write there, there is none"
        raise SinkError(fault, remedy) from error
    for as_of_s, moves in steps:
        state.advance(as_of_s)
        state.move(moves)
    return CountsAt(state=state, digest=digest)


def _read(path: Path, spec: Spec) -> tuple[_All, dict[int, _Moved]]:
    with path.open("rb") as file:
        content = file.read(MAX_FRAME_BYTES + 1)
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError(f"larger than {MAX_FRAME_BYTES} bytes")
    records = list(_bodies(content))
    if not records:
        raise ValueError("no record")
    first = msgspec.msgpack.decode(records[0], type=_All)
    if first.fingerprint != spec.fingerprint():
        raise ValueError("of another spec")
    after = (msgspec.msgpack.decode(record, type=_Moved) for record in records[1:])
    return first, {record.digest: record for record in after}


def _blobs(first: _All) -> dict[str, bytes]:
    opened = zlib.decompressobj()
    content = opened.decompress(first.blobs, MAX_FRAME_BYTES)
    if opened.unconsumed_tail:
        raise ValueError(f"more than {MAX_FRAME_BYTES} bytes")
    return msgspec.msgpack.decode(content, type=dict[str, bytes])


def _bodies(content: bytes) -> Iterator[bytes]:
    """Whole records; the last one may still be being written."""
    at = 0
    while at + _HEAD.size <= len(content):
        length, seal = _HEAD.unpack_from(content, at)
        body = content[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) != length or _seal(body) != seal:
            return
        yield body
        at += _HEAD.size + length


def _moves(record: _Moved, spec: Spec) -> Moves:
    return tuple(_checked(record.slots[sign], record.places[sign], sign, spec) for sign in sorted(record.slots))


def _checked(
    slots: bytes, places: bytes, sign: int, spec: Spec
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp], int]:
    occurred_s = np.frombuffer(slots, "<i8") * spec.slide_s
    place = np.frombuffer(places, "<i4").astype(np.intp)
    is_place = (place >= 0) & (place < spec.grid.cells * len(spec.categories))
    if sign not in (1, -1) or len(place) != len(occurred_s) or not is_place.all():
        raise ValueError("a move that cannot be")
    return occurred_s, place, sign


def _record(body: _All | _Moved) -> bytes:
    packed = msgspec.msgpack.encode(body)
    return _HEAD.pack(len(packed), _seal(packed)) + packed


def _seal(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
