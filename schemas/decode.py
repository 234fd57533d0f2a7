"""From Kafka's bytes to incidents: strict, total, and fast. A message is counted or refused, never lost.

`decode_messages` gives back columns per region and a rejection, with its reason, for every refused message.
The fast path decodes into a typed struct; only a message that fails there is looked at again (schemas/refusal.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import UNSET, UnsetType

from schemas.event import Event, Reason
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents, Rejection
from schemas.limits import MAX_EVENT_BYTES
from schemas.refusal import fault_in_keys, reason_for
from schemas.spec import Spec


def _wire_type() -> Any:
    """Event with every optional field told apart from an absent one, so that doubled keys can be noticed."""
    optional = {field.name for field in msgspec.structs.fields(Event) if not field.required}
    hints = get_type_hints(Event, include_extras=True)
    spec = [(n, t | UnsetType, UNSET) if n in optional else (n, t) for n, t in hints.items()]
    return msgspec.defstruct("WireEvent", spec, forbid_unknown_fields=True, kw_only=True, gc=False)


_WIRE = msgspec.json.Decoder(_wire_type())
_REQUIRED_QUOTES = 24  # 6 + 1 required keys, 5 of them with a text value


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the decoder needs to know of one region, taken from its spec once."""

    spec: Spec
    categories: Mapping[str, int]

    @classmethod
    def of(cls, spec: Spec) -> "Vocabulary":
        return cls(spec=spec, categories={slug: code for code, slug in enumerate(spec.categories)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Incidents and rejections by region. Messages of no known region are rejections of region ''."""

    incidents: Mapping[str, Incidents]
    rejections: Mapping[str, list[Rejection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """A slice of a topic: the values and where each stood, all of one length."""

    values: Sequence[bytes | None]
    partition: np.ndarray
    kafka_offset: np.ndarray
    kafka_time_ms: np.ndarray


def incident_keys(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """64-bit XXH3 of each id in UTF-8: the same in every process and release.

    Among 6 million ids, two share a key once in a million times.
    """
    return np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, ids)), np.uint64, len(ids))


def decode_messages(messages: Messages, regions: Mapping[str, Vocabulary], *, now_ms: int | None = None) -> Decoded:
    """Decode every message. Never raises for a message's content; each is an incident or a rejection.

    now_ms: the real time, where there is one; a Kafka timestamp further ahead of it than a spec's limit makes the
    message `future`, so that no producer's clock can carry a region's clock away.
    """
    refused: dict[str, list[Rejection]] = {}

    def refuse(index: int, region: str, reason: Reason, detail: str) -> None:
        keep = messages.values[index] if reason != "person_field" else None
        refused.setdefault(region, []).append(
            Rejection(
                reason,
                detail,
                int(messages.partition[index]),
                int(messages.kafka_offset[index]),
                int(messages.kafka_time_ms[index]),
                keep if keep is None or len(keep) <= MAX_EVENT_BYTES else None,
            )
        )

    events: dict[str, list[Any]] = {region: [] for region in regions}
    indices: dict[str, list[int]] = {region: [] for region in regions}
    for index, value in enumerate(messages.values):
        try:
            if value is None or len(value) > MAX_EVENT_BYTES:
                refuse(index, "", *reason_for(value))
                continue
            event = _WIRE.decode(value)
            if value.count(b'"') != _expected_quotes(event) and (fault := fault_in_keys(value)):
                refuse(index, "", *fault)
                continue
            events[event.region].append(event)
            indices[event.region].append(index)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refuse(index, "", *reason_for(value))
        except KeyError:
            refuse(index, "", "unknown_region", "no artifact of this deployment has this region")

    incidents = {}
    for region, chosen in events.items():
        if chosen:
            where = np.asarray(indices[region], np.intp)
            incidents[region] = _columns(region, chosen, where, messages, regions[region], refuse, now_ms)
    return Decoded(incidents=incidents, rejections=refused)


def _columns(
    region: str,
    events: list[Any],
    where: np.ndarray,
    messages: Messages,
    vocabulary: Vocabulary,
    refuse: Any,
    now_ms: int | None,
) -> Incidents:
    """Columns of the events that the region's spec accepts; the others go to `refuse`."""
    spec = vocabulary.spec
    kafka_ms = messages.kafka_time_ms[where]
    occurred_us = _microseconds([event.occurred_at.timestamp() for event in events])
    stated_us = _microseconds([e.received_at.timestamp() if e.received_at else math.nan for e in events])
    stated = ~np.isnan(stated_us)
    received_us = np.where(stated, stated_us, kafka_ms * 1e3)
    received_ms = kafka_ms.astype(np.int64)
    received_ms[stated] = np.floor(stated_us[stated] / 1e3)
    codes = vocabulary.categories
    category = np.array([codes.get(event.category, len(codes)) for event in events], np.int16)
    cell, inside = spec.grid.locate(
        np.array([event.lat for event in events]), np.array([event.lon for event in events])
    )
    counted = frozenset(spec.counted_origins)
    flags = np.array(
        [(event.origin in counted) * COUNTED_ORIGIN + (event.status == "cancelled") * CANCELLED for event in events],
        np.uint8,
    )
    ids = [event.incident_id for event in events]
    printable = np.fromiter(map(str.isprintable, ids), bool, len(ids))
    ahead_us = np.maximum(occurred_us - received_us, received_us - kafka_ms * 1e3)
    if now_ms is not None:
        ahead_us = np.maximum(ahead_us, (kafka_ms - now_ms) * 1e3)
    faults: list[tuple[np.ndarray, Reason, str]] = [
        (~printable, "schema", "incident_id holds a character that cannot be printed"),
        (category == len(codes), "unknown_category", "the region's spec has no such category"),
        (~inside, "outside_grid", "the place lies outside the region's grid"),
        (
            ahead_us > spec.future_limit_s * 1e6,
            "future",
            f"more than {spec.future_limit_s} s ahead of its arrival",
        ),
        (
            received_us - occurred_us > spec.late_limit_s * 1e6,
            "late",
            f"more than {spec.late_limit_s} s before its arrival",
        ),
    ]
    good = np.ones(len(events), bool)
    for fault, reason, detail in faults:
        for position in np.flatnonzero(fault & good).tolist():
            refuse(int(where[position]), region, reason, detail)
        good &= ~fault
    revision = [0 if event.revision is UNSET else event.revision for event in events]
    columns = Incidents(
        key=incident_keys(ids),
        revision=np.array(revision, np.int32),
        occurred_s=np.floor(occurred_us / 1e6).astype(np.int64),
        received_ms=received_ms,
        cell=cell,
        category=category,
        flags=flags,
        partition=messages.partition[where].astype(np.int32),
        kafka_offset=messages.kafka_offset[where].astype(np.int64),
    )
    return columns if good.all() else columns.select(good)


def _microseconds(epoch_s: list[float]) -> npt.NDArray[np.float64]:
    """Whole microseconds, exact until the year 2255, so that both time rules hold to the last digit."""
    return np.rint(np.array(epoch_s, np.float64) * 1e6)


def _expected_quotes(event: Any) -> int:
    """Quotation marks in the event's shortest JSON; more of them mean escapes or doubled keys."""
    return (
        _REQUIRED_QUOTES
        + 2 * (event.revision is not UNSET)
        + 4 * (event.status is not UNSET)
        + (0 if event.received_at is UNSET else 2 if event.received_at is None else 4)
        + (0 if event.type_code is UNSET else 2 if event.type_code is None else 4)
        + 2 * (event.priority is not UNSET)
        + 2 * (event.accuracy_m is not UNSET)
    )
