"""Messages that are made to cost memory or time, or that may describe a person."""

import json
import time
import tracemalloc

import pytest

from schemas.limits import MAX_EVENT_BYTES
from tests.contracts.test_event_contract import CANARY, EVENTS, decode, decoder_says

LARGEST = {
    "arrays in arrays": b"[" * MAX_EVENT_BYTES,
    "objects in objects": b'{"a":' * (MAX_EVENT_BYTES // 5),
    "closed arrays": b"[" * 4000 + b"]" * 4000,
    "one number": b"9" * MAX_EVENT_BYTES,
    "one float": b'{"lat":0.' + b"9" * 8000 + b"}",
    "one exponent": b'{"lat":1e' + b"9" * 8000 + b"}",
    "many numbers": b"[" + b"1," * 4000 + b"1]",
    "many keys": b"{" + b",".join(b'"%x":0' % n for n in range(1000)) + b"}",
    "one key many times": b"{" + b",".join([b'"a":0'] * 1300) + b"}",
    "many person keys": b"{" + b",".join(b'"name%x":0' % n for n in range(600)) + b"}",
    "empty objects": b"[" + b"{}," * 2700 + b"{}]",
    "one text": b'{"incident_id":"' + b"x" * 8000 + b'"}',
    "escapes": b'{"incident_id":"' + b"\\u00e9" * 1300 + b'"}',
    "surrogates": b'{"incident_id":"' + b"\\ud83d\\ude00" * 650 + b'"}',
    "characters of four bytes": b'{"incident_id":"' + "\U0001f600".encode() * 2000 + b'"}',
    "one that normalisation makes eighteen": b'{"' + "\ufdfa".encode() * 2700 + b'":0}',
    "the same, four bytes each": b'{"' + ("\U0001f600" + "\ufdfa" * 2700).encode() + b'":0}',
    "a record in a text": b'{"incident_id":"{' + b"[" * 8000 + b'"}',
    "spaces": b" " * MAX_EVENT_BYTES,
    "any bytes": bytes(range(256)) * 32,
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_memory_that_a_message_takes_is_bounded_by_its_size(name):
    value = LARGEST[name]
    assert len(value) <= MAX_EVENT_BYTES
    decode(value)  # what is made once, like compiled patterns, is none of the message's
    tracemalloc.start()
    try:
        decode(value)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 150 * MAX_EVENT_BYTES, f"{most:,} bytes for {len(value):,}"


@pytest.mark.fault("F13")
@pytest.mark.parametrize("size", [MAX_EVENT_BYTES + 1, 1_000_000])
def test_a_message_beyond_the_limit_reaches_no_parser(size, monkeypatch):
    def fail(*_, **__):
        pytest.fail("a message that is too large was parsed")

    for parser in (
        "schemas.decode._WIRE",
        "schemas.decode.EVENT.decoder",
        "schemas.decode.msgspec",
        "schemas.decode.json",
    ):
        monkeypatch.setattr(parser, type("Poisoned", (), {"decode": fail, "loads": fail, "json": property(fail)})())
    refusal = decoder_says(b'{"name":"' + b"x" * (size - 11) + b'"}')
    assert (refusal.reason, refusal.payload) == ("too_large", None)


# --- Persons ----------------------------------------------------------------------------------------------------

PERSON_KEYS = """
    name Name FULL_NAME firstName last-name caller callerName Caller-Phone phone phoneNumber mobile email e-mail DOB
    dob dateOfBirth birth_date age Sex gender race Race ethnicity religion nationality SSN social_security_no passport
    driver_license licencePlate plate VIN address home_addr street suspect victimAge offenderId witness complainant
    patient patientMRN person arrestee officerId badge_no face photoUrl fingerprint insuranceNo account narrative
    description remarks comment notes free_text
"""


SHAPES = {
    "top": lambda line, key: line,
    "nested": lambda line, key: json.dumps({**EVENTS[0], "extra": {"a": [{key: CANARY}]}}),
    "in a list": lambda line, key: json.dumps([{key: CANARY}]),
    "cut off": lambda line, key: line[:-1],
    "NaN beside it": lambda line, key: line.replace("41.5231", "NaN"),
    "UTF-16": lambda line, key: line,
    "single quotes": lambda line, key: line.replace('"', "'"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_that_may_describe_a_person_is_refused_and_its_payload_dropped(shape):
    for key in PERSON_KEYS.split():
        text = SHAPES[shape](json.dumps({**EVENTS[0], key: CANARY}), key)
        refusal = decoder_says(text.encode("utf-16" if shape == "UTF-16" else "utf-8"))
        assert (refusal.reason, refusal.payload) == ("person_field", None), key
        assert CANARY not in refusal.detail


@pytest.mark.parametrize(
    "key", ["trace_id", "surface", "stage", "template_version", "sexton", "agency", "unit", "beat"]
)
def test_a_word_that_only_contains_such_a_word_is_an_unknown_field(key):
    assert decoder_says(json.dumps({**EVENTS[0], key: 1}).encode()).reason == "unknown_field"


REPEATED = [b" \n", b"a ", b"a\n", b"'", b" a:", b"A", b"\\", b'"\\u0000']
UNUSUAL = [b'"' + b"a" * 8190, b'{"' + b"aA" * 4000 + b'":1}', *(part * (8192 // len(part)) for part in REPEATED)]


@pytest.mark.parametrize("value", [*UNUSUAL, *LARGEST.values()], ids=lambda value: str(value[:12]))
def test_no_message_is_slow_to_refuse(value):
    assert len(value) <= MAX_EVENT_BYTES
    began = time.process_time()
    assert decoder_says(value) is not None
    assert time.process_time() - began < 0.5
