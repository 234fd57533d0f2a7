"""Messages at the borders of the contract beside schemas/examples, each with the answer (None: accepted)."""

import gzip
import json
import re
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import Contract, decode_messages, personal_keys, reason_for
from schemas.event import AwareTime
from schemas.limits import MAX_EVENT_BYTES
from tests.faults.oracle import region_in
from tests.harness.toy import toy_grid, toy_messages, toy_record, toy_spec

KAFKA_TIME_MS = 1_773_477_600_000  # 2026-03-14T08:40:00Z
# Around the meridian and the equator, so that zero and minus zero are places inside.
SPEC = toy_spec(grid=toy_grid(20, 20, south_deg=-0.1, west_deg=-0.1), region="null_island")
GOOD = toy_record(region="null_island", occurred_at="2026-03-14T08:00:00Z", lat=0.05, lon=0.06)
LINE = json.dumps(GOOD).encode()


def changed(**fields):
    return json.dumps({**GOOD, **fields}).encode()


def literal(field, text):
    """The event with `text` standing for the field's value, whatever it is."""
    return json.dumps({**GOOD, field: "@@"}).replace('"@@"', text).encode()


CASES = {
    "tombstone": (None, "null_value"),
    "1e999": (literal("lat", "1e999"), "schema"),
    "1e-999 is zero": (literal("lat", "1e-999"), None),
    "number of 5,000 digits": (literal("lat", "1" + "0" * 5000), "schema"),
    "integer of 400 digits": (literal("revision", "1" + "0" * 400), "schema"),
    "boolean as number": (changed(lat=True), "schema"),
    "key twice, once escaped": (LINE[:-1] + b', "l\\u0061t": 0.05}', "schema"),
    "key escaped": (LINE.replace(b'"lat"', b'"l\\u0061t"'), None),
    "UTF-16": (LINE.decode().encode("utf-16"), "not_json"),
    "UTF-16 without a mark": (LINE.decode().encode("utf-16-le"), "not_json"),
    "UTF-32": (LINE.decode().encode("utf-32"), "not_json"),
    "byte order mark": (b"\xef\xbb\xbf" + LINE, "not_json"),
    "nested 2,000 deep": (b"[" * 2000 + b"]" * 2000, "not_json"),
    "objects 1,200 deep": (b'{"a":' * 1200 + b"1" + b"}" * 1200, "not_json"),
    "FF FE in a text": (LINE.replace(b"A-1", b"A\xff\xfe1"), "not_json"),
    "half a UTF-8 character": (LINE.replace(b"A-1", b"A\xc3"), "not_json"),
    "high surrogate alone": (literal("incident_id", '"\\ud800"'), "not_json"),
    "low surrogate alone": (literal("incident_id", '"\\udc00"'), "not_json"),
    "surrogates the wrong way round": (literal("incident_id", '"\\udc00\\ud800"'), "not_json"),
    "surrogate in a key": (LINE[:-1] + b', "\\ud800": 1}', "not_json"),
    "surrogate pair in the id": (literal("incident_id", '"\\ud83d\\ude92"'), None),
    "U+0000 in the id": (literal("incident_id", '"A\\u0000"'), "schema"),
    "line end in the id": (literal("incident_id", '"A\\n"'), "schema"),
    "escape sequence in the id": (literal("incident_id", '"\\u001b[2J"'), "schema"),
    "direction override in the id": (literal("incident_id", '"\\u202e1"'), "schema"),
    "space in the id": (changed(incident_id="A 1"), None),
    "quotation mark in the id": (changed(incident_id='A"1'), None),
    "control character unescaped": (LINE.replace(b"A-1", b"A\x01"), "not_json"),
    "CRLF around": (b"\r\n" + LINE + b"\r\n", None),
    "form feed around": (b"\f" + LINE, "not_json"),
    "gzip": (gzip.compress(LINE, mtime=0), "not_json"),
    "empty field name": (changed(**{"": 1}), "unknown_field"),
    "year 0": (changed(occurred_at="0000-01-01T00:00:00Z"), "bad_time"),
    "leap second": (changed(occurred_at="2016-12-31T23:59:60Z"), "bad_time"),
    "hour 24": (changed(occurred_at="2026-03-13T24:00:00Z"), "bad_time"),
    "last microsecond of time rounded up": (changed(occurred_at="9999-12-31T23:59:59.9999999Z"), "bad_time"),
    "last second of time": (changed(occurred_at="9999-12-31T23:59:59-23:59"), "future"),
    "first second of time": (changed(occurred_at="0001-01-01T00:00:00+23:59"), "late"),
    "lower-case t and z": (changed(occurred_at="2026-03-14t08:00:00z"), None),
    "received_at null": (changed(received_at=None), None),
    "received_at without an offset": (changed(received_at="2026-03-14T08:00:00"), "bad_time"),
    "minus zero": (changed(lat=-0.0, lon=-0.0), None),
    "minus zero as an integer": (literal("lat", "-0"), None),
    "beyond the pole": (changed(lat=90.00001), "schema"),
    "region with a line end": (changed(region="null_island\n"), "unknown_region"),
    "category with a space": (changed(category="fire "), "unknown_category"),
    "id of 1 character": (changed(incident_id="x"), None),
    "id of 128 characters": (changed(incident_id="é" * 128), None),
    "id of 8,000 characters": (changed(incident_id="x" * 8000), "schema"),
    "id of 10,000 characters": (changed(incident_id="x" * 10_000), "too_large"),
    "1 MiB": (b" " * 2**20, "too_large"),
    "largest size": (LINE + b" " * (MAX_EVENT_BYTES - len(LINE)), None),
    "one byte more": (LINE + b" " * (MAX_EVENT_BYTES - len(LINE) + 1), "too_large"),
    "revision 2**31 - 1": (changed(revision=2**31 - 1), None),
    "revision 2**64": (changed(revision=2**64), "schema"),
    "status null": (changed(status=None), "schema"),
    "priority -1": (changed(priority=-1), "schema"),
    "priority null": (changed(priority=None), None),
    "type code and accuracy null": (changed(type_code=None, accuracy_m=None), None),
    "accuracy infinite": (literal("accuracy_m", "1e400"), "schema"),
    "value of a key is an event": (changed(category=GOOD), "schema"),
}


