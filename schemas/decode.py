"""From Kafka's bytes to incidents: strict and fast. Every message becomes an incident or a rejection.

`decode_messages` returns columns per region, and a rejection with its reason for every refused message.
The fast path decodes into a typed struct. Only a message that fails there is read again (schemas/refusal.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import UNSET, UnsetType

from schemas.event import Event, Reason
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, NO_PLACE, Incidents, Rejection, fixed_places
from schemas.limits import MAX_EVENT_BYTES
from schemas.masks import NO_MASKS, Masks, refuse_other_masks
from schemas.refusal import fault_in_keys, kept_payload, reason_for, region_named
from schemas.spec import Spec


def _wire_type() -> Any:
    """Event, but an absent optional field is UNSET: `_expected_quotes` needs to know which fields were sent."""
    optional = {field.name for field in msgspec.structs.fields(Event) if not field.required}
    hints = get_type_hints(Event, include_extras=True)
    spec = [(n, t | UnsetType, UNSET) if n in optional else (n, t) for n, t in hints.items()]
    return msgspec.defstruct("WireEvent", spec, forbid_unknown_fields=True, gc=False)


_WIRE = msgspec.json.Decoder(_wire_type())
Fault = tuple[npt.NDArray[np.bool_], Reason, str]  # (n,) which events have it, the reason, its detail
_REQUIRED_QUOTES = 24  # 6 + 1 required keys, 5 of them with a text value


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Incidents and rejections by region. Rejections of messages that name no region of the specs are of region ''."""

    incidents: Mapping[str, Incidents]
    rejections: Mapping[str, list[Rejection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """A slice of a topic: the values, and the place of each in the topic, all of one length."""

    values: Sequence[bytes | None]
    partition: np.ndarray
    kafka_offset: np.ndarray
    kafka_time_ms: np.ndarray


def incident_keys(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """64-bit XXH3 of each id in UTF-8: the same in every process and release.

    The chance that two of 6 million ids share a key is one in a million.
    """
    return np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, ids)), np.uint64, len(ids))


def decode_messages(
    messages: Messages, specs: Mapping[str, Spec], *, now_ms: int | None = None, masks: Masks = NO_MASKS
) -> Decoded:
    """Decode every message. Never raises for a message's content; each is an incident or a rejection.

    now_ms: the real time, where there is one. A message whose Kafka timestamp is further ahead of it than a spec's
    limit is refused as `future`, so that no producer can move a region's clock ahead.
    masks: those of the specs; an incident inside them counts as little as one of an origin that is not counted.
    Raises ArtifactError when the specs have other masks.

    >>> place = np.zeros(1, np.int64)
    >>> messages = Messages(values=[b"{}"], partition=place, kafka_offset=place, kafka_time_ms=place)
    >>> [rejection.reason for rejection in decode_messages(messages, {}).rejections[""]]
    ['schema']
    """
    refusals = _Refusals(messages)
    events: dict[str, list[Any]] = {region: [] for region in specs}
    indices: dict[str, list[int]] = {region: [] for region in specs}
    for index, value in enumerate(messages.values):
        try:
            if value is None or len(value) > MAX_EVENT_BYTES:
                refusals.add(index, region_named(value, specs), *reason_for(value))
                continue
            event = _WIRE.decode(value)
            if value.count(b'"') != _expected_quotes(event) and (fault := fault_in_keys(value)):
                refusals.add(index, region_named(value, specs), *fault)
                continue
            events[event.region].append(event)
            indices[event.region].append(index)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refusals.add(index, region_named(value, specs), *reason_for(value))
        except KeyError:
            refusals.add(index, "", "unknown_region", "no artifact of this deployment has this region")
    incidents = {
        region: _masked(
            _accepted(region, chosen, np.asarray(indices[region]), specs[region], refusals, now_ms),
            specs[region],
            masks,
        )
        for region, chosen in events.items()
        if chosen
    }
    return Decoded(incidents=incidents, rejections=refusals.by_region)


