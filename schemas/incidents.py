"""Decoded incidents as columns and their bytes between two stages; and what is written of a refused message."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.event import AwareTime, Reason

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


SCHEMA_VERSION: Literal[1] = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused message: the reason and its place. `source_*` identify it; a repeated batch repeats the letter."""

    schema_version: Annotated[Literal[1], msgspec.Meta(description="Version of this message")]
    reason: Annotated[Reason, msgspec.Meta(description="Why the message was refused")]
    detail: Annotated[str, msgspec.Meta(description="One sentence; names fields, never repeats their values")]
    source_topic: Annotated[str, msgspec.Meta(description="Topic of the refused message")]
    source_partition: Annotated[int, msgspec.Meta(ge=0, description="Its partition")]
    source_offset: Annotated[int, msgspec.Meta(ge=0, description="Its position in the partition")]
    source_time: Annotated[
        AwareTime | None,
        msgspec.Meta(description="Its Kafka timestamp; null when that is no time before the year 10000"),
    ]
    region: Annotated[
        str | None, msgspec.Meta(description="Its region; null when it names none that this deployment scores")
    ]
    payload_base64: Annotated[
        bytes | None,
        msgspec.Meta(
            description="Its bytes in base64; null for `person_field` (never kept), `null_value`, `too_large`, for "
            "what the region's clock refuses, and beyond 4 MiB of refused messages in a Spark task"
        ),
    ]


def encode_dead_letter(rejection: Rejection, *, source_topic: str, region: str | None) -> bytes:
    """The dead letter as JSON in UTF-8. `region` is None for a message that names none of this deployment.

    >>> rejection = Rejection("not_json", "the message is cut off", 0, 12, 1_800_000_000_000, b"{")
    >>> letter = msgspec.json.decode(encode_dead_letter(rejection, source_topic="incidents.v1", region=None))
    >>> letter["reason"], letter["source_offset"], letter["payload_base64"]
    ('not_json', 12, 'ew==')
    """
    return msgspec.json.encode(
        DeadLetter(
            schema_version=SCHEMA_VERSION,
            reason=rejection.reason,
            detail=rejection.detail,
            source_topic=source_topic,
            source_partition=rejection.partition,
            source_offset=rejection.kafka_offset,
            source_time=_time(rejection.kafka_time_ms),
            region=region,
            payload_base64=None if rejection.reason == "person_field" else rejection.payload,
        )
    )


def _time(epoch_ms: int) -> datetime | None:
    """A producer can set Kafka's timestamp to any number. A negative number means that there is no time."""
    try:
        return _EPOCH + timedelta(milliseconds=epoch_ms) if epoch_ms >= 0 else None
    except OverflowError:
        return None