def decode(*values):
    return decode_messages(toy_messages(values, KAFKA_TIME_MS), {"null_island": SPEC})


def test_a_message_at_the_border_gets_its_answer_and_its_neighbours_keep_theirs():
    for name, (value, reason) in CASES.items():
        decoded = decode(LINE, value, LINE)
        refused = [(refusal.kafka_offset, refusal.reason) for part in decoded.rejections.values() for refusal in part]
        assert refused == ([(1, reason)] if reason else []), name
        accepted = decoded.incidents["null_island"].kafka_offset.tolist()
        assert accepted == ([0, 2] if reason else [0, 1, 2]), name


BOOKED = {
    "unknown category": (changed(category="flood"), "null_island"),
    "new field": (changed(weather="rain"), "null_island"),
    "person": (changed(caller_name="John Doe"), "null_island"),
    "no offset": (changed(occurred_at="2026-03-14T08:00:00"), "null_island"),
    "key twice": (LINE[:-1] + b', "lat": 1}', "null_island"),
    "too large": (changed(type_code="x" * MAX_EVENT_BYTES), "null_island"),
    "cut off": (LINE[:-9], "null_island"),
    "Latin-1": (changed(type_code="@").replace(b"@", b"\xfc"), "null_island"),
    "in a list": (b"[" + LINE + b"]", "null_island"),
    "two of its events": (LINE + b"\n" + LINE, "null_island"),
    "another region": (changed(region="atlantis"), ""),
    "events of two regions": (LINE + b"\n" + changed(region="atlantis"), ""),
    "deeper only": (b'{"incident": ' + LINE + b"}", ""),
    "deeper only, of the largest size": ((b'{"incident": ' + LINE + b"}").ljust(MAX_EVENT_BYTES), ""),
    "deeper only, too large to be read": ((b'{"incident": ' + LINE + b"}").ljust(MAX_EVENT_BYTES + 1), "null_island"),
    "cut off, of another region": (changed(region="atlantis")[:-9], ""),
    "region is a list": (changed(region=["null_island"]), ""),
    "region is a number": (changed(region=7), ""),
    "region in Latin-1": (changed(region="@").replace(b"@", b"\xff"), ""),
    "tombstone": (None, ""),
    "cut off before": (b"{", ""),
    "compressed": (gzip.compress(LINE, mtime=0), ""),
}


