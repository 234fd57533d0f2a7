"""The registry of incidents: what is known of each id, in arrays, found by hashing.

An open-addressing table (linear probing, at most half full) of entry numbers over append-only columns: looking
up and adding n ids costs O(n) array operations whatever is already stored, where a dict of Python objects would
need ten times the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

_RECORD = np.dtype(
    [
        ("key", "<u8"),
        ("occurred_s", "<i8"),
        ("revision", "<i4"),
        ("cell", "<i4"),
        ("category", "<i2"),
        ("flags", "u1"),
        ("latest_s", "<i8"),
    ]
)
_PLACED_RECORD = np.dtype([*_RECORD.descr, ("place", "<i4", (2,))])
_FREE = -1
_SMALLEST, _SLOTS = 1024, 2048  # of an empty table; a power of two


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The last known revision of some incidents, one array per column, each (n,) but `place`."""

    key: npt.NDArray[np.uint64]
    occurred_s: npt.NDArray[np.int64]
    revision: npt.NDArray[np.int32]
    cell: npt.NDArray[np.int32]
    category: npt.NDArray[np.int16]
    flags: npt.NDArray[np.uint8]
    latest_s: npt.NDArray[np.int64]  # latest event time in any message about the incident: decides how long it is known
    place: npt.NDArray[np.int32]  # (n, 2), see `schemas.incidents.fixed_places`; (n, 0) where repeated calls count

    def __len__(self) -> int:
        return len(self.key)

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Records":
        return Records(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence["Records"]) -> "Records":
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def pack(self) -> bytes:
        """The records as rows of bytes; with places if there are any."""
        rows = np.empty(len(self), _PLACED_RECORD if self.place.shape[1] else _RECORD)
        for name in rows.dtype.names or ():
            rows[name] = getattr(self, name)
        return rows.tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> "Records":
        place = np.empty((len(packed) // _RECORD.itemsize, 0), np.int32)
        return cls(**_columns(packed, _RECORD), place=place)

    @classmethod
    def unpack_placed(cls, packed: bytes) -> "Records":
        return cls(**_columns(packed, _PLACED_RECORD))


def _columns(packed: bytes, row: np.dtype[np.void]) -> dict[str, npt.NDArray[Any]]:
    rows = np.frombuffer(packed, row)
    return {name: np.ascontiguousarray(rows[name]) for name in row.names or ()}


def reached(at_s: npt.NDArray[np.int64], times_s: npt.NDArray[np.int64], within_s: int) -> npt.NDArray[np.bool_]:
    """(n,) whether one of the ascending `times_s` lies in [at - within, at]."""
    newest = np.searchsorted(times_s, at_s, side="right")
    return newest > np.searchsorted(times_s, at_s - within_s)


class Registry:
    """Last revision of every incident that can still be corrected or repeated; with its place, if that is asked."""

    def __init__(self, *, has_places: bool = False) -> None:
        self._count, self.has_places = 0, has_places
        row, unpack = (_PLACED_RECORD, Records.unpack_placed) if has_places else (_RECORD, Records.unpack)
        self._columns = unpack(bytes(row.itemsize * _SMALLEST))
        self._slots = np.full(_SLOTS, _FREE, np.int32)

    def __len__(self) -> int:
        return self._count

    def find(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """Entry number of each key, (n,); `_FREE` (negative) where the key is unknown."""
        mask = np.uint64(len(self._slots) - 1)
        entries = np.full(len(keys), _FREE, np.int32)
        open_ = np.arange(len(keys))
        slot = (keys & mask).astype(np.intp)
        while len(open_):
            entry = self._slots[slot]
            taken = entry != _FREE
            open_, slot, entry = open_[taken], slot[taken], entry[taken]
            same = self._columns.key[entry] == keys[open_]
            entries[open_[same]] = entry[same]
            open_, slot = open_[~same], (slot[~same] + 1) & int(mask)
        return entries

    def entries(self, numbers: npt.NDArray[np.int32]) -> Records:
        return self._columns.select(numbers.astype(np.intp))

    def put(self, records: Records, entries: npt.NDArray[np.int32] | None = None) -> None:
        """Store records of different keys, replacing what was known. `found`: what `find` gave for them."""
        entries = self.find(records.key) if entries is None else entries
        is_known = entries != _FREE
        for field in fields(records):
            getattr(self._columns, field.name)[entries[is_known]] = getattr(records, field.name)[is_known]
        self._append(records.select(~is_known))

    def expire(self, before_s: int) -> None:
        """Forget incidents whose latest event time lies before `before_s`, once they are a quarter of all."""
        keep = self._columns.latest_s[: self._count] >= before_s
        if 4 * np.count_nonzero(keep) > 3 * self._count:
            return
        remaining = self._columns.select(np.flatnonzero(keep))
        self.__init__(has_places=self.has_places)  # type: ignore[misc]
        self._append(remaining)

    def near(self, times_s: npt.NDArray[np.int64], within_s: int) -> npt.NDArray[np.int32]:
        """Entry numbers of incidents at most `within_s` before or after one of these ascending times."""
        occurred_s = self._columns.occurred_s[: self._count]
        return np.flatnonzero(reached(occurred_s + within_s, times_s, 2 * within_s)).astype(np.int32)

    def records(self) -> Records:
        return self._columns.select(np.arange(self._count))

    def _append(self, records: Records) -> None:
        first, self._count = self._count, self._count + len(records)
        if self._count > len(self._columns):
            room = np.arange(2 * self._count) % len(self._columns)  # what is beyond the count means nothing
            self._columns = self._columns.select(room)
        for field in fields(records):
            getattr(self._columns, field.name)[first : self._count] = getattr(records, field.name)
        if 2 * self._count > len(self._slots):
            self._slots = np.full(1 << (4 * self._count).bit_length(), _FREE, np.int32)
            first = 0
        self._index(first)

    def _index(self, first: int) -> None:
        """Enter the entries from number `first` on into the table; all their keys are new to it."""
        mask = len(self._slots) - 1
        entry = np.arange(first, self._count, dtype=np.int32)
        slot = (self._columns.key[entry] & np.uint64(mask)).astype(np.intp)
        while len(entry):
            free = self._slots[slot] == _FREE
            self._slots[slot[free]] = entry[free]  # where several want one slot, the last one written has it
            lost = self._slots[slot] != entry
            entry, slot = entry[lost], (slot[lost] + 1) & mask
