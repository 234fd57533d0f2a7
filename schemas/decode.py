"""From Kafka's bytes to incidents and marks: strict and fast. Every message becomes one of them, or a refusal.

`decode_messages` returns columns per region, and a rejection with its reason for every refused message. The fast path
decodes into a typed struct. Only a message that fails there is read again, to say why it is refused.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated, Any, Literal, Self, get_args, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import UNSET, UnsetType

from schemas.areas import NO_MASKS, Masks, refuse_other_masks
from schemas.decode_by_shape import LEAST_MESSAGES, Readings, read_by_shape
from schemas.event import ORIGINS, AwareTime, Event, Reason
from schemas.grid import CELL_ID
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, NO_PLACE, Incidents, Rejection, fixed_places
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import ALL_CATEGORIES, SLUG, Spec


@dataclass(slots=True)
class Contract:
    """A closed contract: what decodes a message, the names of its fields, and which of them are times."""

    decoder: "msgspec.json.Decoder[Any]"
    fields: frozenset[str]
    required_time: str
    optional_times: tuple[str, ...] = ()

    @classmethod
    def of(cls, struct: type[msgspec.Struct], required_time: str, *optional_times: str) -> "Contract":
        fields = frozenset(struct.__struct_fields__)
        return cls(msgspec.json.Decoder(struct), fields, required_time, optional_times)

    def decode(self, value: bytes | None) -> Any:
        """The struct in a message, or (reason, detail) of its refusal, which never repeats a value."""
        if value is not None and len(value) <= MAX_EVENT_BYTES and not fault_in_keys(value):
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self.decoder.decode(value)
        return reason_for(value, self)


EVENT = Contract.of(Event, "occurred_at", "received_at")
_PERSON_FIELD: tuple[Reason, str] = "person_field", "a field that may describe a person; the payload is not kept"
# Anywhere in a key. Searching plain texts is about a hundred times as fast as one pattern with alternatives, and many
# bad messages must not delay the good ones.
PERSON_STEMS = """
    name phone mobile mail birth gender ethnic religio nationalit ssn social_sec socialsec passport license licence
    address street suspect victim offender witness caller patient person driver owner complainant arrest officer_id
    officerid badge photo finger biometric contact reporting callback medical_rec medicalrec insur account narrative
    descript remark comment free_text freetext
""".split()  # noqa: SIM905 - a list of words
PERSON_WORDS = frozenset("dob age sex race vin addr face tel ani ali apt subject mrn note notes".split())  # noqa: SIM905
_PLATE = re.compile("(?<!tem)plate")
_BETWEEN_KEYS = "|"
_NOT_IN_WORDS = re.compile(f"[^a-z0-9{_BETWEEN_KEYS}]+")
_CAMEL = re.compile(r"([a-z0-9])(?=[A-Z])")
_REGION = re.compile(rb'"region"\s*:\s*"([a-z0-9_-]+)"')
_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)
MAX_DEPTH = 100  # of values in one another; an event's own are one deep
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")
_ANYTHING = msgspec.json.Decoder()


def reason_for(value: bytes | None, contract: Contract = EVENT) -> tuple[Reason, str]:
    """Why a message that the fast path refused is refused. Details name fields, never their values."""
    if value is None:
        return "null_value", "the message has no value (a tombstone)"
    if len(value) > MAX_EVENT_BYTES:
        return "too_large", f"{len(value)} bytes, at most {MAX_EVENT_BYTES}"
    try:
        record = _value_of(value)
    except (msgspec.DecodeError, UnicodeDecodeError, _TooDeep) as error:
        if _names_a_person([value.replace(b"\0", b"").decode(errors="replace")]):
            return _PERSON_FIELD
        if isinstance(error, _TooDeep):
            return "not_json", f"values are nested more than {MAX_DEPTH} deep"
        if isinstance(error, msgspec.ValidationError):
            return "schema", "a number is beyond what a 64-bit float can hold"
        return "not_json", "the value is not one JSON text in UTF-8"
    if _names_a_person(_keys_in(record, contract.fields)) or _names_a_person(_packed_texts_in(record)):
        return _PERSON_FIELD
    if not isinstance(record, dict):
        return "schema", "the value is not a JSON object"
    if unknown := record.keys() - contract.fields:
        return "unknown_field", f"{len(unknown)} field(s) that the event contract does not have"
    for field in (contract.required_time, *contract.optional_times):
        given = record.get(field)
        if (given is not None or (field == contract.required_time and field in record)) and not _is_aware_time(given):
            return "bad_time", f"{field} is not an RFC 3339 time with an offset"
    if fault := fault_in_keys(value):  # the parser kept only the last value of a key; the first may be wrong
        return fault
    try:
        contract.decoder.decode(value)
    except msgspec.ValidationError as error:
        return "schema", _QUOTED.sub("...", str(error))
    return "schema", "the value is not an event"


class _WithRegion(msgspec.Struct):
    region: str = ""


_WITH_REGION = msgspec.json.Decoder(_WithRegion)


class _TooDeep(ValueError):
    """A message nests its values deeper than `MAX_DEPTH`."""


def _value_of(value: bytes, decoder: "msgspec.json.Decoder[Any]" = _ANYTHING) -> Any:
    """What a refused message holds. How deep it may nest is counted: a parser's own limit depends on who calls it.

    Raises _TooDeep, msgspec.DecodeError or UnicodeDecodeError.
    """
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH:
        steps = (1 if bracket in b"[{" else -1 for bracket in _BRACKET.findall(_STRING.sub(b"", value)))
        if max(accumulate(steps), default=0) > MAX_DEPTH:
            raise _TooDeep
    return decoder.decode(value)


def region_named(value: bytes | None, regions: Container[str]) -> str:
    """Which of `regions` a refused message names, or '': bad messages must show where their producer's good ones do.

    In bytes that are no JSON object of the allowed size, a region counts when it is the only one named in their head.

    >>> region_named(b'{"region": "riverton", "incident_', {"riverton"})
    'riverton'
    """
    if value is None:
        return ""
    if len(value) <= MAX_EVENT_BYTES:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, _TooDeep):
            region = _value_of(value, _WITH_REGION).region
            return region if region in regions else ""
    names = set(_REGION.findall(value[:MAX_EVENT_BYTES]))
    region = names.pop().decode() if len(names) == 1 else ""
    return region if region in regions else ""


def fault_in_keys(value: bytes) -> tuple[Reason, str] | None:
    """A key that stands twice in a JSON object with an event's keys, if there is one."""
    doubled: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        times = Counter(key for key, _ in pairs)
        doubled[:] = [key for key, often in times.items() if often > 1]  # the call for the outermost object is the last

    try:
        json.loads(value, object_pairs_hook=collect)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or nested too deep
        return None
    return ("schema", f"key {doubled[0]!r} appears more than once") if doubled else None


