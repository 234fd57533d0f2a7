"""From Kafka's bytes to incidents: strict, total, and fast. A message is counted or refused, never lost.

`decode_messages` gives back columns per region and a rejection, with its reason, for every refused message.
The fast path decodes into a typed struct; only a message that fails there is looked at again to name the reason.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
import numpy as np
import xxhash
from msgspec import UNSET, UnsetType

from schemas.event import MAX_EVENT_BYTES, AwareTime, Event, Reason
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents, Rejection
from schemas.spec import Spec

_TIME_FIELDS = ("occurred_at", "received_at")
_PERSON_WORDS = re.compile(
    r"name|phone|mobile|e?mail|birth|\bdob\b|\bage\b|\bsex\b|gender|race|ethnic|religio|nationalit|ssn|"
    r"social_?sec|passport|licen[cs]e|plate|\bvin\b|address|\baddr\b|street|suspect|victim|offender|witness|"
    r"caller|patient|person|driver|owner|complainant|arrest|officer_?id|badge|face|photo|finger|biometric|"
    r"\bmrn\b|medical_?rec|insur|account|narrative|descript|remark|comment|\bnotes?\b|free_?text"
)


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


def incident_key(incident_id: str) -> int:
    """64-bit XXH3 of the UTF-8 id: the same in every process and release. Two ids collide once in 4e9 pairs²."""
    return xxhash.xxh3_64_intdigest(incident_id.encode())


def decode_messages(messages: Messages, regions: Mapping[str, Vocabulary]) -> Decoded:
    """Decode every message. Never raises for a message's content; each is an incident or a rejection."""
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
                refuse(index, "", *_reason_for(value))
                continue
            event = _WIRE.decode(value)
            if value.count(b'"') != _expected_quotes(event) and (fault := _fault_in_keys(value)):
                refuse(index, "", *fault)
                continue
            events[event.region].append(event)
            indices[event.region].append(index)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refuse(index, "", *_reason_for(value))
        except KeyError:
            refuse(index, "", "unknown_region", "no artifact of this deployment has this region")

    incidents = {}
    for region, chosen in events.items():
        if chosen:
            where = np.asarray(indices[region], np.intp)
            incidents[region] = _columns(region, chosen, where, messages, regions[region], refuse)
    return Decoded(incidents=incidents, rejections=refused)


def _columns(
    region: str, events: list[Any], where: np.ndarray, messages: Messages, vocabulary: Vocabulary, refuse: Any
) -> Incidents:
    """Columns of the events that the region's spec accepts; the others go to `refuse`."""
    spec = vocabulary.spec
    kafka_ms = messages.kafka_time_ms[where]
    occurred = np.array([event.occurred_at.timestamp() for event in events])
    received_ms = np.array(
        [
            event.received_at.timestamp() * 1000 if event.received_at else kafka_time
            for event, kafka_time in zip(events, kafka_ms.tolist(), strict=True)
        ]
    ).astype(np.int64)
    occurred_s = np.floor(occurred).astype(np.int64)
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
    printable = np.array([event.incident_id.isprintable() for event in events])
    ahead = np.maximum(occurred * 1000 - received_ms, received_ms - kafka_ms)
    behind_s = received_ms / 1000 - occurred
    faults: list[tuple[np.ndarray, Reason, str]] = [
        (~printable, "schema", "incident_id holds a control character"),
        (category == len(codes), "unknown_category", "the region's spec has no such category"),
        (~inside, "outside_grid", "the place lies outside the region's grid"),
        (
            ahead > spec.future_limit_s * 1000,
            "future",
            f"more than {spec.future_limit_s} s ahead of its arrival",
        ),
        (behind_s > spec.late_limit_s, "late", f"more than {spec.late_limit_s} s before its arrival"),
    ]
    good = np.ones(len(events), bool)
    for fault, reason, detail in faults:
        for position in np.flatnonzero(fault & good).tolist():
            refuse(int(where[position]), region, reason, detail)
        good &= ~fault
    revision = [0 if event.revision is UNSET else event.revision for event in events]
    columns = Incidents(
        key=np.array([xxhash.xxh3_64_intdigest(event.incident_id.encode()) for event in events], np.uint64),
        revision=np.array(revision, np.int32),
        occurred_s=occurred_s,
        received_ms=received_ms,
        cell=cell,
        category=category,
        flags=flags,
        partition=messages.partition[where].astype(np.int32),
        kafka_offset=messages.kafka_offset[where].astype(np.int64),
    )
    return columns if good.all() else columns.select(good)


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


def _fault_in_keys(value: bytes) -> tuple[Reason, str] | None:
    seen: set[str] = set()
    doubled: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, _ in pairs:
            (doubled.append if key in seen else seen.add)(key)

    json.loads(value, object_pairs_hook=collect)
    return ("schema", f"key {doubled[0]!r} stands more than once") if doubled else None


def _reason_for(value: bytes | None) -> tuple[Reason, str]:
    """Why a message that the fast path refused is refused. Details name fields, never their values."""
    if value is None:
        return "null_value", "the message has no value (a tombstone)"
    if len(value) > MAX_EVENT_BYTES:
        return "too_large", f"{len(value)} bytes, at most {MAX_EVENT_BYTES}"
    try:
        record = msgspec.json.decode(value)
        keys = list(record) if isinstance(record, dict) else []
        text = all(isinstance(key, str) for key in keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not_json", "the value is not one JSON text in UTF-8"
    if not isinstance(record, dict) or not text:
        return "schema", "the value is not a JSON object"
    unknown = [key for key in record if key not in Event.__struct_fields__]
    if any(_PERSON_WORDS.search(_words(key)) for key in unknown):
        return "person_field", "a field that may describe a person; the payload is not kept"
    if unknown:
        return "unknown_field", f"{len(unknown)} field(s) that the event contract does not have"
    for field in _TIME_FIELDS:
        given = record.get(field)
        if (given is not None or (field == "occurred_at" and field in record)) and not _is_aware_time(given):
            return "bad_time", f"{field} is not an RFC 3339 time with an offset"
    try:
        _WIRE.decode(value)
    except msgspec.ValidationError as error:
        return "schema", re.sub(r"'[^']*'", "'...'", str(error))[:200]
    return "schema", "the value is no event"


def _words(key: str) -> str:
    """`callerName` -> `caller_name`, `DOB` -> `dob`: one spelling for the list of person words."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key).lower()
    return re.sub(r"[^a-z0-9]+", " ", spaced).strip().replace(" ", "_") + " " + re.sub(r"[^a-z0-9]+", " ", spaced)


def _is_aware_time(value: object) -> bool:
    try:
        msgspec.convert(value, type=AwareTime)
    except msgspec.ValidationError:
        return False
    return True
