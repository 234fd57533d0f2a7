"""Two judges of one contract: the checked-in JSON Schema and the decoder, which may be stricter, never laxer.

And what is really written fits the generated files.
"""

import base64
import json
import re
import time
import tracemalloc
from datetime import datetime
from functools import reduce
from operator import getitem
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import schemas
from docs.written import contract_documents
from schemas.decode import MAX_DEPTH, decode_messages
from schemas.event import REASONS, Event
from schemas.incidents import DeadLetter, Rejection, encode_dead_letter
from schemas.limits import MAX_EVENT_BYTES
from streaming.rehearse.incident_replay import poison_messages, template_event
from streaming.settings import Settings
from tests.harness.toy import RIVERTON, toy_messages

FOLDER = Path(schemas.__file__).parent
GOOD = sorted((FOLDER / "examples" / "good").glob("*.json"))
BAD = sorted((FOLDER / "examples" / "bad").glob("*.json"))
KAFKA_TIME_MS = 1_773_477_600_000  # 2026-03-14T08:40:00Z
REGIONS = {"riverton": RIVERTON}

# What only the decoder can see, and why: a bad example, or all of a reason.
STRICTER = {
    "bad_time--day_that_does_not_exist": "a pattern knows no calendar",
    "future": "a schema has no clock",
    "late": "a schema has no clock",
    "outside_grid": "a schema does not know the grid",
    "schema--id_with_a_control_character": "kept out of log lines and terminals; as a pattern it would be unreadable",
    "schema--key_stands_twice": "a schema is asked after the parser has dropped the first of them",
    "schema--key_stands_twice_with_one_value": "the same",
    "schema--revision_with_a_decimal_point": "1.0 is an integer for JSON Schema, not for a typed decoder",
    "unknown_category--not_in_the_spec": "a schema does not know the spec",
    "unknown_region--not_scored_here": "a schema does not know the deployment",
}

# The same for any message: what the decoder may refuse although the schema accepts it, by reason and detail.
STRICTER_CAUSES = {
    "bad_time": r"(occurred_at|received_at) is not an RFC 3339 time with an offset",  # 30 February, year 0
    "future": r"more than 300 s ahead of its arrival",
    "late": r"more than 86400 s before its arrival",
    "outside_grid": r"the place lies outside the region's grid",
    "unknown_category": r"the region's spec has no such category",
    "unknown_region": r"no artifact of this deployment has this region",
    "schema": r"incident_id holds a character that cannot be printed|key '\w+' appears more than once"
    r"|Expected `int( \| null)?`, got `float` - at `\$\.(revision|priority)`"  # 1.0 is an integer for JSON Schema
    r"|a number is beyond what a 64-bit float can hold",  # under a key that comes again with a good one
    "not_json": r"the value is not one JSON text in UTF-8",  # only half of a surrogate pair, which is no character
    "person_field": r"a field that may describe a person; the payload is not kept",  # a record inside a text
}