class _Refusals:
    """The rejections of a slice of messages."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.by_region: dict[str, list[Rejection]] = {}

    def add(self, index: int, region: str, reason: Reason, detail: str) -> None:
        payload = kept_payload(self.messages.values[index], reason)
        rejection = Rejection.at(self.messages, index, reason, detail, payload)
        self.by_region.setdefault(region, []).append(rejection)

    def add_first(self, faults: list[Fault], where: np.ndarray, region: str) -> npt.NDArray[np.bool_]:
        """Refuse each event for its first fault. where: (n,) index of each event. Returns (n,) whether it has none."""
        good = np.ones(len(where), bool)
        for has_fault, reason, detail in faults:
            for position in np.flatnonzero(has_fault & good).tolist():
                self.add(int(where[position]), region, reason, detail)
            good &= ~has_fault
        return good


def _accepted(
    region: str, events: list[Any], where: np.ndarray, spec: Spec, refusals: _Refusals, now_ms: int | None
) -> Incidents:
    """The events that the region's spec accepts, as columns; the others go to `refusals`. where: (n,) index of each."""
    messages = refusals.messages
    codes = {slug: code for code, slug in enumerate(spec.categories)}
    kafka_ms = messages.kafka_time_ms[where]
    occurred_us, received_us, received_ms = _times(events, kafka_ms)
    ids = [event.incident_id for event in events]
    category = np.array([codes.get(event.category, len(codes)) for event in events], np.int16)
    lat_deg, lon_deg = np.array([event.lat for event in events]), np.array([event.lon for event in events])
    cell, inside = spec.grid.locate(lat_deg, lon_deg)
    ahead_of_arrival_us = np.maximum(occurred_us - received_us, received_us - kafka_ms * 1e3)
    if now_ms is not None:
        ahead_of_arrival_us = np.maximum(ahead_of_arrival_us, (kafka_ms - now_ms) * 1e3)
    is_ahead_of_arrival = ahead_of_arrival_us > spec.future_limit_s * 1e6
    is_late_at_arrival = received_us - occurred_us > spec.late_limit_s * 1e6
    printable = np.fromiter(map(str.isprintable, ids), bool, len(ids))
    faults: list[Fault] = [
        (~printable, "schema", "incident_id holds a character that cannot be printed"),
        (category == len(codes), "unknown_category", "the region's spec has no such category"),
        (~inside, "outside_grid", "the place lies outside the region's grid"),
        (is_ahead_of_arrival, "future", f"more than {spec.future_limit_s} s ahead of its arrival"),
        (is_late_at_arrival, "late", f"more than {spec.late_limit_s} s before its arrival"),
    ]
    good = refusals.add_first(faults, where, region)
    columns = Incidents(
        key=incident_keys(ids),
        revision=np.array([0 if event.revision is UNSET else event.revision for event in events], np.int32),
        occurred_s=np.floor(occurred_us / 1e6).astype(np.int64),
        received_ms=received_ms,
        cell=cell,
        category=category,
        flags=_flags(events, frozenset(spec.counted_origins)),
        place=fixed_places(lat_deg, lon_deg),
        partition=messages.partition[where].astype(np.int32),
        kafka_offset=messages.kafka_offset[where].astype(np.int64),
        kafka_time_ms=kafka_ms.astype(np.int64),
    )
    return columns if good.all() else columns.select(good)


def _masked(incidents: Incidents, spec: Spec, masks: Masks) -> Incidents:
    """Those in a mask do not count, and have no place: the memory of incidents lies in the checkpoint."""
    refuse_other_masks(f"the artifact of {spec.region}", spec.masked, masks.digest)
    if not masks.polygons:
        return incidents
    hidden = masks.hold(incidents.place)
    return replace(
        incidents,
        flags=np.where(hidden, incidents.flags & ~np.uint8(COUNTED_ORIGIN), incidents.flags),
        place=np.where(hidden[:, None], np.int32(NO_PLACE), incidents.place),
    )


def _times(events: list[Any], kafka_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occurred in microseconds, received in microseconds and in milliseconds; by default received at Kafka's time."""
    occurred_us = _microseconds([event.occurred_at.timestamp() for event in events])
    stated_us = _microseconds([e.received_at.timestamp() if e.received_at else math.nan for e in events])
    stated = ~np.isnan(stated_us)
    received_ms = kafka_ms.astype(np.int64)
    received_ms[stated] = np.floor(stated_us[stated] / 1e3)
    return occurred_us, np.where(stated, stated_us, kafka_ms * 1e3), received_ms


def _flags(events: list[Any], counted: frozenset[str]) -> np.ndarray:
    flags = [COUNTED_ORIGIN * (event.origin in counted) + CANCELLED * (event.status == "cancelled") for event in events]
    return np.array(flags, np.uint8)


def _microseconds(epoch_s: list[float]) -> npt.NDArray[np.float64]:
    """Whole microseconds, exact until the year 2255, so that both limits of time are exact."""
    return np.rint(np.array(epoch_s) * 1e6)


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