def _parts_of(record: object) -> Iterator[object]:
    """The record, and every value in it at every depth."""
    pending = [record]
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _keys_in(record: object, own: frozenset[str]) -> Iterator[str]:
    """Every key at every depth, except the contract's own at the top."""
    for part in _parts_of(record):
        if isinstance(part, dict):
            yield from (part.keys() - own if part is record else part)


def _packed_texts_in(record: object) -> Iterator[str]:
    """Texts that may hold another record (JSON in JSON, XML); every text when the record is no object."""
    for part in _parts_of(record):
        if isinstance(part, str) and (not isinstance(record, dict) or part.lstrip()[:1] in ("{", "[", "<", '"')):
            yield part


def _names_a_person(keys: Iterable[str]) -> bool:
    """Whether a key may describe a person. `callerName` and `Caller-Name` are read as `caller_name`, `DOB` as `dob`."""
    plain = (unicodedata.normalize("NFKC", key) for key in keys)
    text = _BETWEEN_KEYS.join(key.replace(_BETWEEN_KEYS, " ") for key in plain)
    words = _NOT_IN_WORDS.sub(" ", _CAMEL.sub(r"\1 ", text).lower())
    if not PERSON_WORDS.isdisjoint(words.replace(_BETWEEN_KEYS, " ").split()):
        return True
    spelled = words.replace(" ", "_")
    return any(stem in spelled for stem in PERSON_STEMS) or bool(_PLATE.search(spelled))


