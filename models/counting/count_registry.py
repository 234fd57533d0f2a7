"""What is known of each incident, and which of them count.

The registry keeps the last revision of each id in arrays, found by hashing: an open-addressing table (linear probing,
at most half full) of entry numbers over append-only columns. Looking up and adding n ids costs O(n) array operations
whatever is already stored, where a dict of Python objects would need ten times the memory.

Which incidents count follows from their own last revision and, where a spec merges repeated calls, from what they
repeat: several people report one incident. That rule is the same for files, training and the stream. It depends only on
which incidents there are, not on the order in which they are reported or read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from schemas.incidents import CANCELLED, COUNTED_ORIGIN, NO_PLACE, Incidents, in_radians

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
WITHIN_M, WITHIN_S = 200.0, 900
_EARTH_M = 6_371_008.8  # mean radius of the IUGG
_WITHIN_RAD = WITHIN_M / _EARTH_M * 1.001  # a little more, for rounding
_STEP_RAD = float(np.radians(1e-7))  # of a place
_TURN = 3_600_000_000  # steps of longitude around the earth
_CATEGORIES = 1 << 15  # more than there are
# Bits of a record's `flags`, beside those of an incident.
IN_HISTORY = 4  # the history counts it
REPEATED = 8  # it repeats an earlier one, which counts in its place


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
    def unpack(cls, packed: bytes, *, has_places: bool) -> "Records":
        rows = np.frombuffer(packed, _PLACED_RECORD if has_places else _RECORD)
        columns = {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()}
        return cls(**{"place": np.empty((len(rows), 0), np.int32), **columns})


def reached(at_s: npt.NDArray[np.int64], times_s: npt.NDArray[np.int64], within_s: int) -> npt.NDArray[np.bool_]:
    """(n,) whether one of the ascending `times_s` lies in [at - within, at]."""
    newest = np.searchsorted(times_s, at_s, side="right")
    return newest > np.searchsorted(times_s, at_s - within_s)


class Registry:
    """Last revision of every incident that can still be corrected or repeated; with its place, if that is asked."""

    def __init__(self, *, has_places: bool = False) -> None:
        self._count, self.has_places = 0, has_places
        row = _PLACED_RECORD if has_places else _RECORD
        self._columns = Records.unpack(bytes(row.itemsize * _SMALLEST), has_places=has_places)
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
        """Store records of different keys, replacing what was known. entries: what `find` gave for their keys."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What the rule asks of some incidents, one array per column, each (n,) but `place`."""

    occurred_s: npt.NDArray[np.int64]
    order: npt.NDArray[np.uint64]  # of those in one second: all different
    category: npt.NDArray[np.int16]
    place: npt.NDArray[np.int32]  # (n, 2), see `schemas.incidents.fixed_places`

    @classmethod
    def of(cls, incidents: Incidents | Records) -> "Calls":
        return cls(
            occurred_s=incidents.occurred_s, order=incidents.key, category=incidents.category, place=incidents.place
        )

    def select(self, chosen: npt.NDArray[np.intp]) -> "Calls":
        return Calls(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def repeats(calls: Calls) -> npt.NDArray[np.bool_]:
    """(n,) whether each call repeats an earlier one.

    It does when one of its category is earlier (in one second, by `order`), at most WITHIN_S before and at most
    WITHIN_M away along the great circle (haversine, mean radius), both limits included. The earlier call may itself
    be a repeat, so of a chain of calls only the first counts. Without the condition on the category, the ambulance to
    an accident that the police reported would not count. A call without a place takes no part.
    """
    placed = np.flatnonzero(calls.place[:, 0] != NO_PLACE)
    repeated = np.zeros(len(calls.occurred_s), np.bool_)
    if not len(placed):
        return repeated
    by_time = placed[np.lexsort((calls.order[placed], calls.occurred_s[placed]))]
    calls = calls.select(by_time)
    since = np.searchsorted(calls.occurred_s, calls.occurred_s - WITHIN_S)  # rank of the first that is not too early
    places, squares = in_radians(calls.place), _Squares.of(calls.category, calls.place)
    open_ = np.arange(len(by_time))
    for north, east in sorted(product((-1, 0, 1), repeat=2), key=lambda step: step != (0, 0)):
        first, last = squares.ranks_between(open_, since[open_], north, east)
        is_near = _any_near(places, squares.by_square, open_, first, last)
        repeated[by_time[open_[is_near]]] = True
        open_ = open_[~is_near]
    return repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Squares:
    """Calls in the order of time, by category and by squares no smaller than the distance: what is near is next door.

    A square's number has its row, column and category; `numbers` are those in use, and `place` is sorted by (square,
    rank): a square's place among them times the number of calls, plus the rank of the call.
    """

    category: npt.NDArray[np.int16]  # (n,), as the next two
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    columns: int  # around the earth
    numbers: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    by_square: npt.NDArray[np.int64]  # (n,) ranks in the order of `place`

    @classmethod
    def of(cls, category: npt.NDArray[np.int16], place: npt.NDArray[np.int32]) -> "_Squares":
        lat = np.abs(in_radians(place[:, 0])).max() + _WITHIN_RAD
        columns = max(1, int(6 * np.cos(lat) / np.sin(_WITHIN_RAD)))  # around a pole only one
        north, east = place.astype(np.int64).T
        row, column = north // int(_WITHIN_RAD / _STEP_RAD), east * columns // _TURN % columns
        numbers, square = np.unique((row * columns + column) * _CATEGORIES + category, return_inverse=True)
        ranked = square * len(row) + np.arange(len(row))
        by_square = np.argsort(ranked)
        return cls(
            category=category,
            row=row,
            column=column,
            columns=columns,
            numbers=numbers,
            place=ranked[by_square],
            by_square=by_square,
        )

    def ranks_between(
        self, rank: npt.NDArray[np.int64], since: npt.NDArray[np.int64], north: int, east: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each call, where in `by_square` those of a square next door begin and end that are in [since, rank)."""
        column = (self.column[rank] + east) % self.columns
        wanted = ((self.row[rank] + north) * self.columns + column) * _CATEGORIES + self.category[rank]
        square = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        first, last = (np.searchsorted(self.place, square * len(self.row) + edge) for edge in (since, rank))
        return np.where(self.numbers[square] == wanted, first, last), last


def _any_near(
    places: npt.NDArray[np.float64],
    by_square: npt.NDArray[np.int64],
    rank: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """(m,) whether one of by_square[first:last] is near, the latest looked at first: most repeats follow at once."""
    is_near = np.zeros(len(rank), np.bool_)
    open_ = np.flatnonzero(last > first)
    back = 1
    while len(open_):
        other = by_square[last[open_] - back]
        is_near[open_] = _metres(places[other], places[rank[open_]]) <= WITHIN_M
        back += 1
        open_ = open_[~is_near[open_] & (last[open_] - back >= first[open_])]
    return is_near


def _metres(place: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) great-circle distances of places in radians, (n, 2) each, by the haversine formula."""
    lat, other_lat = place[:, 0], other[:, 0]
    across = np.sin((other[:, 1] - place[:, 1]) / 2) ** 2
    square = np.sin((other_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(other_lat) * across
    return np.asarray(2 * _EARTH_M * np.arcsin(np.sqrt(square)))


def is_live(records: Records) -> npt.NDArray[np.bool_]:
    """Which records the counts hold, or would hold if they did not repeat another."""
    return np.asarray((records.flags & (COUNTED_ORIGIN | CANCELLED | IN_HISTORY)) == COUNTED_ORIGIN)


def counting(records: Records) -> npt.NDArray[np.bool_]:
    """(n,) whether the counts hold each record."""
    return np.asarray(is_live(records) & ((records.flags & REPEATED) == 0))


def reconsidered(
    registry: Registry, changed: Records, entries: npt.NDArray[np.int32], *, forget_before_s: int
) -> tuple[Records, npt.NDArray[np.int32]]:
    """The changed records with their REPEATED bits, and further ones whose bit changes with them; their numbers.

    entries: the number of each changed one in the registry, which still has its old record. An incident is a repeat if
    the rule says so of all that are known and live, in whatever order they were reported. Whether one from before
    `forget_before_s` is a repeat no longer changes: until then all that it may repeat are still in the registry.
    """
    old = registry.entries(entries[entries >= 0])
    times_s = np.sort(np.concatenate([old.occurred_s, changed.occurred_s]))
    numbers = np.setdiff1d(registry.near(times_s, WITHIN_S), entries)
    records = Records.concatenate([changed, registry.entries(numbers)])
    asked = np.flatnonzero(is_live(records) & (records.occurred_s >= forget_before_s - WITHIN_S))
    repeated = np.zeros(len(records), np.bool_)
    repeated[asked] = repeats(Calls.of(records.select(asked)))
    is_open = (records.occurred_s >= forget_before_s) & reached(records.occurred_s, times_s, WITHIN_S)
    flags = np.where(is_open, records.flags & ~np.uint8(REPEATED) | repeated * np.uint8(REPEATED), records.flags)
    takes_part = flags != records.flags
    takes_part[: len(changed)] = True
    return replace(records, flags=flags).select(takes_part), np.concatenate([entries, numbers])[takes_part]