@pytest.mark.parametrize("name", BOOKED)
def test_a_refused_message_is_booked_on_the_region_of_the_roster_that_it_names(name):
    value, region = BOOKED[name]
    assert list(decode(value).rejections) == [region]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ("null_value", "the message has no value (a tombstone)")),
        (b"{".ljust(MAX_EVENT_BYTES), ("not_json", "the value is not one JSON text in UTF-8")),
        (b"{".ljust(MAX_EVENT_BYTES + 1), ("too_large", f"{MAX_EVENT_BYTES + 1} bytes, at most {MAX_EVENT_BYTES}")),
        (literal("lat", "1e999"), ("schema", "a number is beyond what a 64-bit float can hold")),
        (b"[1]", ("schema", "the value is not a JSON object")),
        (changed(status="John Doe"), ("schema", "Invalid enum value ... - at `$.status`")),
        # What only the spec can refuse
        (literal("incident_id", '"A\\u0000"'), ("schema", "incident_id holds a character that cannot be printed")),
        (changed(category="flood"), ("unknown_category", "the region's spec has no such category")),
        (changed(lat=5), ("outside_grid", "the place lies outside the region's grid")),
        (changed(region="atlantis"), ("unknown_region", "no artifact of this deployment has this region")),
    ],
)
def test_a_detail_names_the_fault_and_repeats_no_value(value, said):
    ((refusal,),) = decode(value).rejections.values()
    assert (refusal.reason, refusal.detail) == said
    assert reason_for(LINE) == ("schema", "the value is not an event")  # where only the fast path refused it


@settings(max_examples=300, deadline=None)
@given(kinds=st.lists(st.sampled_from([None, *CASES, *BOOKED]), max_size=30), cut=st.integers(0, 30))
def test_each_message_is_booked_once_and_on_the_same_region_however_batches_are_cut(kinds, cut):
    values = [LINE if kind is None else (CASES.get(kind) or BOOKED[kind])[0] for kind in kinds]
    booked = []
    for first, part in ((0, values[:cut]), (min(cut, len(values)), values[cut:])):
        decoded = decode(*part)
        booked += [(first + offset, "null_island") for of in decoded.incidents.values() for offset in of.kafka_offset]
        booked += [(first + one.kafka_offset, name) for name, of in decoded.rejections.items() for one in of]
    assert sorted(booked) == [(place, region_in(value, {"null_island"})) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    "value",
    [
        changed(callerName="John Doe"),
        changed(extra={"a": [{"callerName": "John Doe"}]}),
        b'[{"callerName": "John Doe"}]',
        changed(callerName="John Doe")[:-1],
        changed(callerName="John Doe", lat=float("nan")),
        changed(callerName="John Doe").replace(b'"', b"'"),
        b'"{\\"caller_name\\":\\"John Doe\\"}"',
        b'["{\\"phone\\":1}"]',
        b"<call><callerName>John Doe</callerName></call>",
        b"caller_name,phone\nJohn Doe,555",
        b'{"caller_name"            : "John Doe"',
        '{"ｎame":"John Doe"}'.encode(),
        '{"caller_name": "John Doe"}'.encode("utf-16"),
        b'{"reporting_party":"John Doe"}',
        b'"John Doe, caller"',
        changed(lat=91, type_code='{"phone": 555}'),
        changed(lat=91, type_code=' [{"phone": 555}]'),
        changed(lat=91, type_code="<phone>555</phone>"),
        changed(lat=91, type_code='"phone": 555'),
    ],
)
def test_what_may_hold_a_person_in_any_wrapping_keeps_no_payload(value):
    ((refusal,),) = decode(value).rejections.values()
    assert (refusal.reason, refusal.payload) == ("person_field", None)
    assert "Doe" not in refusal.detail