def personal_keys(value: bytes) -> list[str]:
    """The keys by which an event is refused as `person_field`, for a terminal alone; none where it is no JSON."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, _TooDeep):
        record = _value_of(value)
        return sorted({key for key in _keys_in(record, EVENT.fields) if _names_a_person([key])})
    return []


def _is_aware_time(value: object) -> bool:
    try:
        msgspec.convert(value, type=AwareTime)
    except msgspec.ValidationError:
        return False
    return True


# Event, but an absent optional field is UNSET: `_expected_quotes` needs to know which fields were sent.
_OPTIONAL = {field.name for field in msgspec.structs.fields(Event) if not field.required}
_TYPES = get_type_hints(Event, include_extras=True)
_FIELDS = [(name, kind | UnsetType, UNSET) if name in _OPTIONAL else (name, kind) for name, kind in _TYPES.items()]
_WIRE: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(
    msgspec.defstruct("WireEvent", _FIELDS, forbid_unknown_fields=True, gc=False)
)
Fault = tuple[npt.NDArray[np.bool_], Reason, str]  # (n,) which events have it, the reason, its detail
_REQUIRED_QUOTES = 24  # 6 + 1 required keys, 5 of them with a text value


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Incidents and rejections by region. Rejections of messages that name no region of the specs are of region ''."""

    incidents: Mapping[str, Incidents]
    rejections: Mapping[str, list[Rejection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """A slice of a topic: the values one after another, and the place of each in the topic."""

    data: bytes
    ends: npt.NDArray[np.int64]  # (n + 1,) value i lies between ends[i] and ends[i + 1]
    missing: npt.NDArray[np.bool_]  # (n,) no value: a tombstone
    partition: np.ndarray
    kafka_offset: np.ndarray
    kafka_time_ms: np.ndarray

    @classmethod
    def of(cls, values: Sequence[bytes | None], **place: np.ndarray) -> Self:
        lengths = [len(value or b"") for value in values]
        return cls(
            data=b"".join(value or b"" for value in values),
            ends=np.cumsum([0, *lengths], dtype=np.int64),
            missing=np.array([value is None for value in values], bool),
            **place,
        )

    def __len__(self) -> int:
        return len(self.missing)

    def value(self, index: int) -> bytes | None:
        return None if self.missing[index] else self.data[self.ends[index] : self.ends[index + 1]]


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
    >>> messages = Messages.of([b"{}"], partition=place, kafka_offset=place, kafka_time_ms=place)
    >>> [rejection.reason for rejection in decode_messages(messages, {}).rejections[""]]
    ['schema']
    """
    refusals = _Refusals(messages)
    readings = []
    pending = np.ones(len(messages), bool)
    if len(messages) >= LEAST_MESSAGES and specs:
        readings = read_by_shape(messages.data, messages.ends, messages.missing, specs, _is_event)
        for reading in readings:
            pending[reading.index] = False
    if pending.any() or not readings:
        readings.append(_read_each(messages, np.flatnonzero(pending), specs, refusals))
    reading = Readings.concatenate(readings)
    incidents = {}
    for code, (region, spec) in enumerate(specs.items()):
        of_region = reading.region == code
        if not of_region.any():
            continue
        refuse_other_masks(f"the artifact of {spec.region}", spec.masked, masks.digest)
        incidents[region] = accepted = _accepted(region, reading.select(of_region), spec, refusals, now_ms)
        if masks.polygons:  # what is in them has no place either: the memory of incidents lies in the checkpoint
            hidden = masks.hold(accepted.place)
            uncounted = accepted.flags & ~np.uint8(COUNTED_ORIGIN)
            incidents[region] = replace(
                accepted,
                flags=np.where(hidden, uncounted, accepted.flags),
                place=np.where(hidden[:, None], np.int32(NO_PLACE), accepted.place),
            )
    return Decoded(incidents=incidents, rejections=refusals.by_region)


def _read_each(
    messages: Messages, where: npt.NDArray[np.intp], specs: Mapping[str, Spec], refusals: "_Refusals"
) -> Readings:
    """What each of the messages at `where` says, one after another; those that are no event go to `refusals`."""
    regions = {region: code for code, region in enumerate(specs)}
    categories = [{slug: code for code, slug in enumerate(spec.categories)} for spec in specs.values()]
    events, index, region_codes = [], [], []
    for i in where.tolist():
        value = messages.value(i)
        try:
            if value is None or len(value) > MAX_EVENT_BYTES:
                refusals.add(i, region_named(value, specs), *reason_for(value))
                continue
            event = _WIRE.decode(value)
            if value.count(b'"') != _expected_quotes(event) and (fault := fault_in_keys(value)):
                refusals.add(i, region_named(value, specs), *fault)
                continue
            region_codes.append(regions[event.region])
            events.append(event)
            index.append(i)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refusals.add(i, region_named(value, specs), *reason_for(value))
        except KeyError:
            refusals.add(i, "", "unknown_region", "no artifact of this deployment has this region")
    ids = [event.incident_id for event in events]
    pairs = zip(events, map(categories.__getitem__, region_codes), strict=True)
    return Readings(
        index=np.array(index, np.int64),
        region=np.array(region_codes, np.int64),
        key=incident_keys(ids),
        printable=np.fromiter(map(str.isprintable, ids), bool, len(ids)),
        occurred_us=_microseconds([event.occurred_at.timestamp() for event in events]),
        received_us=_microseconds([e.received_at.timestamp() if e.received_at else math.nan for e in events]),
        category=np.array([codes.get(event.category, len(codes)) for event, codes in pairs], np.int16),
        lat_deg=np.array([event.lat for event in events], np.float64),
        lon_deg=np.array([event.lon for event in events], np.float64),
        revision=np.array([0 if event.revision is UNSET else event.revision for event in events], np.int32),
        origin=np.array([ORIGINS.index(event.origin) for event in events], np.int8),
        cancelled=np.array([event.status == "cancelled" for event in events], bool),
    )


def _is_event(value: bytes) -> bool:
    """Whether a message is an event in which no key stands twice."""
    try:
        event = _WIRE.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return value.count(b'"') == _expected_quotes(event) or fault_in_keys(value) is None


class _Refusals:
    """The rejections of a slice of messages."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.by_region: dict[str, list[Rejection]] = {}

    def add(self, index: int, region: str, reason: Reason, detail: str) -> None:
        """With its bytes, unless they may describe a person or are too large."""
        value = self.messages.value(index)
        may_keep = reason != "person_field" and value is not None and len(value) <= MAX_EVENT_BYTES
        rejection = Rejection.at(self.messages, index, reason, detail, value if may_keep else None)
        self.by_region.setdefault(region, []).append(rejection)

    def add_first(self, faults: list[Fault], where: np.ndarray, region: str) -> npt.NDArray[np.bool_]:
        """Refuse each event for its first fault. where: (n,) index of each event. Returns (n,) whether it has none."""
        good = np.ones(len(where), bool)
        for has_fault, reason, detail in faults:
            for position in np.flatnonzero(has_fault & good).tolist():
                self.add(int(where[position]), region, reason, detail)
            good &= ~has_fault
        return good


def _accepted(region: str, events: Readings, spec: Spec, refusals: _Refusals, now_ms: int | None) -> Incidents:
    """The events that the region's spec accepts, as columns; the others go to `refusals`."""
    messages, where = refusals.messages, events.index
    kafka_ms = messages.kafka_time_ms[where].astype(np.int64)
    stated = ~np.isnan(events.received_us)
    received_us = np.where(stated, events.received_us, kafka_ms * 1e3)
    received_ms = kafka_ms.copy()
    received_ms[stated] = np.floor(received_us[stated] / 1e3)
    cell, inside = spec.grid.locate(events.lat_deg, events.lon_deg)
    ahead_of_arrival_us = np.maximum(events.occurred_us - received_us, received_us - kafka_ms * 1e3)
    if now_ms is not None:
        ahead_of_arrival_us = np.maximum(ahead_of_arrival_us, (kafka_ms - now_ms) * 1e3)
    is_ahead_of_arrival = ahead_of_arrival_us > spec.future_limit_s * 1e6
    is_late_at_arrival = received_us - events.occurred_us > spec.late_limit_s * 1e6
    faults: list[Fault] = [
        (~events.printable, "schema", "incident_id holds a character that cannot be printed"),
        (events.category == len(spec.categories), "unknown_category", "the region's spec has no such category"),
        (~inside, "outside_grid", "the place lies outside the region's grid"),
        (is_ahead_of_arrival, "future", f"more than {spec.future_limit_s} s ahead of its arrival"),
        (is_late_at_arrival, "late", f"more than {spec.late_limit_s} s before its arrival"),
    ]
    good = refusals.add_first(faults, where, region)
    is_counted = np.array([origin in spec.counted_origins for origin in ORIGINS])
    columns = Incidents(
        key=events.key,
        revision=events.revision,
        occurred_s=np.floor(events.occurred_us / 1e6).astype(np.int64),
        received_ms=received_ms,
        cell=cell,
        category=events.category,
        flags=(COUNTED_ORIGIN * is_counted[events.origin] + CANCELLED * events.cancelled).astype(np.uint8),
        place=fixed_places(events.lat_deg, events.lon_deg),
        partition=messages.partition[where].astype(np.int32),
        kafka_offset=messages.kafka_offset[where].astype(np.int64),
        kafka_time_ms=kafka_ms,
    )
    return columns if good.all() else columns.select(good)


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


Mark = Literal["useful", "not_useful", "acted_on"]
MARKS: tuple[Mark, ...] = get_args(Mark)


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mark. A desk has one of each kind for a cell, category, horizon and time: a repeat changes nothing."""

    region: Annotated[str, msgspec.Meta(description="Slug of a region that this deployment scores")]
    cell: Annotated[str, msgspec.Meta(pattern=CELL_ID, description="Cell id, as on the map: r012c034")]
    at: Annotated[AwareTime, msgspec.Meta(description="Time of the scores that are meant: RFC 3339 with an offset")]
    mark: Annotated[Mark, msgspec.Meta(description="What the shift says of them")]
    desk: Annotated[str, msgspec.Meta(pattern=SLUG, description="Slug of a desk or unit; never of a person")]
    category: Annotated[str, msgspec.Meta(description="Slug of a category, or `all`")] = ALL_CATEGORIES
    horizon: Annotated[str, msgspec.Meta(pattern=r"^\d{1,3}h$", description="As `4h`")] = "4h"


FEEDBACK = Contract.of(Feedback, "at")


def decode_feedback(value: bytes | None) -> Feedback | tuple[Reason, str]:
    """The mark in a message, or why it is refused; a reason never repeats a value."""
    decoded: Feedback | tuple[Reason, str] = FEEDBACK.decode(value)
    return decoded
