"""Messages that must be refused, each with the reason that the dead letter has to give.

For the replay's `--bad`, the tests of the whole chain and the demo: what a broken or careless producer sends.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.event import Event, Reason
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """One message to be refused. `value` None is a Kafka tombstone."""

    name: str
    value: bytes | None
    reason: Reason


def template_event(spec: Spec, *, as_of_s: int) -> Event:
    """A valid event in the middle of the spec's grid, just received at `as_of_s`."""
    lat, lon = spec.grid.centres()
    middle = spec.grid.cells // 2
    return Event(
        incident_id="template-1",
        region=spec.region,
        occurred_at=datetime.fromtimestamp(as_of_s - 60, UTC),
        category=spec.categories[0],
        lat=round(float(lat[middle]), 6),
        lon=round(float(lon[middle]), 6),
        origin="public_call",
        received_at=datetime.fromtimestamp(as_of_s, UTC),
    )


def poison_messages(template: Event) -> tuple[Poison, ...]:
    """Some 80 kinds of bad message, each one step away from `template`.

    `template` must be an event that its region accepts, with `received_at`; send them with a Kafka timestamp that is
    not before it.
    """
    record = msgspec.to_builtins(template)
    text = msgspec.json.encode(template)
    kinds = (
        *_not_one_json_text(text, record),
        *_wrong_values(record),
        *_unknown_and_person_fields(record),
        *_vocabulary_and_place(record),
        *_times(template, record),
    )
    return tuple(Poison(name=name, value=value, reason=reason) for name, reason, value in kinds)


_Kind = tuple[str, Reason, bytes | None]


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def _with_text(record: dict[str, Any], field: str, literal: str) -> bytes:
    """The record with `literal` standing unquoted as the value of `field`."""
    return _json({**record, field: "\x00"}).replace(b'"\\u0000"', literal.encode())


