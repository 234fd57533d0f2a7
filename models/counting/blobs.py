"""CountState as named blobs: for the artifact's history, and for a store of state that is written bit by bit.

A batch adds one *segment* (the records it changed). Every so often the segments are folded: changed chunks of
bins are written whole, the segments become one registry segment. What is stored at any moment is therefore the
bins at the last fold, the registry, and the segments since; `restore` gives back the same counts to the last one.

    layout          of the blobs, a number: 3 with the places of incidents, of a spec that merges repeated calls; else 2
    clock           as it was exported
    history_end     of the history that the counts began with
    first_day       that the counts cover; 0 where it is not known
    b:LEVEL:CHUNK   counts of 32 bins
    r:NUMBER        records of the registry, in order of their numbers: a later one replaces an earlier one
    s:NUMBER        a segment

A region's counts at the start of a day are all blobs in one file: the archive reads its final days there.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import xxhash

from models.counting.count_registry import Records
from models.counting.count_state import CHUNK_BINS, CountState
from schemas.batches import batches_folder, counts_path
from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors
from schemas.spec import Spec

_NUMBERS = ("layout", "clock", "history_end", "first_day")
_SEGMENT = struct.Struct("<Qq")
_FOLD_SEGMENTS = 64
_FOLD_ROWS = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to write so that the stored blobs describe the state again."""

    puts: Mapping[str, bytes]
    deletes: tuple[str, ...] = ()


