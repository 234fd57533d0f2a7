"""Decoded incidents as columns, and their bytes between two stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.event import Reason

COUNTED_ORIGIN = 1  # bit of `flags`: the origin feeds the score
CANCELLED = 2  # bit of `flags`: the revision cancels the incident
NO_PLACE = -(1 << 31)  # in both columns of `place`: it is not known
_DEGREE = 10_000_000  # steps of a place: one is at most 1.2 cm
_SLICE = 10_000  # rejections

_ROW = np.dtype(
    [
        ("key", "<u8"),
        ("revision", "<i4"),
        ("occurred_s", "<i8"),
        ("received_ms", "<i8"),
        ("cell", "<i4"),
        ("category", "<i2"),
        ("flags", "u1"),
        ("place", "<i4", (2,)),
        ("partition", "<i4"),
        ("kafka_offset", "<i8"),
        ("kafka_time_ms", "<i8"),
    ]
)


def fixed_places(lat_deg: npt.ArrayLike, lon_deg: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """(n, 2) places in whole steps of 1e-7 degrees, the same wherever an incident is read. lat_deg, lon_deg: (n,)."""
    return np.asarray(np.rint(np.stack([lat_deg, lon_deg], axis=1) * _DEGREE), np.int32)


def are_places(place: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """(n,) whether each is on the globe or not known; so is one without columns. place: (n, 2) or (n, 0)."""
    limits = np.array([90, 180][: place.shape[1]]) * _DEGREE
    on_globe = ((-limits <= place) & (place <= limits)).all(axis=1)
    return np.asarray(on_globe | (place == NO_PLACE).all(axis=1))


def in_degrees(place: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return place / _DEGREE


def in_radians(place: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return np.asarray(np.radians(in_degrees(place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidents:
    """Decoded incidents of one region, one array per column, each (n,) but `place`, in the order of the topic."""

    key: npt.NDArray[np.uint64]  # stable hash of incident_id
    revision: npt.NDArray[np.int32]
    occurred_s: npt.NDArray[np.int64]  # event time, epoch seconds UTC, floored
    received_ms: npt.NDArray[np.int64]  # when the centre learned of it, epoch milliseconds UTC
    cell: npt.NDArray[np.int32]
    category: npt.NDArray[np.int16]  # position in the spec's categories
    flags: npt.NDArray[np.uint8]  # COUNTED_ORIGIN | CANCELLED
    place: npt.NDArray[np.int32]  # (n, 2) latitude and longitude, see `fixed_places`
    partition: npt.NDArray[np.int32]
    kafka_offset: npt.NDArray[np.int64]
    kafka_time_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def empty(cls) -> Self:
        return cls.unpack(b"")

    @classmethod
    def concatenate(cls, parts: Sequence["Incidents"]) -> Self:
        """The parts' incidents, sorted by (partition, offset)."""
        parts = [cls.empty(), *parts]
        joined = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        return joined.select(np.lexsort((joined.kafka_offset, joined.partition)))

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Self:
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def pack(self) -> bytes:
        rows = np.empty(len(self), _ROW)
        for name in _ROW.names or ():
            rows[name] = getattr(self, name)
        return rows.tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        rows = np.frombuffer(packed, _ROW)
        return cls(**{name: np.ascontiguousarray(rows[name]) for name in _ROW.names or ()})


class Rejection(msgspec.Struct, frozen=True, array_like=True):
    """A refused message: the reason, its place in the topic, and its bytes where they may be kept.

    >>> Rejection("late", "it happened three days before it was received", 0, 12, 1_800_000_000_000, b"{}").reason
    'late'
    """

    reason: Reason
    detail: str
    partition: int
    kafka_offset: int
    kafka_time_ms: int
    payload: bytes | None = None  # None for person_field, and when the bytes are not available

    @classmethod
    def at(cls, columns: Any, index: int, reason: Reason, detail: str, payload: bytes | None = None) -> Self:
        """The rejection of a message. columns: `Incidents` or `schemas.decode.Messages`; its place is at `index`."""
        place = (columns.partition[index], columns.kafka_offset[index], columns.kafka_time_ms[index])
        partition, offset, time_ms = map(int, place)
        return cls(reason, detail, partition, offset, time_ms, payload)


def pack_rejections(rejections: Sequence[Rejection]) -> bytes:
    """The rejections as bytes, in slices, so that unpacking needs the memory of a slice. No rejection gives no byte."""
    if not rejections:
        return b""
    slices = [rejections[first : first + _SLICE] for first in range(0, len(rejections), _SLICE)]
    return msgspec.msgpack.encode(slices)


def unpack_rejections(packed: bytes) -> Iterator[Rejection]:
    """The rejections in their order; a slice is decoded only when it is needed."""
    if not packed:
        return
    for part in msgspec.msgpack.decode(packed, type=list[msgspec.Raw]):
        yield from msgspec.msgpack.decode(part, type=list[Rejection])