def _not_one_json_text(text: bytes, record: dict[str, Any]) -> Iterator[_Kind]:
    """Nothing, too much, or bytes that no JSON parser accepts as one text."""
    yield "tombstone", "null_value", None
    yield "one byte too large", "too_large", text[:-1] + b" " * (MAX_EVENT_BYTES + 1 - len(text)) + b"}"
    yield "giant", "too_large", _json({**record, "incident_id": "x" * 65_536})
    yield "empty", "not_json", b""
    yield "blank", "not_json", b" \n"
    yield "truncated", "not_json", text[:-20]
    yield "cut to half", "not_json", text[: len(text) // 2]
    yield "garbage after the object", "not_json", text + b"x"
    yield "two objects", "not_json", text + text
    yield "two lines", "not_json", text + b"\n" + text
    yield "single quotes", "not_json", text.replace(b'"', b"'")
    yield "bare words", "not_json", b"incident at the corner"
    yield "comma at the end", "not_json", text[:-1] + b",}"
    yield "comment", "not_json", b"/* new */" + text
    yield "control character unescaped", "not_json", text.replace(b'"public_call"', b'"public\x01call"')
    yield "UTF-16", "not_json", text.decode().encode("utf-16")
    yield "byte order mark", "not_json", b"\xef\xbb\xbf" + text
    yield "bytes FF FE in a text", "not_json", text.replace(b'"public_call"', b'"public\xff\xfecall"')
    yield "overlong UTF-8", "not_json", text.replace(b'"public_call"', b'"public\xc0\x80call"')
    yield "gzip", "not_json", gzip.compress(text, mtime=0)
    yield "NaN", "not_json", _with_text(record, "lat", "NaN")
    yield "Infinity", "not_json", _with_text(record, "lon", "Infinity")
    yield "minus Infinity", "not_json", _with_text(record, "lat", "-Infinity")
    yield "leading zero", "not_json", _with_text(record, "revision", "007")
    yield "hexadecimal", "not_json", _with_text(record, "revision", "0x10")
    yield "nested 2000 deep", "not_json", b"[" * 2000 + b"]" * 2000
    yield "XML", "not_json", b"<incident><lat>1</lat></incident>"
    yield "zero bytes", "not_json", bytes(64)


def _wrong_values(record: dict[str, Any]) -> Iterator[_Kind]:
    """JSON, but not an event: wrong shape, type, range, or a field missing or doubled."""
    yield "array of one event", "schema", b"[" + _json(record) + b"]"
    yield "number", "schema", b"42"
    yield "null", "schema", b"null"
    yield "text", "schema", b'"incident"'
    yield "empty object", "schema", b"{}"
    for field in ("incident_id", "region", "occurred_at", "category", "lat", "lon", "origin"):
        yield f"no {field}", "schema", _json({key: value for key, value in record.items() if key != field})
    yield "doubled key", "schema", _json(record)[:-1] + b',"lat":0.0}'
    yield "doubled key with the same value", "schema", _json(record)[:-1] + b',"origin":"public_call"}'
    yield "number beyond a double", "schema", _with_text(record, "lat", "1e999")
    yield "coordinate as text", "schema", _json({**record, "lon": "2.5"})
    yield "NaN as text", "schema", _json({**record, "lat": "NaN"})
    yield "coordinate null", "schema", _json({**record, "lat": None})
    yield "coordinate as a list", "schema", _json({**record, "lat": [record["lat"]]})
    yield "latitude 90.0001", "schema", _json({**record, "lat": 90.0001})
    yield "longitude -181", "schema", _json({**record, "lon": -181})
    yield "fractional revision", "schema", _json({**record, "revision": 1.7})
    yield "negative revision", "schema", _json({**record, "revision": -1})
    yield "revision beyond 32 bits", "schema", _json({**record, "revision": 99_999_999_999})
    yield "priority 10", "schema", _json({**record, "priority": 10})
    yield "negative accuracy", "schema", _json({**record, "accuracy_m": -1.0})
    yield "empty id", "schema", _json({**record, "incident_id": ""})
    yield "id of 129 characters", "schema", _json({**record, "incident_id": "x" * 129})
    yield "id as a number", "schema", _json({**record, "incident_id": 17})
    yield "control character in the id", "schema", _json({**record, "incident_id": "a\x00b"})
    yield "origin unheard of", "schema", _json({**record, "origin": "telepathy"})
    yield "status unheard of", "schema", _json({**record, "status": "perhaps"})
    yield "status in capitals", "schema", _json({**record, "status": "OPEN"})


def _unknown_and_person_fields(record: dict[str, Any]) -> Iterator[_Kind]:
    """Fields that the closed contract does not have; those that may describe a person are a reason of their own."""
    yield "schema version", "unknown_field", _json({**record, "schema_version": 99})
    yield "weather", "unknown_field", _json({**record, "weather": "snow"})
    yield "field in capitals", "unknown_field", _json({**record, "LAT": 1.0})
    yield "nested object", "unknown_field", _json({**record, "unit": {"id": 7}})
    for field, value in (
        ("name", "A. Example"),
        ("callerName", "A. Example"),
        ("caller_name", "A. Example"),
        ("Caller-Phone", "0100 000000"),
        ("phone", "0100 000000"),
        ("email", "a@example.org"),
        ("DOB", "1980-01-01"),
        ("dateOfBirth", "1980-01-01"),
        ("SSN", "000-00-0000"),
        ("suspect", {"height_cm": 180}),
        ("race", "x"),
        ("gender", "x"),
        ("licensePlate", "EX 1"),
        ("home_address", "1 Example Street"),
        ("narrative", "caller says"),
    ):
        yield f"person field {field}", "person_field", _json({**record, field: value})
    yield "person field beside an unknown one", "person_field", _json({**record, "weather": "snow", "victim": "x"})
    yield "person field and a bad time", "person_field", _json({**record, "occurred_at": "noon", "patient": "x"})


def _vocabulary_and_place(record: dict[str, Any]) -> Iterator[_Kind]:
    """Events of another world: well-formed, but not of this region, these categories or this grid."""
    yield "region unheard of", "unknown_region", _json({**record, "region": "atlantis"})
    yield "region in capitals", "unknown_region", _json({**record, "region": record["region"].upper() + "X"})
    yield "region empty", "unknown_region", _json({**record, "region": ""})
    yield "category unheard of", "unknown_category", _json({**record, "category": "dragon-sighting"})
    yield "category in capitals", "unknown_category", _json({**record, "category": record["category"].upper() + "X"})
    yield "category with a homoglyph", "unknown_category", _json({**record, "category": "\u0435" + record["category"]})
    yield "category empty", "unknown_category", _json({**record, "category": ""})
    yield "other side of the globe", "outside_grid", _json({**record, **_antipode(record)})
    yield "north pole", "outside_grid", _json({**record, "lat": 90.0})
    yield "south pole", "outside_grid", _json({**record, "lat": -90.0})
    yield "date line", "outside_grid", _json({**record, "lat": -record["lat"], "lon": 180.0})
    yield "sign of the longitude lost", "outside_grid", _json({**record, "lon": -record["lon"]})


def _antipode(record: dict[str, Any]) -> dict[str, float]:
    lon = record["lon"]
    return {"lat": -record["lat"], "lon": lon - 180 if lon > 0 else lon + 180}


def _times(template: Event, record: dict[str, Any]) -> Iterator[_Kind]:
    """Times without a meaning, too far ahead, and too old."""
    epoch_s = int(template.occurred_at.timestamp())
    yield "time without an offset", "bad_time", _json({**record, "occurred_at": "2026-01-01T00:00:00"})
    yield "date only", "bad_time", _json({**record, "occurred_at": "2026-01-01"})
    yield "time as epoch seconds", "bad_time", _json({**record, "occurred_at": epoch_s})
    yield "time as epoch milliseconds", "bad_time", _json({**record, "occurred_at": epoch_s * 1000})
    yield "time empty", "bad_time", _json({**record, "occurred_at": ""})
    yield "time null", "bad_time", _json({**record, "occurred_at": None})
    yield "year 294247", "bad_time", _json({**record, "occurred_at": "294247-01-10T04:00:54Z"})
    yield "month 13", "bad_time", _json({**record, "occurred_at": "2026-13-01T00:00:00Z"})
    yield "30 February", "bad_time", _json({**record, "occurred_at": "2026-02-30T00:00:00Z"})
    yield "American time", "bad_time", _json({**record, "occurred_at": "01/31/2026 07:14:00 PM"})
    yield "received_at without an offset", "bad_time", _json({**record, "received_at": "2026-01-01T00:00:00"})

    received = template.received_at or template.occurred_at

    def at(name: str, reason: Reason, when: datetime) -> _Kind:
        return name, reason, _json({**record, "occurred_at": msgspec.to_builtins(when)})

    yield at("one hour ahead", "future", received + timedelta(hours=1))
    yield at("year 2099", "future", datetime(2099, 1, 1, tzinfo=UTC))
    yield at("year 9999", "future", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    yield at("eight days old", "late", received - timedelta(days=8))
    yield at("epoch 0", "late", datetime(1970, 1, 1, tzinfo=UTC))
    yield at("before 1970", "late", datetime(1950, 6, 1, tzinfo=UTC))
    yield at("year 1", "late", datetime(1, 1, 2, tzinfo=UTC))