def test_a_contracts_own_field_and_a_plain_text_are_no_wrapping():
    class Signed(msgspec.Struct, forbid_unknown_fields=True):
        name: str
        at: AwareTime

    signed = Contract.of(Signed, "at")
    at = "2026-03-14T08:00:00"  # without an offset
    assert reason_for(json.dumps({"name": "caller", "at": at}).encode(), signed)[0] == "bad_time"
    assert reason_for(json.dumps({"name": {"name": "x"}, "at": at}).encode(), signed)[0] == "person_field"
    assert reason_for(json.dumps({"phone": "x", "at": at}).encode(), signed)[0] == "person_field"


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (changed(callerName="x", more=[{"DOB": 1}, {"lat": 2}]), ["DOB", "callerName"]),
        (b'["name"]', []),
        (b'{"caller', []),
        (b'"\xff"', []),
        (b"[" * 2000 + b"]" * 2000, []),
    ],
)
def test_the_keys_that_may_describe_a_person_are_told_at_a_terminal(value, keys):
    assert personal_keys(value) == keys


# What may describe a person, as one pattern on one key: slow, and the second implementation.
PERSON = re.compile(
    r"name|phone|mobile|e?mail|birth|\bdob\b|\bage\b|\bsex\b|gender|\brace\b|ethnic|religio|nationalit|ssn|"
    r"social_?sec|passport|licen[cs]e|(?<!tem)plate|\bvin\b|address|\baddr\b|street|suspect|victim|offender|witness|"
    r"caller|patient|person|driver|owner|complainant|arrest|officer_?id|badge|\bface\b|photo|finger|biometric|"
    r"\btel\b|contact|reporting|callback|\bani\b|\bali\b|\bapt\b|\bsubject\b|\bmrn\b|medical_?rec|insur|account|"
    r"narrative|descript|remark|comment|\bnotes?\b|free_?text"
)
PERSON_KEYS = """
    name Name FULL_NAME firstName last-name caller callerName Caller-Phone phone phoneNumber mobile email e-mail DOB
    dob dateOfBirth birth_date age Sex gender race Race ethnicity religion nationality SSN social_security_no passport
    driver_license licencePlate plate VIN address home_addr street suspect victimAge offenderId witness complainant
    patient patientMRN person arrestee officerId badge_no face photoUrl fingerprint insuranceNo account narrative
    description remarks comment notes free_text
"""
OTHER_KEYS = ["trace_id", "surface", "stage", "template_version", "sexton", "agency", "unit", "beat"]
PIECES = """
    name mail eMail dob age Sex race ssn social Sec sec license plate template tem vin addr street officer ID id
    medical rec notes note free Text freeText ali apt x Y 7 é ｎ | _ - . / A
""".split()  # noqa: SIM905 - a list of words


def describes_a_person(key):
    plain = unicodedata.normalize("NFKC", key)
    words = re.sub(r"[^a-z0-9]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain).lower())
    return bool(PERSON.search(words.strip().replace(" ", "_")) or PERSON.search(words))


def test_a_key_that_may_describe_a_person_is_refused_as_such_and_a_word_that_only_contains_it_is_not():
    for keys, reason in ((PERSON_KEYS.split(), "person_field"), (OTHER_KEYS, "unknown_field")):
        assert {key: reason_for(changed(**{key: 1}))[0] for key in keys} == dict.fromkeys(keys, reason)


@settings(max_examples=2000, deadline=None)
@given(
    keys=st.lists(
        st.lists(st.sampled_from([*PIECES, " "]), min_size=1, max_size=5).map("".join), min_size=1, max_size=4
    )
)
def test_keys_describe_a_person_exactly_where_the_pattern_finds_one(keys):
    reason, _ = reason_for(json.dumps(dict.fromkeys(keys, 1)).encode())
    assert (reason == "person_field") == any(describes_a_person(key) for key in keys if key not in GOOD)
