"""Why a message is refused. The slow path of the decoder: it never raises, and never repeats a value."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec

from schemas.event import AwareTime, Event, Reason
from schemas.limits import MAX_EVENT_BYTES


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


def kept_payload(value: bytes | None, reason: Reason) -> bytes | None:
    """The bytes of a refused message, where they may be kept: never what may describe a person or is too large."""
    may_keep = reason != "person_field" and value is not None and len(value) <= MAX_EVENT_BYTES
    return value if may_keep else None


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