def export_state(state: CountState) -> dict[str, bytes]:
    """All of a state, clock included, as blobs."""
    numbers = {
        "layout": _layout(state.spec),
        "clock": state.as_of_s,
        "history_end": state.history_end_s,
        "first_day": state.first_day,
    }
    blobs = {name: msgspec.msgpack.encode(number) for name, number in numbers.items()}
    blobs["r:0000000000"] = state.registry.records().pack()
    for name, level in state.levels.items():
        for chunk in range(level.oldest // CHUNK_BINS, (level.newest + level.ahead) // CHUNK_BINS + 1):
            if packed := level.pack_chunk(chunk):
                blobs[f"b:{name}:{chunk}"] = packed
    return blobs


def _layout(spec: Spec) -> int:
    return 3 if spec.merges_calls else 2


def restore_state(spec: Spec, blobs: Mapping[str, bytes], *, as_of_s: int | None = None) -> CountState:
    """The state that `blobs` describe, at `as_of_s` or at the clock that was exported with them.

    A segment that was not folded yet (`s:`) is counted again. Raises ValueError for records without the places that
    the spec needs, or with places that it does not.
    """
    numbers = {name: msgspec.msgpack.decode(blobs[name], type=int) for name in _NUMBERS}
    if (layout := numbers["layout"]) != _layout(spec):
        raise ValueError(f"layout {layout} of a spec with merge={spec.merge}")
    state = CountState(spec)
    state.advance(numbers["clock"] if as_of_s is None else as_of_s)
    state.history_end_s = numbers["history_end"]
    state.first_day = numbers["first_day"]
    for key in sorted(blobs):  # bins, then registry, then the segments since, each in order
        kind, _, rest = key.partition(":")
        if kind == "b":
            state.levels[rest.split(":")[0]].unpack_chunk(blobs[key])
        elif kind == "r":
            state.registry.put(Records.unpack(blobs[key], has_places=spec.merges_calls))
        elif kind == "s":
            segment = Segment.unpack(blobs[key], spec)
            state.settle(segment.records, forget_before_s=segment.as_of_s - spec.registry_keep_s)
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The records that one batch changed, and the state that they were counted on."""

    parent: int  # digest of the state before
    as_of_s: int  # clock of the batch
    records: Records

    def pack(self) -> bytes:
        return _SEGMENT.pack(self.parent, self.as_of_s) + self.records.pack()

    @classmethod
    def unpack(cls, blob: bytes, spec: Spec) -> "Segment":
        parent, as_of_s = _SEGMENT.unpack_from(blob)
        records = Records.unpack(blob[_SEGMENT.size :], has_places=spec.merges_calls)
        return cls(parent=parent, as_of_s=as_of_s, records=records)


@dataclass(slots=True)
class Journal:
    """Keeps stored blobs in step with a live CountState at a cost that follows the batch, not the state.

    `digest` names the content: it is a hash over all segments so far. Two journals with one digest hold the same
    counts; one that lags behind can `follow` the segments that it has missed.
    """

    state: CountState
    digest: int
    next_segment: int = 1
    open_segments: dict[str, Records] = field(default_factory=dict)
    folded: dict[str, int] = field(default_factory=dict)  # stored registry segment -> latest event time in it
    chunks: set[tuple[str, int]] = field(default_factory=set)  # stored chunks of bins

    @classmethod
    def start(cls, state: CountState) -> tuple["Journal", Changes]:
        """Begin to keep a state that is not stored at all yet."""
        blobs = export_state(state)
        digest = _hash(0, *(blobs[key] for key in sorted(blobs)))
        return cls._over(state, blobs, digest), Changes(puts=blobs)

    @classmethod
    def restore(cls, spec: Spec, blobs: Mapping[str, bytes], *, as_of_s: int, digest: int) -> "Journal":
        """The journal over stored blobs; `as_of_s` and `digest` are what the last batch left."""
        return cls._over(restore_state(spec, blobs, as_of_s=as_of_s), blobs, digest)

    @classmethod
    def _over(cls, state: CountState, blobs: Mapping[str, bytes], digest: int) -> "Journal":
        journal = cls(state, digest)
        for key in sorted(blobs):
            kind, _, rest = key.partition(":")
            if kind == "b":
                name, chunk = rest.split(":")
                journal.chunks.add((name, int(chunk)))
            elif kind == "r":
                records = Records.unpack(blobs[key], has_places=state.spec.merges_calls)
                journal.folded[key] = int(records.latest_s.max(initial=0))
                journal.next_segment = int(rest) + 1
            elif kind == "s":
                journal.open_segments[key] = Segment.unpack(blobs[key], state.spec).records
                journal.next_segment = int(rest) + 1
        return journal

    @property
    def next_key(self) -> str:
        return f"s:{self.next_segment:010d}"

    def follow(self, blob: bytes) -> bool:
        """Take over the segment `next_key` that another journal of this state stored; False if it is no sequel."""
        segment = Segment.unpack(blob, self.state.spec)
        if segment.parent != self.digest:
            return False
        self.state.advance(segment.as_of_s)
        self.state.settle(segment.records, forget_before_s=segment.as_of_s - self.state.spec.registry_keep_s)
        self._append(segment.records, blob)
        return True

    def record(self, changed: Records) -> Changes:
        """The writes that store what a batch changed of the counts."""
        if not len(changed):
            return Changes(puts={})
        key, written = self.next_key, set(self.open_segments)
        segment = Segment(parent=self.digest, as_of_s=self.state.as_of_s, records=changed)
        blob = segment.pack()
        self._append(changed, blob)
        rows = sum(map(len, self.open_segments.values()))
        if len(self.open_segments) < _FOLD_SEGMENTS and rows < _FOLD_ROWS:
            return Changes(puts={key: blob})
        return self._fold(written)

    def _append(self, records: Records, blob: bytes) -> None:
        self.digest = _hash(self.digest, blob)
        self.open_segments[self.next_key] = records
        self.next_segment += 1

    def _fold(self, written: set[str]) -> Changes:
        puts: dict[str, bytes] = {}
        deletes = list(written)
        for name, level in self.state.levels.items():
            for chunk in sorted(level.dirty):
                if packed := level.pack_chunk(chunk):
                    puts[f"b:{name}:{chunk}"] = packed
                    self.chunks.add((name, chunk))
                elif (name, chunk) in self.chunks:
                    deletes.append(f"b:{name}:{chunk}")
                    self.chunks.remove((name, chunk))
            level.dirty.clear()
            gone = {c for c in self.chunks if c[0] == name and (c[1] + 1) * CHUNK_BINS <= level.oldest}
            self.chunks -= gone
            deletes += [f"b:{name}:{chunk}" for _, chunk in gone]

        merged = Records.concatenate(list(self.open_segments.values()))
        newest_last = len(merged) - 1 - np.unique(merged.key[::-1], return_index=True)[1]
        merged = merged.select(np.sort(newest_last))
        key = "r:" + max(self.open_segments).removeprefix("s:")
        puts[key] = merged.pack()
        self.folded[key] = int(merged.latest_s.max())
        self.open_segments.clear()

        drop_s = self.state.drop_before_s
        expired = [key for key, latest_s in self.folded.items() if latest_s < drop_s]
        for key in expired:
            del self.folded[key]
        self.state.registry.expire(drop_s)
        puts = {key: blob for key, blob in puts.items() if key not in expired}
        return Changes(puts=puts, deletes=(*deletes, *expired))


def _hash(before: int, *blobs: bytes) -> int:
    content = xxhash.xxh3_64(before.to_bytes(8, "little"))
    for blob in blobs:
        content.update(blob)
    return content.intdigest() | 1  # never 0, which stands for nothing stored


class _DayCounts(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    totals: dict[str, int]
    newest_event_s: int
    blobs: dict[str, bytes]


def pack_counts(state: CountState, *, totals: Mapping[str, int], newest_event_s: int) -> bytes:
    """The content of a day's file."""
    fingerprint, blobs = state.spec.fingerprint(), export_state(state)
    counts = _DayCounts(fingerprint=fingerprint, totals=dict(totals), newest_event_s=newest_event_s, blobs=blobs)
    return zlib.compress(msgspec.msgpack.encode(counts), 1)


def keep_counts(checkpoint: Path, day: str, region: str, packed: bytes) -> None:
    """Raises CheckpointError when the disk is full."""
    path = counts_path(batches_folder(checkpoint), day, region)
    with write_errors(CheckpointError, path, remedy="free disk space"):
        replace_file(path, packed)


def read_clock(path: Path) -> tuple[int, bool]:
    """(the region's clock when its counts were kept, whether it had any batch before). Raises CheckpointError."""
    counts = _read_day(path)
    return msgspec.msgpack.decode(counts.blobs["clock"], type=int), bool(counts.totals)


def read_counts(path: Path, spec: Spec) -> tuple[CountState, dict[str, int], int]:
    """(counts, ledger totals, newest event time) as `pack_counts` packed them. Raises CheckpointError."""
    counts = _read_day(path)
    if counts.fingerprint != spec.fingerprint():
        fault = f"{path} has counts for spec {counts.fingerprint}, not {spec.fingerprint()}"
        raise CheckpointError(fault, remedy="restore the artifact with that spec")
    return restore_state(spec, counts.blobs), counts.totals, counts.newest_event_s


def _read_day(path: Path) -> _DayCounts:
    try:
        return msgspec.msgpack.decode(zlib.decompress(path.read_bytes()), type=_DayCounts)
    except (OSError, zlib.error, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})", remedy="restore it, or choose another day") from error
