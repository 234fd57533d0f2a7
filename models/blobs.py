"""CountState as named blobs: for the artifact's history, and for a store of state that is written bit by bit.

A batch adds one *segment* (the records it changed). Every so often the segments are folded: changed chunks of
bins are written whole, the segments become one registry segment. What is stored at any moment is therefore the
bins at the last fold, the registry, and the segments since; `restore` gives back the same counts to the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from models.count_state import CountState
from models.pyramid import CHUNK_BINS
from models.registry import Records
from schemas.spec import Spec

_CLOCK = "clock"
_FOLD_SEGMENTS = 64
_FOLD_ROWS = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to write so that the stored blobs describe the state again."""

    puts: Mapping[str, bytes]
    deletes: tuple[str, ...] = ()


def export_state(state: CountState) -> dict[str, bytes]:
    """All of a state, clock included, as blobs."""
    blobs = {_CLOCK: msgspec.msgpack.encode(state.as_of_s), "r:0000000000": state.registry.records().pack()}
    for name, level in state.levels.items():
        for chunk in range(level.oldest // CHUNK_BINS, (level.newest + level.ahead) // CHUNK_BINS + 1):
            packed = level.pack_chunk(chunk)
            if packed:
                blobs[f"b:{name}:{chunk}"] = packed
    return blobs


def restore_state(spec: Spec, blobs: Mapping[str, bytes]) -> CountState:
    """The state that `blobs` describe. A segment that was not folded yet (`s:`) is counted again."""
    state = CountState(spec)
    state.advance(msgspec.msgpack.decode(blobs[_CLOCK], type=int))
    for key in sorted(blobs):  # bins, then registry, then the segments since, each in order
        kind, _, rest = key.partition(":")
        if kind == "b":
            state.levels[rest.split(":")[0]].unpack_chunk(blobs[key])
        elif kind == "r":
            state.registry.put(Records.unpack(blobs[key]))
        elif kind == "s":
            forget_before_s, records = _unpack_segment(blobs[key])
            state.settle(records, forget_before_s=forget_before_s)
    return state


@dataclass(slots=True)
class Journal:
    """Keeps stored blobs in step with a live CountState at a cost that follows the batch, not the state."""

    state: CountState
    next_segment: int = 1
    open_segments: dict[str, Records] = field(default_factory=dict)
    folded: dict[str, int] = field(default_factory=dict)  # stored registry segment -> newest event time in it
    chunks: set[tuple[str, int]] = field(default_factory=set)  # stored chunks of bins

    @classmethod
    def start(cls, state: CountState) -> tuple["Journal", Changes]:
        """Begin to keep a state that is not stored at all yet."""
        blobs = export_state(state)
        return cls._over(state, blobs), Changes(puts=blobs)

    @classmethod
    def restore(cls, spec: Spec, blobs: Mapping[str, bytes]) -> "Journal":
        return cls._over(restore_state(spec, blobs), blobs)

    @classmethod
    def _over(cls, state: CountState, blobs: Mapping[str, bytes]) -> "Journal":
        journal = cls(state)
        for key in sorted(blobs):
            kind, _, rest = key.partition(":")
            if kind == "b":
                name, chunk = rest.split(":")
                journal.chunks.add((name, int(chunk)))
            elif kind == "r":
                journal.folded[key] = int(Records.unpack(blobs[key]).occurred_s.max(initial=0))
                journal.next_segment = int(rest) + 1
            elif kind == "s":
                journal.open_segments[key] = _unpack_segment(blobs[key])[1]
                journal.next_segment = int(rest) + 1
        return journal

    def record(self, changed: Records) -> Changes:
        """The writes that store what a batch changed. The clock is stored with them."""
        puts = {_CLOCK: msgspec.msgpack.encode(self.state.as_of_s)}
        if not len(changed):
            return Changes(puts=puts)
        key = f"s:{self.next_segment:010d}"
        self.next_segment += 1
        self.open_segments[key] = changed
        rows = sum(map(len, self.open_segments.values()))
        if len(self.open_segments) < _FOLD_SEGMENTS and rows < _FOLD_ROWS:
            segment = self.state.forget_before_s.to_bytes(8, "little", signed=True) + changed.pack()
            return Changes(puts=puts | {key: segment})
        return self._fold(puts, written=set(self.open_segments) - {key})

    def _fold(self, puts: dict[str, bytes], *, written: set[str]) -> Changes:
        deletes = list(written)
        for name, level in self.state.levels.items():
            for chunk in sorted(level.dirty):
                puts[f"b:{name}:{chunk}"] = level.pack_chunk(chunk)
                self.chunks.add((name, chunk))
            level.dirty.clear()
            gone = {c for c in self.chunks if c[0] == name and (c[1] + 1) * CHUNK_BINS <= level.oldest}
            self.chunks -= gone
            deletes += [f"b:{name}:{chunk}" for _, chunk in gone]

        merged = Records.concatenate(list(self.open_segments.values()))
        newest_last = len(merged) - 1 - np.unique(merged.key[::-1], return_index=True)[1]
        merged = merged.select(np.sort(newest_last))
        key = "r:" + max(self.open_segments).partition(":")[2]
        puts[key] = merged.pack()
        self.folded[key] = int(merged.occurred_s.max())
        self.open_segments.clear()

        forget_s = self.state.forget_before_s
        expired = [key for key, newest_s in self.folded.items() if newest_s < forget_s]
        for key in expired:
            del self.folded[key]
        self.state.registry.expire(forget_s)
        return Changes(puts=puts, deletes=tuple(key for key in (*deletes, *expired) if key not in puts))


def _unpack_segment(blob: bytes) -> tuple[int, Records]:
    """What was forgotten when the segment's records were counted, and the records."""
    return int.from_bytes(blob[:8], "little", signed=True), Records.unpack(blob[8:])