SCHEMA = json.loads((FOLDER / "event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)  # `format` is a hint: what it enforces depends on what is installed


def decode(*values):
    return decode_messages(toy_messages(values, KAFKA_TIME_MS), REGIONS)


def outcomes(decoded):
    """(offset, None or the rejection) of every outcome, in the order of the offsets."""
    accepted = [(offset, None) for part in decoded.incidents.values() for offset in part.kafka_offset.tolist()]
    refused = [(refusal.kafka_offset, refusal) for part in decoded.rejections.values() for refusal in part]
    return sorted(accepted + refused, key=lambda outcome: outcome[0])


def decoder_says(value):
    [(_, refusal)] = outcomes(decode(value))
    return refusal


def schema_accepts(value, validator=VALIDATOR):
    def refuse_constant(name):
        raise ValueError(name)

    try:
        return validator.is_valid(json.loads(value.decode("utf-8"), parse_constant=refuse_constant))
    except (ValueError, RecursionError):  # no field takes a value that is nested at all
        return False


def test_the_schema_is_a_valid_schema_and_closed():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert list(SCHEMA["properties"]) == list(Event.__struct_fields__)


def test_a_good_example_is_accepted_by_both_and_a_bad_one_refused_for_the_reason_in_its_name_unless_we_say_why():
    for path in GOOD:
        assert schema_accepts(path.read_bytes()), path.stem
        assert decoder_says(path.read_bytes()) is None, path.stem
    for path in BAD:
        reason = path.stem.split("--")[0]
        assert decoder_says(path.read_bytes()).reason == reason, path.stem
        assert schema_accepts(path.read_bytes()) == bool(STRICTER.keys() & {path.stem, reason}), path.stem


def test_the_bad_examples_show_every_reason_that_a_file_can_show():
    shown = {path.stem.split("--")[0] for path in BAD}
    assert shown == set(REASONS) - {"null_value", "too_large"}
    assert set(STRICTER) <= {path.stem for path in BAD} | shown


# --- Any bytes at all -------------------------------------------------------------------------------------------

CANARY = "K4N4RY"
EVENTS = [json.loads(path.read_bytes()) for path in GOOD]
POISONS = [poison.value for poison in poison_messages(template_event(RIVERTON, as_of_s=KAFKA_TIME_MS // 1000))]
CORPUS = [path.read_bytes() for path in (*GOOD, *BAD)] + [value for value in POISONS if value and len(value) < 3000]
events = st.sampled_from(EVENTS)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 9, 10, 90, 90.0000001, -0.0, 1e308, 41.5, -87.6]),
    st.text(max_size=200),
    st.text(st.characters(categories=["Cs", "Cc", "Ll"]), max_size=8),  # halves of surrogate pairs
    st.sampled_from(["open", "sensor", "riverton", "medical", "2026-03-14T07:41:05Z", "2026-03-14 07:41:05+0000"]),
    st.from_regex(SCHEMA["properties"]["occurred_at"]["pattern"], fullmatch=True),
    st.sampled_from([f"'{CANARY}'", f'"{CANARY}" - at `$.x`', f"a'b\"{CANARY}\"c'd", f"{CANARY}\n`{CANARY}`"]),
)
anything = st.recursive(leaves, lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(), it, max_size=3))
field_names = st.sampled_from(Event.__struct_fields__)
new_names = st.one_of(st.text(max_size=20), st.sampled_from(["schema_version", "Lat", CANARY, f"'{CANARY}"]))


@st.composite
def altered_records(draw):
    """A valid event with some fields dropped, altered, added or given twice, as text."""
    record = {**draw(events)}
    for name in draw(st.lists(field_names, max_size=2)):
        record.pop(name, None)
    record |= draw(st.dictionaries(field_names, anything, max_size=2))
    record |= draw(st.dictionaries(new_names, anything, max_size=1))
    pairs = list(record.items()) + draw(st.lists(st.sampled_from(list(record.items()) or [("lat", 1)]), max_size=1))
    ascii_only = draw(st.booleans())
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in pairs)
    return ("{" + text + "}").encode("utf-8", errors="surrogatepass")


@st.composite
def mangled_bytes(draw):
    """The bytes of an event or a poison: flipped, cut, spliced, repeated in part, or with some put in."""
    value, other = bytearray(draw(st.sampled_from(CORPUS))), draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 40)))
        match draw(st.sampled_from(["flip", "cut", "drop", "splice", "repeat", "insert"])):
            case "flip" if start < len(value):
                value[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del value[start:]
            case "drop":
                del value[start:end]
            case "splice":
                value[start:] = other[start:]
            case "repeat":
                value[end:end] = value[start:end]
            case _:
                value[start:start] = draw(st.binary(max_size=6) | st.sampled_from([b"\0", b'"', b"\\", b"e9", b"\xff"]))
    return bytes(value)


@st.composite
def nested(draw):
    """Arrays and objects in one another, up to the deepest that 8 KiB can hold, closed or not."""
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]"), (b'{"name":[', b"]}")]))
    depth = draw(st.integers(1, (MAX_EVENT_BYTES + 100) // (len(opening) + len(closing))))
    inside = opening * depth + draw(st.sampled_from([b"", b"1", b"null"])) + closing * draw(st.sampled_from([depth, 0]))
    return inside if draw(st.booleans()) else b'{"incident_id":' + inside + b"}"


messages = st.one_of(altered_records(), mangled_bytes(), nested(), st.binary(max_size=64), st.none())


def judge(value):
    """Everything that holds for one message, whatever it is. Also what `tests/fuzz/decoder.py` asks of each input."""
    first, second = decode(value), decode(value)
    [(_, refusal)] = outcomes(first)
    assert outcomes(second) == outcomes(first)
    packed = {region: part.pack() for region, part in first.incidents.items()}
    assert packed == {region: part.pack() for region, part in second.incidents.items()}
    valid = value is not None and schema_accepts(value)
    if refusal is None:
        assert valid
        pairs = json.loads(value, object_pairs_hook=list)
        assert len(pairs) == len(dict(pairs))  # no key stands twice
        agrees_with_its_json(first.incidents["riverton"], dict(pairs))
        return None
    assert refusal.reason in REASONS
    assert refusal.payload == (None if refusal.reason in ("person_field", "too_large", "null_value") else value)
    assert (refusal.reason == "too_large") == (value is not None and len(value) > MAX_EVENT_BYTES)
    if valid and refusal.reason != "too_large":
        assert re.fullmatch(STRICTER_CAUSES.get(refusal.reason, "none"), refusal.detail), refusal
        assert refusal.reason != "not_json" or re.search(rb"\\u[dD][89a-fA-F]", value)
    return refusal


def agrees_with_its_json(incidents, record):
    """An incident says what Python's own JSON and time say, and nothing in it is out of range."""
    at = datetime.fromisoformat(record["occurred_at"].upper()).timestamp()
    assert len(incidents) == 1
    assert abs(int(incidents.occurred_s[0]) - at) <= 1  # digits beyond the microsecond are rounded here, cut there
    assert incidents.revision.tolist() == [record.get("revision", 0)]
    assert incidents.category.tolist() == [RIVERTON.categories.index(record["category"])]
    counts = record["origin"] in RIVERTON.counted_origins
    assert incidents.flags.tolist() == [counts + 2 * (record.get("status") == "cancelled")]
    [(west, south), _, (east, north), *_] = RIVERTON.grid.polygon(int(incidents.cell[0]))
    assert west <= record["lon"] < east
    assert south <= record["lat"] < north
    received_s = int(incidents.received_ms[0]) / 1000
    assert -RIVERTON.late_limit_s - 1 <= at - received_s <= RIVERTON.future_limit_s + 1
    assert received_s <= KAFKA_TIME_MS / 1000 + RIVERTON.future_limit_s


@pytest.mark.fault("F11")
def test_every_example_and_every_poison_is_judged_alike():
    for value in (*CORPUS, *POISONS):
        judge(value)


@pytest.mark.fault("F11")
@settings(max_examples=400, deadline=None)
@given(messages)
@example(b'{"lat":' + b"1" * 5000 + b"}")
@example(b"[" * 2000)
@example(json.dumps({**EVENTS[0], "origin": f"a'b\"{CANARY}\"c'd"}).encode())
@example(json.dumps({**EVENTS[0], "incident_id": "\ud800"}).encode())
@example(b'{"occurred_at":"2026-03-14T07:41:0ton",' + json.dumps(EVENTS[0]).encode()[1:])  # found by the fuzzer
@example(b'{"lat":1e999,' + json.dumps(EVENTS[0]).encode()[1:])
@example(b'{"status":{"K4N4RY":1,"K4N4RY":1},' + json.dumps(EVENTS[0]).encode()[1:])
@example(b'{"status":{"K4N4RY":1,"K4N4RY":1},"lat":' + b"1" * 5000 + b"," + json.dumps(EVENTS[0]).encode()[1:])
def test_any_message_has_one_outcome_the_same_twice_and_never_one_that_the_schema_refuses(value):
    refusal = judge(value)
    assert refusal is None or CANARY not in refusal.detail


@pytest.mark.parametrize("depth", [100, 101, 930, 990, 2000])
@pytest.mark.parametrize("value", [b'{"a":%s}', b"%s", b'{"region":"riverton","a":%s,"region":"elsewhere"}'])
def test_how_a_deep_message_fares_does_not_depend_on_who_decodes_it(depth, value):
    def below(frames):
        return below(frames - 1) if frames else decoder_says(value % (b"[" * depth + b'"[[["' + b"]" * depth))

    assert below(0) == below(60) == below(300)
    too_deep = depth + value.startswith(b"{") > MAX_DEPTH
    assert (below(0).detail == f"values are nested more than {MAX_DEPTH} deep") == too_deep


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, max_size=12))
def test_a_message_fares_the_same_alone_and_among_others(values):
    together = decode(*values)
    alone = [decoder_says(value) for value in values]
    assert [offset for offset, _ in outcomes(together)] == list(range(len(values)))
    reasons = [refusal and (refusal.reason, refusal.detail) for _, refusal in outcomes(together)]
    assert reasons == [refusal and (refusal.reason, refusal.detail) for refusal in alone]


ASYNCAPI = (FOLDER / "asyncapi.json").read_text(encoding="utf-8")
DOCUMENT = json.loads(ASYNCAPI)
LETTER_SCHEMA = DOCUMENT["components"]["schemas"]["DeadLetter"]


def test_every_reference_leads_somewhere():
    references = re.findall(r'"\$ref":\s*"#/([^"]+)"', ASYNCAPI)
    assert len(references) == ASYNCAPI.count('"$ref"') > 0
    for reference in references:
        assert reduce(getitem, reference.split("/"), DOCUMENT), reference


def test_no_generated_file_refers_to_a_host_except_for_the_dialect_of_json_schema():
    for text in contract_documents().values():
        assert text.replace("https://json-schema.org/draft/2020-12/schema", "").count("://") == 0


def test_the_document_has_the_topics_of_the_settings_the_decoders_largest_message_and_the_key_of_an_incident():
    fields, event = Settings.model_fields, DOCUMENT["components"]["messages"]["event"]
    defaults = {fields[name].default for name in ("topic", "dead_letter_topic", "feedback_topic")}
    assert defaults == {"incidents.v1", "incidents.v1.dlq", "feedback.v1"}
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == defaults
    assert event["x-max-value-bytes"] == MAX_EVENT_BYTES
    assert f"at most {MAX_EVENT_BYTES} bytes" in event["summary"]
    incident_id = DOCUMENT["components"]["schemas"]["Event"]["properties"]["incident_id"]
    for name in ("type", "minLength", "maxLength"):
        assert event["bindings"]["kafka"]["key"][name] == incident_id[name]


@pytest.mark.parametrize(("message", "kind"), [("event", Event), ("deadLetter", DeadLetter)])
def test_the_examples_fit_their_schema(message, kind):
    shown = [example["payload"] for example in DOCUMENT["components"]["messages"][message]["examples"]]
    assert msgspec.convert(shown, list[kind])
    for payload in shown:
        jsonschema.Draft202012Validator(DOCUMENT["components"]["schemas"][kind.__name__]).validate(payload)


rejections = st.builds(
    Rejection,
    reason=st.sampled_from(REASONS),
    detail=st.text(max_size=200),
    partition=st.integers(0, 2**31 - 1),
    kafka_offset=st.integers(0, 2**63 - 1),
    kafka_time_ms=st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 2_000_000_000_000),
    payload=st.none() | st.binary(max_size=MAX_EVENT_BYTES),
)


@given(rejections, st.none() | st.just("riverton"))
def test_any_rejection_becomes_a_dead_letter_that_fits_the_schema(rejection, region):
    letter = json.loads(encode_dead_letter(rejection, source_topic="incidents.v1", region=region))
    jsonschema.Draft202012Validator(LETTER_SCHEMA).validate(letter)
    assert (letter["reason"], letter["detail"], letter["region"]) == (rejection.reason, rejection.detail, region)
    assert (letter["source_partition"], letter["source_offset"]) == (rejection.partition, rejection.kafka_offset)
    if rejection.reason == "person_field" or rejection.payload is None:
        assert letter["payload_base64"] is None
    else:
        assert base64.b64decode(letter["payload_base64"], validate=True) == rejection.payload
    if 0 <= rejection.kafka_time_ms < 253_402_300_800_000:
        told_s = datetime.fromisoformat(letter["source_time"]).timestamp()
        assert told_s == pytest.approx(rejection.kafka_time_ms / 1000, abs=1e-4)
    else:
        assert letter["source_time"] is None


def test_a_dead_letter_shows_all_its_fields_and_a_reader_of_version_1_knows_it():
    assert LETTER_SCHEMA["required"] == list(DeadLetter.__struct_fields__)
    assert LETTER_SCHEMA["properties"]["schema_version"]["enum"] == [1]
    assert sorted(LETTER_SCHEMA["properties"]["reason"]["enum"]) == sorted(REASONS)


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

    poisoned = type("Poisoned", (), {"decode": fail, "loads": fail, "json": property(fail)})()
    for parser in ("_WIRE", "EVENT.decoder", "msgspec", "json"):
        monkeypatch.setattr(f"schemas.decode.{parser}", poisoned)
    refusal = decoder_says(b'{"name":"' + b"x" * (size - 11) + b'"}')
    assert (refusal.reason, refusal.payload) == ("too_large", None)


REPEATED = [b" \n", b"a ", b"a\n", b"'", b" a:", b"A", b"\\", b'"\\u0000']
UNUSUAL = [b'"' + b"a" * 8190, b'{"' + b"aA" * 4000 + b'":1}', *(part * (8192 // len(part)) for part in REPEATED)]


@pytest.mark.parametrize("value", [*UNUSUAL, *LARGEST.values()], ids=lambda value: str(value[:12]))
def test_no_message_is_slow_to_refuse(value):
    assert len(value) <= MAX_EVENT_BYTES
    began = time.process_time()
    assert decoder_says(value) is not None
    assert time.process_time() - began < 0.5
